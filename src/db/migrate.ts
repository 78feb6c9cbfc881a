import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256Hex } from '../core/bytes.ts';
import type { Log } from '../core/log.ts';
import { openDatabase, type Queryable, type Sql } from './client.ts';
import { withTransaction } from './transaction.ts';

export type MigrateOptions = { url: string; folder: string; log: Log };

type Migration = { name: string; hash: string; text: string };

/** A migration may rewrite a table, and every other gateway waits for it meanwhile. */
const STATEMENT_TIMEOUT_MS = 600_000;

/** The row that gateways starting together queue for; its name sorts before every file. */
const LOCK_NAME = '';

/**
 * Brings the database up to the SQL files in `folder`, in the order of their names, each in a transaction
 * of its own and each exactly once however many gateways start together. A folder that is not there is
 * an empty one. A file that was changed after it ran is an error that names it.
 */
export async function migrate(options: MigrateOptions): Promise<void> {
  const files = await readMigrations(options.folder);
  const database = openDatabase({
    url: options.url,
    poolMax: 1,
    applicationName: 'millicent-migrate',
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
  });
  try {
    await createMigrationTable(database.sql);
    while (await applyNext(database.sql, files, options.log));
  } finally {
    await database.close();
  }
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const files = names.filter((name) => name.endsWith('.sql')).sort();
  return Promise.all(
    files.map(async (name) => {
      const text = await readFile(join(folder, name), 'utf8');
      return { name, hash: sha256Hex(text), text };
    }),
  );
}

async function createMigrationTable(sql: Sql): Promise<void> {
  await sql`
    CREATE TABLE IF NOT EXISTS millicent_migration (
      name text PRIMARY KEY,
      hash text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT now()
    )`.catch((error: unknown) => {
    // IF NOT EXISTS does not cover a racer that creates it in the same instant; then it is there.
    if (!isAlreadyThere(error)) throw error;
  });
  await sql`INSERT INTO millicent_migration (name, hash) VALUES (${LOCK_NAME}, '') ON CONFLICT DO NOTHING`;
}

/** Applies the first file that has not run yet; false when there is none. */
function applyNext(sql: Sql, files: Migration[], log: Log): Promise<boolean> {
  return withTransaction(sql, async (tx) => {
    await tx`SELECT 1 FROM millicent_migration WHERE name = ${LOCK_NAME} FOR UPDATE`;
    const next = findPending(files, await readApplied(tx), log);
    if (next === undefined) return false;
    try {
      // The simple protocol takes a whole file; drizzle's breakpoints in it are comments.
      await tx.unsafe(next.text).simple();
    } catch (cause) {
      throw new Error(`Migration ${next.name} failed: ${String(cause)}`, { cause });
    }
    await tx`INSERT INTO millicent_migration (name, hash) VALUES (${next.name}, ${next.hash})`;
    log.info({ migration: next.name }, 'migration applied');
    return true;
  });
}

async function readApplied(sql: Queryable): Promise<Map<string, string>> {
  const rows = await sql<{ name: string; hash: string }[]>`
    SELECT name, hash FROM millicent_migration WHERE name <> ${LOCK_NAME}`;
  return new Map(rows.map((row) => [row.name, row.hash]));
}

function findPending(files: Migration[], applied: Map<string, string>, log: Log): Migration | undefined {
  const edited = files.find((file) => applied.has(file.name) && applied.get(file.name) !== file.hash);
  if (edited !== undefined) {
    throw new Error(
      `Migration ${edited.name} was changed after it had been applied; restore it and put the change into a new file.`,
    );
  }
  const pending = files.find((file) => !applied.has(file.name));
  const unknown = [...applied.keys()].filter((name) => !files.some((file) => file.name === name));
  if (pending === undefined && unknown.length > 0) {
    // An older gateway restarting during a roll-out must still start.
    log.warn({ migrations: unknown }, 'the database is newer than this program');
  }
  return pending;
}

function isAlreadyThere(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return ['23505', '42P07', '42710'].includes(String(error.code));
}
