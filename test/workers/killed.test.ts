import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { publishEcho, readBooks } from '../e2e/fixtures.ts';
import { type DataFolder, makeDataFolder } from '../harness/data-folder.ts';
import { gatewayEnvironment } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { isAlive, type Several, send, startSeveral } from './several.ts';

let folder: DataFolder;
let gateway: Several;

/** With the embedded PostgreSQL, as `npm start` has it without further words. */
beforeEach(async () => {
  folder = await makeDataFolder();
  const { DATABASE_URL: _, ...env } = gatewayEnvironment({ database: { url: '' } }, dirname(folder.dataDir));
  gateway = await startSeveral(env);
}, 180_000);
afterEach(async () => {
  gateway.child.kill('SIGTERM');
  await gateway.exited;
  await waitUntil(() => folder.findServers().length === 0);
  await folder.remove();
});

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

/** The control groups that these processes made, in whichever hierarchy. */
function listCgroups(pids: readonly number[]): string[] {
  return ['', 'cpu', 'memory', 'pids'].flatMap((hierarchy) => {
    try {
      return readdirSync(`/sys/fs/cgroup/${hierarchy}/millicent`).filter((name) =>
        pids.some((pid) => name.startsWith(`${pid}-`)),
      );
    } catch {
      // Another version of control groups, or none.
      return [];
    }
  });
}

test('when the supervisor is killed its workers answer what is under way and end, and PostgreSQL and control groups are gone', async () => {
  const echo = await publishEcho(gateway);
  const key = await gateway.mint(10_000);
  const workers = gateway.workers();
  expect(workers).toHaveLength(2);
  const [server = 0] = folder.findServers();
  const slow = { tool: 'sleep', arguments: { seconds: 2 } };
  const calls = [1, 2].map(() => send(gateway.url + echo.call, slow, { headers: bearer(key) }));
  await waitUntil(() => listCgroups(workers).length > 0 || undefined);
  await waitUntil(async () => (await readHeld(gateway)) === 500);
  process.kill(gateway.child.pid ?? 0, 'SIGKILL');
  for (const { status, body } of await Promise.all(calls)) {
    expect({ status, body }).toMatchObject({ status: 200, body: { charged_mcents: 250 } });
  }
  await waitUntil(() => !workers.some(isAlive) || undefined);
  await waitUntil(() => !isAlive(server) || undefined);
  expect(folder.findServers()).toEqual([]);
  expect(listCgroups(workers)).toEqual([]);
}, 120_000);

async function readHeld(at: Several): Promise<number> {
  const books = (await readBooks(at)) as { payers?: { held_mcents?: number } };
  return books.payers?.held_mcents ?? 0;
}

test('a supervisor and a worker killed together leave the last worker to end PostgreSQL', async () => {
  const [first = 0, last = 0] = gateway.workers();
  process.kill(gateway.child.pid ?? 0, 'SIGKILL');
  process.kill(first, 'SIGKILL');
  await waitUntil(() => !isAlive(last) || undefined);
  await waitUntil(() => folder.findServers().length === 0 || undefined);
}, 120_000);

test('PostgreSQL killed under two workers is started once more, and no acknowledged charge is lost', async () => {
  const key = await gateway.mint(100_000);
  const call = () => send(`${gateway.url}/v1/example`, {}, { headers: bearer(key) });
  let acknowledged = 0;
  for (; acknowledged < 20; acknowledged += 1) expect((await call()).status).toBe(200);
  const [server = 0] = folder.findServers();
  const under = Array.from({ length: 50 }, () =>
    call().then(
      ({ status }) => status,
      () => 0,
    ),
  );
  process.kill(server, 'SIGKILL');
  acknowledged += (await Promise.all(under)).filter((status) => status === 200).length;
  // No worker went down with it.
  const workers = gateway.workers();
  await waitUntil(async () => (await call().catch(() => undefined))?.status === 200, 60_000);
  acknowledged += 1;
  expect(gateway.workers()).toEqual(workers);
  expect(folder.findServers()).toHaveLength(1);
  expect(folder.findServers()).not.toContain(server);
  const books = await readBooks(gateway);
  expect(books).toMatchObject({ balanced: true, discrepancies: [] });
  const balance = await gateway.fetch('/v1/balance', { headers: bearer(key) });
  const { balance_mcents: left } = (await balance.json()) as { balance_mcents: number };
  expect(100_000 - left).toBeGreaterThanOrEqual(100 * acknowledged);
}, 120_000);
