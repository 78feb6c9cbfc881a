import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { openDatabase, startEmbeddedPostgres } from '../../src/db/index.ts';
import { type DataFolder, isRoot, makeDataFolder } from '../harness/data-folder.ts';
import { ask, readUrl, run } from '../harness/held-server.ts';
import { startProcess, type TestProcess, waitUntil } from '../harness/process.ts';

let folder: DataFolder;
let processes: TestProcess[];

beforeEach(async () => {
  folder = await makeDataFolder();
  processes = [];
});

afterEach(async () => {
  await Promise.all(processes.map((process) => process.kill()));
  // Attaching and closing is what stops a server that the killed ones left.
  const last = await startEmbeddedPostgres({ dataDir: folder.dataDir, log: silentLog });
  await last.close();
  expect(folder.findServers()).toEqual([]);
  await folder.remove();
});

describe('the embedded PostgreSQL', () => {
  test('five processes that start at once on an empty folder share one server, and the last one out stops it', async () => {
    const starters = Array.from({ length: 5 }, () => hold());
    const urls = await Promise.all(starters.map(readUrl));
    expect(new Set(urls).size).toBe(1);
    expect(folder.findServers()).toHaveLength(1);
    await Promise.all(starters.slice(1).map((starter) => starter.end()));
    expect(await ask(urls[0])).toBe(1);
    await starters[0]?.end();
    expect(folder.findServers()).toEqual([]);
  });

  test('whoever finds its socket removed is told of loopback, and the next server makes a new one', async () => {
    const first = await startEmbeddedPostgres({ dataDir: folder.dataDir, log: silentLog });
    const socket = new URL(first.url).searchParams.get('host') ?? '';
    const [file] = (await readdir(socket)).filter((name) => !name.endsWith('.lock'));
    await rm(join(socket, file ?? ''));
    const second = await startEmbeddedPostgres({ dataDir: folder.dataDir, log: silentLog });
    expect(new URL(second.url).searchParams.get('host')).toBe(null);
    expect(await ask(second.url)).toBe(1);
    await Promise.all([first.close(), second.close()]);

    // As a server that was killed leaves it, with a pid that is another program's by now.
    await writeFile(join(socket, `${file}.lock`), `${process.pid}\n`);
    const third = await startEmbeddedPostgres({ dataDir: folder.dataDir, log: silentLog });
    expect(third.url).toBe(first.url);
    expect(await ask(third.url)).toBe(1);
    await third.close();
  });

  test('it goes on for those who attached when the one who started it ends', async () => {
    const starter = hold();
    const url = await readUrl(starter);
    const attached = hold();
    expect(await readUrl(attached)).toBe(url);
    const [server] = folder.findServers();
    await starter.end();
    expect(folder.findServers()).toEqual([server]);
    expect(await ask(url)).toBe(1);
  });

  test('a start after the starter was killed finds the same server, still running', async () => {
    const starter = hold();
    const url = await readUrl(starter);
    const servers = folder.findServers();
    await starter.kill();
    expect(await ask(url)).toBe(1);
    const next = hold();
    expect(await readUrl(next)).toBe(url);
    expect(folder.findServers()).toEqual(servers);
    await next.end();
    expect(folder.findServers()).toEqual([]);
  });

  test('a start after starter and server were killed recovers what was committed', async () => {
    const starter = hold();
    const url = await readUrl(starter);
    await run(
      url,
      'CREATE TABLE kept (id int8 PRIMARY KEY); INSERT INTO kept SELECT generate_series(1, 1000)',
    );
    await starter.kill();
    killServers();
    const again = await readUrl(hold());
    expect(await run(again, 'SELECT count(*) FROM kept')).toEqual([{ count: 1000n }]);
  });

  test('a server that is killed under a running gateway is back at the same address', async () => {
    const url = await readUrl(hold());
    const gateway = openDatabase({ url, poolMax: 2, applicationName: 'gateway' });
    await gateway.sql`CREATE TABLE kept (id int8)`;
    await gateway.sql`INSERT INTO kept VALUES (1)`;
    const before = folder.findServers();
    killServers();
    await waitUntil(() => folder.findServers().some((pid) => !before.includes(pid)));
    const rows = await waitUntil(() => gateway.sql`SELECT id FROM kept`.catch(() => undefined));
    expect(rows).toEqual([{ id: 1n }]);
    expect(folder.findServers()).toHaveLength(1);
    await gateway.close();
  });

  test.each(['control/password', 'data', 'control/port', 'data/postmaster.pid'])(
    'a starter killed as soon as there is %s leaves a folder that starts',
    async (landmark) => {
      const victim = hold();
      await waitUntil(() => stat(folder.inside(landmark)).catch(() => undefined));
      await victim.kill();
      expect(await ask(await readUrl(hold()))).toBe(1);
      expect(folder.findServers()).toHaveLength(1);
    },
  );

  test("a pid file that names another program's process by now does not stand in the way", async () => {
    const starter = hold();
    await readUrl(starter);
    const pidFile = folder.inside('data/postmaster.pid');
    const text = await readFile(pidFile, 'utf8');
    await starter.end();
    const server = await stat(folder.inside('data'));
    const other = spawn('sleep', ['600'], isRoot ? { uid: server.uid, gid: server.gid } : {});
    await once(other, 'spawn');
    await writeFile(pidFile, text.replace(/^\d+/, String(other.pid)), { mode: 0o600 });
    expect(await ask(await readUrl(hold()))).toBe(1);
    expect(other.kill()).toBe(true);
  });

  test('it syncs commits to disk, listens on loopback only, and keeps its password to its owner', async () => {
    const url = await readUrl(hold());
    const rows = await run(
      url,
      `SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'listen_addresses',
         'synchronous_commit', 'server_encoding', 'data_checksums', 'TimeZone') ORDER BY name COLLATE "C"`,
    );
    expect(Object.fromEntries(rows.map((row) => [row.name, row.setting]))).toEqual({
      TimeZone: 'UTC',
      data_checksums: 'on',
      fsync: 'on',
      full_page_writes: 'on',
      listen_addresses: '127.0.0.1',
      server_encoding: 'UTF8',
      synchronous_commit: 'on',
    });
    expect((await stat(folder.inside('control/password'))).mode & 0o777).toBe(0o600);
    expect((await stat(folder.inside('control'))).mode & 0o777).toBe(0o700);
    const stranger = new URL(url);
    stranger.password = 'guess';
    await expect(run(stranger.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
    expect(await run(url, 'SELECT rolsuper FROM pg_roles WHERE rolname = current_user')).toEqual([
      { rolsuper: false },
    ]);
  });
});

function hold(): TestProcess {
  const holder = startProcess({ program: 'hold-postgres.ts', args: [folder.dataDir] });
  processes.push(holder);
  return holder;
}

function killServers(): void {
  for (const pid of folder.findServers()) process.kill(pid, 'SIGKILL');
}
