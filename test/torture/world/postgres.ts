import { realpathSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../../../src/core/log.ts';
import { migrate, openDatabase, type Sql, startEmbeddedPostgres } from '../../../src/db/index.ts';
import { freeze, listBelow, parentOf, send } from './processes.ts';

/** The storm's own Postgres, which it may kill; who shares one with others leaves the kills out. */
export type StormPostgres = {
  url: string;
  /** For looking, and for what only an operator does. */
  sql: Sql;
  /**
   * `kill -9` of the server, or of one of its processes; it comes up again by itself, on the same port.
   * False when it was not there to be killed.
   */
  kill(whom: 'postmaster' | 'backend'): Promise<boolean>;
  /** All its processes stand still for so long. False when it was not there. */
  freeze(forMs: number): Promise<boolean>;
  close(): Promise<void>;
};

const MIGRATIONS = fileURLToPath(new URL('../../../migrations', import.meta.url));

const KILL_TRIES_MAX = 10;
const KILL_PAUSE_MS = 200;

export async function startStormPostgres(): Promise<StormPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'millicent-torture-'));
  const dataDir = join(folder, 'pg');
  const server = await startEmbeddedPostgres({ dataDir, log: silentLog });
  await migrate({ url: server.url, folder: MIGRATIONS, log: silentLog });
  const database = openDatabase({ url: server.url, poolMax: 4, applicationName: 'millicent-torture' });
  const { sql } = database;
  return {
    ...{ url: server.url, sql },
    async kill(whom) {
      const pid = await findBackend(sql);
      if (pid === undefined) return false;
      send([whom === 'backend' ? pid : parentOf(pid)], 'SIGKILL');
      return true;
    },
    async freeze(forMs) {
      const pid = await findBackend(sql);
      if (pid === undefined) return false;
      const postmaster = parentOf(pid);
      await freeze([postmaster, ...listBelow(postmaster)], sleep(forMs));
      return true;
    },
    async close() {
      await database.close();
      await server.close();
      // For root the folder is a link to one of the system's.
      const place = realpathSync(dataDir);
      await rm(place.startsWith(folder) ? place : dirname(place), { recursive: true, force: true });
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The process behind a connection of our own; it may still be that of a server that was killed before. */
async function findBackend(sql: Sql): Promise<number | undefined> {
  for (let tries = 1; tries <= KILL_TRIES_MAX; tries += 1) {
    try {
      const [row] = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
      if (row) return row.pid;
    } catch {
      await sleep(KILL_PAUSE_MS);
    }
  }
  return undefined;
}
