import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';
import { sha256Hex } from '../../src/core/bytes.ts';
import { silentLog } from '../../src/core/log.ts';
import { identifyProcess } from '../../src/db/embedded/process-identity.ts';
import { migrate, startEmbeddedPostgres } from '../../src/db/index.ts';
import { addressOf, administer, dropDatabase } from './server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    testDatabase: { serverUrl: string; template: string };
  }
}

const DATA_DIR = fileURLToPath(new URL('../../.millicent/test-pg', import.meta.url));
const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url));

/**
 * One embedded server for the whole run, and in it the migrated database that every test copies. Runs
 * that overlap share the server and nothing else.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startEmbeddedPostgres({ dataDir: DATA_DIR, log: silentLog });
  const template = nameTemplate(process.pid);
  await dropDatabases(server.url, (name) => !isOwnerAlive(name));
  await administer(server.url, (sql) => sql`CREATE DATABASE ${sql(template)}`);
  await migrate({ url: addressOf(server.url, template), folder: MIGRATIONS, log: silentLog });
  project.provide('testDatabase', { serverUrl: server.url, template });
  return async () => {
    await dropDatabases(server.url, (name) => name.startsWith(template));
    await server.close();
  };
}

/** The name tells whose a database is, so that a later run can drop what a killed one left. */
function nameTemplate(pid: number): string {
  return `test_${pid}_${sha256Hex(identifyProcess(pid) ?? '').slice(0, 12)}`;
}

function isOwnerAlive(name: string): boolean {
  const pid = Number(name.split('_')[1]);
  return identifyProcess(pid) !== undefined && name.startsWith(nameTemplate(pid));
}

async function dropDatabases(serverUrl: string, isChosen: (name: string) => boolean): Promise<void> {
  await administer(serverUrl, async (sql) => {
    const rows = await sql<{ name: string }[]>`
      SELECT datname AS name FROM pg_database WHERE datname LIKE 'test\\_%'`;
    for (const { name } of rows.filter((row) => isChosen(row.name))) {
      await dropDatabase(sql, name);
    }
  });
}
