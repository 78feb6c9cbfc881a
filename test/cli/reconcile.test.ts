import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';

let anvil: Anvil;
let database: TestDatabase;
let gateway: TestGateway;

beforeAll(async () => {
  [anvil, database] = await Promise.all([startAnvil({ log: silentLog }), createTestDatabase()]);
  gateway = await startTestGateway({ database, anvil });
});
afterAll(async () => {
  await gateway?.close();
  await database?.close();
  await anvil?.close();
});

/** Runs the command as an operator does, with the admin key on standard input. */
async function millicent(args: string[], input = ''): Promise<{ code: number; out: string; err: string }> {
  const main = join(import.meta.dirname, '../../src/cli/millicent.mjs');
  const child = spawn(main, args);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  return { code, out, err };
}

test('an operator sees that books and chain agree, and the exit code says when they do not', async () => {
  const args = ['reconcile', '--url', gateway.url];
  const good = await millicent(args, `${gateway.adminKey}\n`);
  expect(good).toMatchObject({ code: 0, err: '' });
  expect(good.out).toContain('Everything agrees.');
  await anvil.mint(anvil.payTo, 5n);
  const bad = await millicent([...args, '--json', '--admin-key', gateway.adminKey]);
  expect(bad.code).toBe(1);
  expect(JSON.parse(bad.out)).toMatchObject({ reconciled: false });
  const adopted = await millicent([...args, '--adopt', 'gift'], `${gateway.adminKey}\n`);
  expect(adopted.code).toBe(0);
});

test('a wrong key, an unknown command and a gateway that is not there are told in one line', async () => {
  const wrong = await millicent(['reconcile', '--url', gateway.url, '--admin-key', 'nobody']);
  expect(wrong).toMatchObject({ code: 2, err: expect.stringContaining('401') });
  expect(await millicent(['frobnicate'])).toMatchObject({
    code: 2,
    err: expect.stringContaining('frobnicate'),
  });
  const gone = await millicent(['reconcile', '--url', 'http://127.0.0.1:1', '--admin-key', 'x']);
  expect(gone.code).toBe(2);
});

test('a rail that does not answer agrees with nothing, also before the books know an account of it', async () => {
  const empty = await createTestDatabase();
  const env = {
    ...{ LIGHTNING_PROVIDER: 'lnd', LIGHTNING_NETWORK: 'regtest', LIGHTNING_RATE: 'fixed:100000' },
    ...{ LIGHTNING_LND_URL: 'https://127.0.0.1:1', LIGHTNING_LND_MACAROON: 'abcd' },
  };
  const other = await startTestGateway({ database: empty, anvil, env });
  try {
    const report = await millicent(['reconcile', '--url', other.url, '--admin-key', other.adminKey]);
    expect(report).toMatchObject({ code: 1, err: '' });
    expect(report.out).not.toContain('A.lightning');
    expect(report.out).toContain('lightning: The rail does not answer now.');
    expect(report.out).toContain('Not every rail could be asked: ask again.');
    // It is down, and takes nothing else with it.
    const ready = await other.fetch('/ready');
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({
      checks: { lightning: 'down: the node does not answer', database: 'ok' },
    });
  } finally {
    await other.close();
    await empty.close();
  }
});
