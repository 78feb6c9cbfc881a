import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../../src/db/index.ts';
import type { Plan } from '../plan.ts';
import type { Measured } from '../targets.ts';
import type { Endurance } from './endurance-rows.ts';

const CONNECTIONS = 64;
/** Receipts enter their log after the call, at a pace of their own. */
const LOGGED_WITHIN_MS = 120_000;
const POLL_MS = 250;
/** Tables that are named in the report. */
const TABLES_MAX = 6;

type Sizes = { calls: number; walBytes: number; tables: Map<string, number> };

/** What the database grew by for each call: between two states at rest, so that what is there anyway does not count. */
export async function measureBytes(
  { paid, payUntil, progress }: Endurance,
  { bytesCalls }: Plan,
): Promise<Omit<Measured, 'row'>> {
  const read = async (): Promise<Sizes & { unlogged: number }> => {
    progress('waiting for the receipts to enter their log');
    const unlogged = await untilLogged(paid.sql);
    return { calls: paid.acknowledged(), unlogged, ...(await readSizes(paid.sql)) };
  };
  // The first calls fill pages and partitions that were empty.
  await payUntil(Math.ceil(bytesCalls / 10), CONNECTIONS);
  const before = await read();
  await payUntil(before.calls + bytesCalls, CONNECTIONS);
  const after = await read();
  const calls = after.calls - before.calls;
  const grown = [...after.tables]
    .map(([name, bytes]) => ({ name, bytes: (bytes - (before.tables.get(name) ?? 0)) / calls }))
    .sort((a, b) => b.bytes - a.bytes);
  const bytes = grown.reduce((sum, table) => sum + table.bytes, 0);
  const parts = grown.slice(0, TABLES_MAX).map((table) => `${table.name} ${table.bytes.toFixed(0)}`);
  const wal = `${((after.walBytes - before.walBytes) / calls).toFixed(0)} bytes of WAL`;
  const late = after.unlogged > 0 ? [`${after.unlogged} receipts not in their log yet`] : [];
  return {
    measured: { median: bytes, min: bytes, max: bytes },
    ours: [`${calls.toLocaleString('en')} calls`, ...parts, wal, ...late].join(', '),
    peer: '',
  };
}

/** How many receipts are still not in their log when it is waited for no longer. */
async function untilLogged(sql: Sql): Promise<number> {
  const deadline = Date.now() + LOGGED_WITHIN_MS;
  for (;;) {
    const [row] = await sql<{ count: number }[]>`SELECT count(*)::int AS count FROM receipt_unlogged`;
    const count = row?.count ?? 0;
    if (count === 0 || Date.now() > deadline) return count;
    await sleep(POLL_MS);
  }
}

/** Tables with their indexes and what stands apart of them; partitions count as the table that they are of. */
async function readSizes(sql: Sql): Promise<Omit<Sizes, 'calls'>> {
  // What is written back when does not matter: the files have their sizes before.
  await sql`VACUUM`;
  const tables = await sql<{ name: string; bytes: number }[]>`
    SELECT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text AS name,
      sum(pg_total_relation_size(c.oid))::float8 AS bytes
    FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace GROUP BY 1`;
  const [wal] = await sql<{ bytes: number }[]>`
    SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 AS bytes`;
  return { walBytes: wal?.bytes ?? 0, tables: new Map(tables.map(({ name, bytes }) => [name, bytes])) };
}
