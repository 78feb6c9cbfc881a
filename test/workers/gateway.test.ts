import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { connectGateway, type GatewayClient, gatewayEnvironment } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');
let database: TestDatabase;
let dataDir: string;
let child: ChildProcess;
let exited: Promise<number | null>;
let gateway: GatewayClient;

beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 4 });
  dataDir = mkdtempSync(join(tmpdir(), 'millicent-workers-'));
  const env = { GATEWAY_WORKERS: '2', SANDBOX: 'none' };
  child = spawn(process.execPath, ['--import', 'tsx', MAIN], {
    env: { PATH: process.env.PATH, ...gatewayEnvironment({ database, env }, dataDir) },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  exited = new Promise((done) => child.once('exit', done));
  const url = await new Promise<string>((done, fail) => {
    child.once('message', (message: { url: string }) => done(message.url));
    child.once('exit', () => fail(new Error('the gateway ended before it was ready')));
  });
  gateway = connectGateway(url);
}, 180_000);
afterAll(async () => {
  child.kill('SIGTERM');
  await exited;
  await database.close();
  rmSync(dataDir, { recursive: true, force: true });
});

type Answer = { status: number; body: { charge_id?: string; receipt_id?: string } & Record<string, unknown> };

/** One call of the example on a connection of its own. */
function call(key: string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((done, fail) => {
    const asked = request(
      `${gateway.url}/v1/example`,
      {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}`, ...headers },
        agent: new Agent(),
      },
      async (response) => {
        let text = '';
        try {
          for await (const chunk of response) text += chunk;
          done({ status: response.statusCode ?? 0, body: JSON.parse(text) });
        } catch (cause) {
          fail(cause);
        }
      },
    );
    asked.on('error', fail);
    asked.end('{}');
  });
}

async function countCharges(): Promise<number> {
  const [row] = await database.sql<{ count: number }[]>`SELECT count(*)::int AS count FROM receipt`;
  return row?.count ?? 0;
}

/** The pids of the workers: the children of the supervisor. */
async function listWorkers(): Promise<number[]> {
  const rows = await database.sql<{ pid: number }[]>`SELECT pid FROM payment_worker WHERE stopped_at IS NULL`;
  return rows.map(({ pid }) => pid);
}

test('two workers answer for one gateway: keys, repeats on other connections, readiness and metrics', async () => {
  expect(new Set(await listWorkers()).size).toBe(2);
  const keys = await Promise.all(Array.from({ length: 6 }, () => gateway.mint(1_000)));
  const answers = await Promise.all(keys.map((key) => call(key, { 'idempotency-key': 'once' })));
  for (const { status } of answers) expect(status).toBe(200);
  const repeated = await Promise.all(keys.map((key) => call(key, { 'idempotency-key': 'once' })));
  expect(repeated.map(({ body }) => body)).toEqual(answers.map(({ body }) => body));
  const ready = await Promise.all(Array.from({ length: 4 }, () => gateway.fetch('/ready')));
  for (const { status } of ready) expect(status).toBe(200);
  const metrics = await (await gateway.fetch('/metrics')).text();
  expect(metrics).toContain('millicent_workers 2');
  expect(metrics.match(/^process_cpu_seconds_total/gm)).toHaveLength(1);
});

test('a worker killed under load takes no acknowledged charge with it, and is replaced', async () => {
  const before = await countCharges();
  const keys = await Promise.all(Array.from({ length: 10 }, () => gateway.mint(100_000)));
  const [victim = 0] = await listWorkers();
  const calls = Array.from({ length: 200 }, (_, i) =>
    call(keys[i % keys.length] ?? '').then(
      ({ status }) => status,
      () => 0,
    ),
  );
  await Promise.race(calls);
  process.kill(victim, 'SIGKILL');
  const statuses = await Promise.all(calls);
  const acknowledged = statuses.filter((status) => status === 200).length;
  const lost = statuses.filter((status) => status === 0).length;
  expect(acknowledged + lost).toBe(200);
  // What was charged and could not be told may be more than what was told, and never less.
  const charged = (await countCharges()) - before;
  expect(charged).toBeGreaterThanOrEqual(acknowledged);
  expect(charged).toBeLessThanOrEqual(200);
  const workers = await waitUntil(async () => {
    const live = await listWorkers();
    return live.length === 2 && !live.includes(victim) ? live : undefined;
  }, 60_000);
  expect(workers).toHaveLength(2);
}, 120_000);

test('SIGTERM answers the fifty calls under way, and the supervisor and its workers are gone', async () => {
  const keys = await Promise.all(Array.from({ length: 10 }, () => gateway.mint(100_000)));
  const workers = await listWorkers();
  const calls = Array.from({ length: 50 }, (_, i) => call(keys[i % keys.length] ?? ''));
  await Promise.race(calls);
  child.kill('SIGTERM');
  const answers = await Promise.all(calls);
  for (const { status } of answers) expect(status).toBe(200);
  expect(await exited).toBe(0);
  for (const pid of workers) expect(() => process.kill(pid, 0)).toThrow();
}, 120_000);
