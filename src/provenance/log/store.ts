import { invariant } from '../../core/invariant.ts';
import type { Queryable, Tx } from '../../db/index.ts';
import type { logEntry } from './schema.ts';

export type LogEntryRow = Pick<typeof logEntry.$inferSelect, 'leafIndex' | 'entry' | 'leafHash'>;

/** Locks the log for this transaction and answers its size. */
export async function lockTreeSize(tx: Tx): Promise<bigint> {
  await tx`INSERT INTO log_state (id, tree_size) VALUES (1, 0) ON CONFLICT (id) DO NOTHING`;
  const [row] = await tx<{ treeSize: bigint }[]>`SELECT tree_size FROM log_state WHERE id = 1 FOR UPDATE`;
  invariant(row, 'the log has a state');
  return row.treeSize;
}

/** False when the log holds something with this `dedupKey` already. */
export async function insertLogEntry(tx: Tx, row: LogEntryRow & { dedupKey: string }): Promise<boolean> {
  const rows = await tx`
    INSERT INTO log_entry (leaf_index, entry, leaf_hash, dedup_key)
    VALUES (${row.leafIndex}, ${row.entry}, ${row.leafHash}, ${row.dedupKey})
    ON CONFLICT (dedup_key) DO NOTHING RETURNING 1`;
  return rows.length === 1;
}

export async function setTreeSize(tx: Tx, treeSize: bigint): Promise<void> {
  await tx`UPDATE log_state SET tree_size = ${treeSize} WHERE id = 1`;
}

export function readLogEntries(
  sql: Queryable,
  input: { fromIndex: bigint; rowsMax: number },
): Promise<LogEntryRow[]> {
  return sql<LogEntryRow[]>`
    SELECT leaf_index, entry, leaf_hash FROM log_entry
    WHERE leaf_index >= ${input.fromIndex} ORDER BY leaf_index LIMIT ${input.rowsMax}`;
}

/** The publications under names that start with this, in the order of the log. */
export function findPublications(sql: Queryable, toolPrefix: string): Promise<LogEntryRow[]> {
  const pattern = `publish ${toolPrefix.replace(/[%_\\]/g, '\\$&')}%`;
  return sql<LogEntryRow[]>`
    SELECT leaf_index, entry, leaf_hash FROM log_entry WHERE dedup_key LIKE ${pattern} ORDER BY leaf_index`;
}
