import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { gatewayEnvironment, startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { connectRaw } from '../harness/raw-client.ts';
import { createAgent, jsonBody, publishEcho, readAnswer } from './fixtures.ts';
import { expectBalancedBooks } from './surface.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');
let database: TestDatabase;
let anvil: Anvil;
let dataDir: string;
/** Publishes and mints; the process under test shares its database and its chain. */
let gateway: TestGateway;

beforeAll(async () => {
  [database, anvil] = await Promise.all([createTestDatabase({ poolMax: 4 }), startAnvil({ log: silentLog })]);
  dataDir = mkdtempSync(join(tmpdir(), 'millicent-drain-'));
  gateway = await startTestGateway({ database, anvil });
});
afterAll(async () => {
  await expectBalancedBooks(gateway);
  await gateway.close();
  await Promise.all([anvil.close(), database.close()]);
  rmSync(dataDir, { recursive: true, force: true });
});

type Main = { child: ChildProcess; url: string; exited: Promise<number | null> };

async function startMain(further: Record<string, string> = {}): Promise<Main> {
  const env = { ...gatewayEnvironment({ database, anvil }, dataDir), ...further };
  const child = spawn(process.execPath, ['--import', 'tsx', MAIN], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    // So that its whole group can be told.
    detached: true,
  });
  const exited = new Promise<number | null>((done) => child.once('exit', done));
  const url = await new Promise<string>((done) => {
    child.once('message', (message: { url: string }) => done(message.url));
  });
  return { child, url, exited };
}

/** Calls one after another on one connection until an answer says that it is the last; the statuses of all. */
async function callUntilLast(url: string, key: string, ready: () => void): Promise<number[]> {
  const client = await connectRaw(url);
  const statuses: number[] = [];
  for (;;) {
    const from = client.text().length;
    client.send(`GET /v1/example HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n\r\n`);
    await waitUntil(() => client.text().indexOf('}', from) > 0 || client.isClosed() || undefined);
    const answer = client.text().slice(from);
    statuses.push(Number(/HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0));
    ready();
    if (/connection: close/i.test(answer) || client.isClosed()) break;
  }
  await client.ended();
  return statuses;
}

test('SIGTERM fails no call in flight: instant, hosted, or paid by a credential that is settled meanwhile', async () => {
  const echo = await publishEcho(gateway);
  const key = await gateway.mint(10_000_000);
  const agent = await createAgent(anvil);
  const { child, url, exited } = await startMain();
  const slow = { tool: 'sleep', arguments: { seconds: 2 } };
  const challenge = await fetch(url + echo.call, jsonBody(slow));
  const signed = await agent.sign(challenge);
  let answered = 0;
  const loops = [1, 2, 3].map(() =>
    callUntilLast(url, key, () => {
      answered += 1;
    }),
  );
  const hosted = fetch(url + echo.call, jsonBody(slow, { authorization: `Bearer ${key}` }));
  const credential = fetch(url + echo.call, jsonBody(slow, signed));
  await waitUntil(
    async () => (await database.sql`SELECT 1 FROM ledger_hold WHERE state = 'held'`).length >= 2 || undefined,
  );
  await waitUntil(() => answered >= 10 || undefined);
  child.kill('SIGTERM');
  const statuses = await Promise.all(loops);
  // Each loop ended with an answer that said so, and not with a connection that was cut.
  expect(statuses.flat().every((status) => status === 200)).toBe(true);
  // Nobody new is let in while the others finish.
  await expect(connectRaw(url).then((client) => client.ended())).resolves.not.toContain(' 200 ');
  const [first, second] = await Promise.all([hosted, credential]);
  expect(first.headers.get('connection')).toBe('close');
  expect(await readAnswer(first)).toMatchObject({ ok: true, charged_mcents: 250 });
  expect(second.headers.get('connection')).toBe('close');
  expect(await readAnswer(second)).toMatchObject({ ok: true, charged_mcents: 250 });
  expect(await exited).toBe(0);
  const paid = 10_000_000 - 250 - 100 * statuses.flat().length;
  const balance = await gateway.fetch('/v1/balance', { headers: { authorization: `Bearer ${key}` } });
  expect(await readAnswer(balance)).toMatchObject({ balance_mcents: paid });
});

const EXAMPLE = (key: string) =>
  `GET /v1/example HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n\r\n`;

test.each([
  { workers: '1', told: 'it' },
  { workers: '2', told: 'the supervisor' },
  { workers: '2', told: 'the supervisor and all workers' },
])(
  'calls that came before SIGTERM are answered, also those that nobody had accepted yet ($workers, told: $told)',
  async ({ workers, told }) => {
    const key = await gateway.mint(100_000);
    const { child, url, exited } = await startMain({ GATEWAY_WORKERS: workers });
    // It stands still while they come, and wakes up to them and to the signal at once.
    child.kill('SIGSTOP');
    const clients = await Promise.all(Array.from({ length: 20 }, () => connectRaw(url)));
    for (const client of clients) client.send(EXAMPLE(key).repeat(2));
    if (told === 'the supervisor and all workers') process.kill(-Number(child.pid), 'SIGTERM');
    else child.kill('SIGTERM');
    child.kill('SIGCONT');
    const answers = await Promise.all(clients.map((client) => client.ended()));
    const statuses = answers.map((answer) => answer.match(/HTTP\/1\.1 \d+/g));
    expect(statuses).toEqual(answers.map(() => ['HTTP/1.1 200', 'HTTP/1.1 200']));
    expect(await exited).toBe(0);
  },
);

test.each(['1', '2'])('a head that had begun before SIGTERM is waited for (%s workers)', async (workers) => {
  const key = await gateway.mint(100);
  const { child, url, exited } = await startMain({ GATEWAY_WORKERS: workers });
  const client = await connectRaw(url);
  client.send(EXAMPLE(key).slice(0, 30));
  await sleep(1_500);
  child.kill('SIGTERM');
  await sleep(1_800);
  client.send(EXAMPLE(key).slice(30));
  expect(await client.ended()).toMatch(/^HTTP\/1\.1 200/);
  expect(await exited).toBe(0);
});
