import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { connectGateway, type GatewayClient, gatewayEnvironment } from '../harness/gateway.ts';
import { connectRaw } from '../harness/raw-client.ts';
import { readAnswer, readBooks } from './fixtures.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');
/** Ten times as many callers as there are places. */
const PLACES = 32;
const CALLERS = 10 * PLACES;
const STORM_MS = 6_000;
const MIB = 1024 * 1024;

let database: TestDatabase;
let dataDir: string;
let child: ChildProcess;
let gateway: GatewayClient;

beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 2 });
  dataDir = mkdtempSync(join(tmpdir(), 'millicent-overload-'));
  const env = {
    ...{ REQUESTS_IN_FLIGHT_MAX: String(PLACES), RATE_KEY_PER_SECOND: '0' },
    ...{ RATE_PAYER_PER_SECOND: '0', RATE_ADDRESS_PER_SECOND: '0' },
  };
  child = spawn(process.execPath, ['--import', 'tsx', MAIN], {
    env: { PATH: process.env.PATH, ...gatewayEnvironment({ database, env }, dataDir) },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const url = await new Promise<string>((done) => {
    child.once('message', (message: { url: string }) => done(message.url));
  });
  gateway = connectGateway(url);
});
afterAll(async () => {
  const exited = new Promise((done) => child.once('exit', done));
  child.kill('SIGTERM');
  await exited;
  await database.close();
  rmSync(dataDir, { recursive: true, force: true });
});

function residentBytes(): number {
  const text = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1]) * 1024;
}

/** Calls without a pause, whatever the answers; how often each status came. */
async function call(key: string, counts: Map<number, number>, until: number): Promise<void> {
  const client = await connectRaw(gateway.url);
  const request = `GET /v1/example HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n\r\n`;
  await new Promise<void>((done) => {
    let text = '';
    client.socket.on('close', done);
    client.socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      const length = /content-length: (\d+)\r\n[\s\S]*?\r\n\r\n/i.exec(text);
      if (!length || text.length < length.index + length[0].length + Number(length[1])) return;
      const status = Number(/HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
      counts.set(status, (counts.get(status) ?? 0) + 1);
      text = '';
      if (performance.now() < until) client.send(request);
      else client.socket.end();
    });
    client.send(request);
  });
}

test('under ten times what it takes a gateway answers or refuses everyone, keeps its memory, and its books', async () => {
  const key = await gateway.mint(100_000_000);
  const headers = { authorization: `Bearer ${key}`, 'idempotency-key': 'paid-before' };
  const earlier = await readAnswer(await gateway.fetch('/v1/example', { headers }));
  expect(earlier).toMatchObject({ ok: true });
  const [counts, until] = [new Map<number, number>(), performance.now() + STORM_MS];
  const before = residentBytes();
  const callers = Array.from({ length: CALLERS }, () => call(key, counts, until));
  let largest = before;
  while (performance.now() < until) {
    await sleep(200);
    largest = Math.max(largest, residentBytes());
    // Neither our health nor the answer to what was paid is kept from who asks for it.
    expect((await gateway.fetch('/v1/health')).status).toBe(200);
    const again = await gateway.fetch('/v1/example', { headers });
    expect([again.status, (await readAnswer(again)).receipt_id]).toEqual([200, earlier.receipt_id]);
  }
  await Promise.all(callers);
  expect([...counts.keys()].sort()).toEqual([200, 503]);
  expect(largest - before).toBeLessThan(256 * MIB);
  const balance = await readAnswer(
    await gateway.fetch('/v1/balance', { headers: { authorization: `Bearer ${key}` } }),
  );
  expect(balance.balance_mcents).toBe(100_000_000 - 100 * ((counts.get(200) ?? 0) + 1));
  expect(await readBooks(gateway)).toMatchObject({ balanced: true, discrepancies: [] });
});

test('a refusal says when to come again and costs nothing', async () => {
  const key = await gateway.mint(1_000_000);
  const [counts, until] = [new Map<number, number>(), performance.now() + 1_000];
  const storm = Array.from({ length: CALLERS }, () => call(key, counts, until));
  let refusal: Response | undefined;
  while (!refusal && performance.now() < until) {
    const response = await gateway.fetch('/v1/example');
    if (response.status === 503) refusal = response;
  }
  await Promise.all(storm);
  expect(refusal?.headers.get('retry-after')).toBe('1');
  expect(refusal?.headers.get('content-type')).toBe('application/problem+json');
  expect(await refusal?.json()).toMatchObject({ ok: false, status: 503, note: 'no charge applied' });
});
