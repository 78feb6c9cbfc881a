import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createTestDatabase, loseDatabase, type TestDatabase } from '../harness/database.ts';
import { gatewayEnvironment, startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { connectRaw } from '../harness/raw-client.ts';
import { jsonBody, publishEcho, readAnswer } from './fixtures.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');
let database: TestDatabase;
let dataDir: string;
/** Publishes and mints; the process under test shares its database. */
let gateway: TestGateway;

beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 4 });
  dataDir = mkdtempSync(join(tmpdir(), 'millicent-process-'));
  gateway = await startTestGateway({ database });
});
afterAll(async () => {
  await gateway.close();
  await database.close();
  rmSync(dataDir, { recursive: true, force: true });
});

type Started = { child: ChildProcess; stderr(): string; exited: Promise<number | null> };

function startMain(env: Record<string, string | undefined>): Started {
  const child = spawn(process.execPath, ['--import', 'tsx', MAIN], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  return { child, stderr: () => stderr, exited: new Promise((done) => child.once('exit', done)) };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  return typeof address === 'object' && address ? address.port : 0;
}

test.each(['1', '2'])('SIGTERM while it starts ends it with 0 (%s workers)', async (workers) => {
  const env = { ...gatewayEnvironment({ database }, dataDir), GATEWAY_WORKERS: workers };
  const port = await freePort();
  const { child, exited } = startMain({ ...env, PORT: String(port) });
  const isReady = vi.fn();
  child.once('message', isReady);
  // The port is open long before anything can be sold.
  await waitUntil(() =>
    connectRaw(`http://127.0.0.1:${port}`).then((client) => client.socket.readyState === 'open'),
  );
  expect(isReady).not.toHaveBeenCalled();
  child.kill('SIGTERM');
  expect(await exited).toBe(0);
});

test('SIGTERM fails no call in flight, ends kept connections, and exits 0', async () => {
  const echo = await publishEcho(gateway);
  const key = await gateway.mint(1_000);
  const { child, exited } = startMain(gatewayEnvironment({ database }, dataDir));
  const url = await new Promise<string>((done) => {
    child.once('message', (message: { url: string }) => done(message.url));
  });
  const call = jsonBody({ tool: 'sleep', arguments: { seconds: 1.5 } }, { authorization: `Bearer ${key}` });
  const running = fetch(url + echo.call, call);
  await waitUntil(
    async () => (await database.sql`SELECT 1 FROM ledger_hold WHERE state = 'held'`).length > 0,
  );
  child.kill('SIGTERM');
  const response = await running;
  expect(await readAnswer(response)).toMatchObject({ ok: true, charged_mcents: 250 });
  expect(await exited).toBe(0);
  const open = await database.sql`SELECT 1 FROM ledger_hold WHERE state = 'held'`;
  expect(open).toEqual([]);
});

test('SIGTERM while the database is away ends a gateway with 0 all the same', async () => {
  const own = await createTestDatabase({ poolMax: 1 });
  const { child, exited, stderr } = startMain(gatewayEnvironment({ database: own }, dataDir));
  await new Promise((done) => child.once('message', done));
  const mend = await loseDatabase(own);
  child.kill('SIGTERM');
  expect([await exited, stderr()]).toEqual([0, '']);
  await mend();
  await own.close();
});

test('production without its secrets, and half a rail, do not start and name what is missing', async () => {
  const production = startMain({ ...gatewayEnvironment({ database }, dataDir), NODE_ENV: 'production' });
  expect(await production.exited).toBe(1);
  expect(production.stderr()).toContain('PUBLIC_URL, RECEIPT_KEY, LOG_KEY must be set');
  const half = { ...gatewayEnvironment({ database }, dataDir), EVM_RPC_URL: 'http://127.0.0.1:1' };
  const halfRail = startMain(half);
  expect(await halfRail.exited).toBe(1);
  expect(halfRail.stderr()).toContain('EVM_TOKEN, EVM_PAY_TO, EVM_WALLET_KEY');
});
