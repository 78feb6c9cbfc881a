import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { silentLog } from '../../src/core/log.ts';
import { migrate, openDatabase, startEmbeddedPostgres } from '../../src/db/index.ts';

/** An embedded PostgreSQL of the bench's own, in a folder that is thrown away with it. */
export type ThrowAwayPostgres = {
  /** For the machine line. */
  version: string;
  /** Creates and migrates a database, and answers its address. */
  createDatabase(name: string): Promise<string>;
  close(): Promise<void>;
};

const MIGRATIONS = resolve(import.meta.dirname, '../../migrations');

export async function startThrowAwayPostgres(): Promise<ThrowAwayPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'millicent-bench-'));
  const dataDir = join(folder, 'pg');
  const server = await startEmbeddedPostgres({ dataDir, log: silentLog });
  const admin = openDatabase({ url: server.url, poolMax: 1, applicationName: 'millicent-bench-admin' });
  return {
    version: await readVersion(admin.sql),
    async createDatabase(name) {
      await admin.sql`CREATE DATABASE ${admin.sql(name)}`;
      const url = new URL(server.url);
      url.pathname = `/${name}`;
      await migrate({ url: url.href, folder: MIGRATIONS, log: silentLog });
      return url.href;
    },
    async close() {
      await admin.close();
      await server.close();
      await removeCluster(dataDir);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Removes what an embedded PostgreSQL left. What root starts has its data in a folder of the system's. */
export async function removeCluster(dataDir: string): Promise<void> {
  const target = await realpath(dataDir).catch(() => undefined);
  if (target === undefined) return;
  const isLink = target !== join(await realpath(dirname(dataDir)), basename(dataDir));
  await rm(isLink ? dirname(target) : target, { recursive: true, force: true });
}

/** A charge that is not on disk is not a charge: without fsync the figures would mean nothing. */
async function readVersion(sql: ReturnType<typeof openDatabase>['sql']): Promise<string> {
  const [row] = await sql<{ version: string; fsync: string; commit: string }[]>`
    SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
      current_setting('synchronous_commit') AS commit`;
  if (row?.fsync !== 'on' || row.commit !== 'on') throw new Error('PostgreSQL runs without fsync');
  return `PostgreSQL ${row.version}, fsync on`;
}
