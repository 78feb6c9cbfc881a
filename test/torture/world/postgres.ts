import { readFileSync, realpathSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../../../src/core/log.ts';
import { migrate, openDatabase, type Sql, startEmbeddedPostgres } from '../../../src/db/index.ts';

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
      for (let tries = 1; tries <= KILL_TRIES_MAX; tries += 1) {
        try {
          const [row] = await sql<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`;
          if (row) return process.kill(whom === 'backend' ? row.pid : parentOf(row.pid), 'SIGKILL');
        } catch {
          // Our own connection may still be that of a server that was killed before.
          await sleep(KILL_PAUSE_MS);
        }
      }
      return false;
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

/** The parent of a process; the name before it stands in brackets and may hold anything. */
function parentOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]);
}
