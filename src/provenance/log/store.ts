import { invariant } from '../../core/invariant.ts';
import type { Fragment, Queryable, Tx } from '../../db/index.ts';
import { HASH_BYTES, type Hash } from '../merkle/merkle.ts';
import type { logCheckpoint, logEntry } from './schema.ts';
import { LOG_IDS } from './transparency-log.ts';

export type LogEntryRow = Pick<typeof logEntry.$inferSelect, 'leafIndex' | 'entry' | 'leafHash'>;
export type LogCheckpointRow = Omit<typeof logCheckpoint.$inferSelect, 'log'>;

/** A log's row: `root` is null until there are tiles. */
export type LogStateRow = { treeSize: bigint; root: Hash | null };

/** Locks the log for this transaction and answers how long it is. */
export async function lockLogState(tx: Tx, log: number): Promise<LogStateRow> {
  const [row] = await tx<LogStateRow[]>`
    SELECT tree_size, root FROM log_state WHERE id = ${log} FOR UPDATE`;
  if (row) return row;
  await tx`INSERT INTO log_state (id, tree_size) VALUES (${log}, 0) ON CONFLICT (id) DO NOTHING`;
  const [made] = await tx<LogStateRow[]>`
    SELECT tree_size, root FROM log_state WHERE id = ${log} FOR UPDATE`;
  invariant(made, 'the log has a state');
  return made;
}

export async function findLogState(sql: Queryable, log: number): Promise<LogStateRow | undefined> {
  const [row] = await sql<LogStateRow[]>`SELECT tree_size, root FROM log_state WHERE id = ${log}`;
  return row;
}

export async function setLogState(
  tx: Tx,
  log: number,
  state: { treeSize: number; root: Hash },
): Promise<void> {
  await tx`
    UPDATE log_state SET tree_size = ${BigInt(state.treeSize)}, root = ${state.root} WHERE id = ${log}`;
}

/** Many entries as two array literals of PostgreSQL: the entries in hex, and the key of each. */
export type SpelledEntries = { entries: string; dedupKeys: string };

/**
 * Writes entries from this index on: `source` names rows of `entry`, `dedup_key` and `at`, counted from 1. Answers the
 * `leaf_index` and `leaf_hash` of each. The log's row is locked, so nobody else writes keys of this log meanwhile.
 */
export function entriesInsert(
  sql: Queryable,
  log: number,
  { fromIndex, source }: { fromIndex: number; source: Fragment },
): Fragment {
  return sql`INSERT INTO log_entry (log, leaf_index, entry, leaf_hash, dedup_key)
    SELECT ${log}::smallint, ${BigInt(fromIndex)}::bigint + at - 1, entry, sha256('\\x00'::bytea || entry), dedup_key FROM ${source}
    RETURNING leaf_index, leaf_hash`;
}

/**
 * Inserts entries from this index on, all of them or, where the log holds something with one of the dedup keys
 * already, none, and answers their leaf hashes one after another, or undefined.
 */
export async function insertLogEntries(
  tx: Tx,
  log: number,
  { fromIndex, spelled }: { fromIndex: number; spelled: SpelledEntries },
): Promise<Buffer | undefined> {
  const [row] = await tx<{ leafHashes: Buffer | null }[]>`
    WITH k AS MATERIALIZED (SELECT ${spelled.dedupKeys}::text[] AS keys),
    e AS (SELECT decode(e.entry, 'hex') AS entry, e.dedup_key, e.at
      FROM k, unnest(${spelled.entries}::text[], k.keys) WITH ORDINALITY AS e(entry, dedup_key, at)
      WHERE NOT EXISTS (SELECT 1 FROM log_entry WHERE dedup_key = ANY ((SELECT keys FROM k)::text[]))),
    written AS (${entriesInsert(tx, log, { fromIndex, source: tx`e` })})
    SELECT string_agg(leaf_hash, ''::bytea ORDER BY leaf_index) AS leaf_hashes FROM written`;
  return row?.leafHashes ?? undefined;
}

/** Which of these dedup keys stand in a log already; an array literal. */
export async function findDedupKeys(sql: Queryable, dedupKeys: string): Promise<string[]> {
  const rows = await sql<{ dedupKey: string }[]>`
    SELECT dedup_key FROM log_entry WHERE dedup_key = ANY (${dedupKeys}::text[])`;
  return rows.map(({ dedupKey }) => dedupKey);
}

export function readLogEntries(
  sql: Queryable,
  log: number,
  input: { fromIndex: bigint; rowsMax: number },
): Promise<LogEntryRow[]> {
  return sql<LogEntryRow[]>`
    SELECT leaf_index, entry, leaf_hash FROM log_entry
    WHERE log = ${log} AND leaf_index >= ${input.fromIndex} ORDER BY leaf_index LIMIT ${input.rowsMax}`;
}

/** The publications under names that start with this, in the order of the log: reads the whole version log. */
export function findPublications(sql: Queryable, toolPrefix: string): Promise<LogEntryRow[]> {
  const pattern = `publish ${toolPrefix.replace(/[%_\\]/g, '\\$&')}%`;
  return sql<LogEntryRow[]>`
    SELECT leaf_index, entry, leaf_hash FROM log_entry
    WHERE log = ${LOG_IDS.versions} AND dedup_key LIKE ${pattern} ORDER BY leaf_index`;
}

export async function findEntry(sql: Queryable, dedupKey: string): Promise<LogEntryRow | undefined> {
  const [row] = await sql<LogEntryRow[]>`
    SELECT leaf_index, entry, leaf_hash FROM log_entry WHERE dedup_key = ${dedupKey}`;
  return row;
}

/** The leaf hashes of a range, computed from the entries anew, in order. */
export async function hashLogEntries(
  sql: Queryable,
  log: number,
  range: { fromIndex: number; rowsMax: number },
): Promise<{ leafIndex: bigint; leafHash: Hash; isItsOwn: boolean }[]> {
  return sql`
    SELECT leaf_index, leaf_hash, leaf_hash = sha256('\\x00'::bytea || entry) AS is_its_own FROM log_entry
    WHERE log = ${log} AND leaf_index >= ${BigInt(range.fromIndex)}
    ORDER BY leaf_index LIMIT ${range.rowsMax}`;
}

/** Entries of a log in few large values, each in the order of the log. */
export type PackedEntries = {
  count: number;
  /** Eight bytes each. */
  indexes: Buffer;
  /** 0x00 and the entry, of each. */
  leaves: Buffer;
  /** How long each entry is, in four bytes. */
  lengths: Buffer;
  /** The hashes that are kept; zeros for what is none. */
  leafHashes: Buffer;
};

/** Undefined where there are none. Whatever the table holds nothing in it shifts what stands behind it. */
export async function readPackedEntries(
  sql: Queryable,
  log: number,
  { from, to }: { from: number; to: number },
): Promise<PackedEntries | undefined> {
  const [row] = await sql<PackedEntries[]>`
    SELECT count(*)::int AS count, string_agg(int8send(leaf_index), ''::bytea ORDER BY leaf_index) AS indexes,
      '\\x00'::bytea || string_agg(coalesce(entry, ''), '\\x00'::bytea ORDER BY leaf_index) AS leaves,
      string_agg(int4send(coalesce(octet_length(entry), 0)), ''::bytea ORDER BY leaf_index) AS lengths,
      string_agg(CASE WHEN octet_length(leaf_hash) = ${HASH_BYTES}::int THEN leaf_hash ELSE ${Buffer.alloc(HASH_BYTES)}::bytea END,
        ''::bytea ORDER BY leaf_index) AS leaf_hashes
    FROM (SELECT leaf_index, entry, leaf_hash FROM log_entry
      WHERE log = ${log} AND leaf_index >= ${BigInt(from)} AND leaf_index < ${BigInt(to)}) e`;
  return row && row.count > 0 ? row : undefined;
}

/** Entries in order with the keys that keep each from being there twice. */
export function readEntriesAndKeys(
  sql: Queryable,
  log: number,
  input: { fromIndex: number; rowsMax: number },
): Promise<(LogEntryRow & { dedupKey: string })[]> {
  return sql<(LogEntryRow & { dedupKey: string })[]>`
    SELECT leaf_index, entry, leaf_hash, dedup_key FROM log_entry
    WHERE log = ${log} AND leaf_index >= ${BigInt(input.fromIndex)} ORDER BY leaf_index LIMIT ${input.rowsMax}`;
}

/** Which keys of these entries stand in the logs more than once: none, unless the table's unique key was taken away. */
export async function findRepeatedKeys(
  sql: Queryable,
  log: number,
  { from, to }: { from: number; to: number },
): Promise<string[]> {
  const rows = await sql<{ dedupKey: string }[]>`
    SELECT dedup_key FROM log_entry WHERE dedup_key = ANY (ARRAY(SELECT dedup_key FROM log_entry
      WHERE log = ${log} AND leaf_index >= ${BigInt(from)} AND leaf_index < ${BigInt(to)}))
    GROUP BY dedup_key HAVING count(*) > 1`;
  return rows.map(({ dedupKey }) => dedupKey);
}

/** The checkpoint of this size, or the newest one, with the lines of its witnesses after it. */
export async function findLogCheckpoint(
  sql: Queryable,
  log: number,
  treeSize?: number,
): Promise<LogCheckpointRow | undefined> {
  const [row] = await sql<LogCheckpointRow[]>`
    SELECT c.tree_size, c.root, c.signed_at, c.note || coalesce((
      SELECT string_agg(s.line, '' ORDER BY s.created_at, s.witness) FROM log_cosignature s
      WHERE s.log = c.log AND s.tree_size = c.tree_size), '') AS note
    FROM log_checkpoint c
    WHERE c.log = ${log} ${treeSize === undefined ? sql`` : sql`AND c.tree_size = ${BigInt(treeSize)}`}
    ORDER BY c.tree_size DESC LIMIT 1`;
  return row;
}

/** The next checkpoints after this size, in the order of sizes, without their witnesses. */
export function findCheckpointsAfter(
  sql: Queryable,
  log: number,
  { treeSize, rowsMax }: { treeSize: number; rowsMax: number },
): Promise<LogCheckpointRow[]> {
  return sql<LogCheckpointRow[]>`
    SELECT tree_size, root, note, signed_at FROM log_checkpoint
    WHERE log = ${log} AND tree_size > ${BigInt(treeSize)} ORDER BY tree_size LIMIT ${rowsMax}`;
}

/** Up to where a log is signed. */
export async function findSignedSize(sql: Queryable, log: number): Promise<number> {
  const [row] = await sql<{ treeSize: bigint | null }[]>`
    SELECT max(tree_size) AS tree_size FROM log_checkpoint WHERE log = ${log}`;
  return Number(row?.treeSize ?? 0);
}

export async function insertLogCheckpoint(tx: Tx, log: number, row: LogCheckpointRow): Promise<void> {
  await tx`
    INSERT INTO log_checkpoint (log, tree_size, root, note, signed_at)
    VALUES (${log}, ${row.treeSize}, ${row.root}, ${row.note}, ${row.signedAt})`;
}

export async function insertCosignature(
  sql: Queryable,
  log: number,
  row: { treeSize: number; witness: string; line: string },
): Promise<void> {
  await sql`
    INSERT INTO log_cosignature (log, tree_size, witness, line)
    VALUES (${log}, ${BigInt(row.treeSize)}, ${row.witness}, ${row.line}) ON CONFLICT DO NOTHING`;
}
