import type { Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import { numberIn, type Queryable, quote, quoteBytes, type Tx, toArray } from '../../db/index.ts';
import { HASH_BYTES } from '../merkle/merkle.ts';
import type { HashedBatch, Issuer } from './leaves.ts';
import type { Receipt, ReceiptDraft } from './receipt.ts';
import type { receiptBatch } from './schema.ts';

type BatchRow = typeof receiptBatch.$inferSelect;
export type OpenBatchRow = Pick<BatchRow, 'id' | 'leafCount'>;
/** A receipt as its leaf and commitment are made of, at its place in a batch. */
export type BatchReceiptRow = Receipt & { inBatch: Uuid };
export type BatchSeal = HashedBatch & { root: Buffer; jws: string; signedAt: Date };
export type SealedBatchRow = { index: number; leafCount: number; leafHashes: Buffer; jws: string };

/** A lane with the bucket its row and its batches are in. */
export type Lane = { name: string; bucket: number };

/** Who bought what and how it is paid for, which many drafts of a batch have in common: sent once for all of them. */
const TERM_COLUMNS = [
  ['tool_id', 'uuid'],
  ['version_id', 'uuid'],
  ['tool_name', 'text'],
  ['payer', 'text'],
  ['rail', 'text'],
] as const;
/**
 * What each draft has of its own: the numbers of its terms and of its pair of hashes, counted from 1, and what its
 * payment is called, if that is not the call's own id.
 */
const DRAFT_COLUMNS = [
  ['term', 'integer'],
  ['hashes', 'integer'],
  ['payment_ref', 'text'],
] as const;
type Columns = readonly (readonly [name: string, type: string])[];
const listNames = (columns: Columns) => columns.map(([name]) => name).join(', ');
const listArrays = (columns: Columns, first: number) =>
  columns.map(([, type], at) => `$${first + at}::${type}[]`).join(', ');
/** The request's hash and the response's, of each pair one after another: one parameter instead of two for each. */
const HASHES = `substring($H::bytea FROM (d.hashes - 1) * ${2 * HASH_BYTES} + 1 FOR ${HASH_BYTES}) AS request_hash,
  substring($H::bytea FROM (d.hashes - 1) * ${2 * HASH_BYTES} + ${HASH_BYTES + 1} FOR ${HASH_BYTES}) AS response_hash`;

/** Where all calls of a batch are accepted: how many of the same tool come behind each, and so what number it gets. */
const BEHIND = ['behind', 'integer'] as const;

/**
 * The CTEs that write the receipts of what was `accepted`. Lanes are locked in the order of their tools, and
 * after the accounts that `accepted` locked, so no two statements wait in a circle. The batch's id is drawn
 * here: a statement that is sent again after a lost answer opens a batch of its own, or none. With `whole`, an array of
 * the ids of all calls, each of them is accepted and gets a receipt, or none is: nothing has to be sorted or numbered.
 */
export function receiptCte(firstParameter: number, whole?: { ids: string }): string {
  const columns = whole ? [...DRAFT_COLUMNS, BEHIND] : DRAFT_COLUMNS;
  const first = firstParameter + 2;
  const termsFirst = first + columns.length;
  const hashesAt = termsFirst + TERM_COLUMNS.length;
  const [listed, seq] = whole
    ? [
        `cardinality(${whole.ids}), ${whole.ids}, $${hashesAt + 1}::smallint[] WHERE EXISTS (SELECT FROM receipt_draft)`,
        'c.last_seq - d.behind',
      ]
    : [
        'count(*), array_agg(d.id ORDER BY d.ord), array_agg(d.bucket ORDER BY d.ord) FROM receipt_draft d HAVING count(*) > 0',
        'c.last_seq + 1 - row_number() OVER (PARTITION BY tool_id ORDER BY d.ord DESC)',
      ];
  return `receipt_draft AS MATERIALIZED (
  SELECT a.id, a.bucket, a.amount, a.fee, ${whole ? 'd.behind' : 'd.ord'}, coalesce(d.payment_ref, a.id::text) AS payment_ref,
    ${listNames(TERM_COLUMNS)}, ${HASHES.replaceAll('$H', `$${hashesAt}`)}
  FROM unnest(${listArrays(columns, first)}) WITH ORDINALITY AS d(${listNames(columns)}, ord)
  JOIN unnest(${listArrays(TERM_COLUMNS, termsFirst)}) WITH ORDINALITY AS s(${listNames(TERM_COLUMNS)}, nth) ON s.nth = d.term
  JOIN accepted a ON a.ord = d.ord WHERE a.amount > 0),
receipt_counter AS (INSERT INTO receipt_lane AS l (bucket, tool_id, lane, last_seq)
  SELECT $${firstParameter + 1}::smallint, tool_id, $${firstParameter}::text, count(*) FROM receipt_draft GROUP BY tool_id ORDER BY tool_id
  ON CONFLICT (tool_id, lane, bucket) DO UPDATE SET last_seq = l.last_seq + excluded.last_seq
  RETURNING tool_id, lane, last_seq),
receipt_batch_new AS MATERIALIZED (SELECT gen_random_uuid() AS id),
receipt_opened AS (INSERT INTO receipt_batch (bucket, id, leaf_count, receipt_ids, receipt_buckets)
  SELECT $${firstParameter + 1}::smallint, (SELECT id FROM receipt_batch_new), ${listed} RETURNING id, leaf_count),
receipt_written AS (INSERT INTO receipt (bucket, id, lane, seq, price, fee, batch_id, payment_ref, ${listNames(TERM_COLUMNS)}, request_hash, response_hash)
  SELECT d.bucket, d.id, c.lane, ${seq},
    d.amount, d.fee, (SELECT id FROM receipt_batch_new), payment_ref, ${listNames(TERM_COLUMNS)}, request_hash, response_hash
  FROM receipt_draft d JOIN receipt_counter c USING (tool_id))`;
}

/** What `readWritten` reads: batch, how many, when (Unix seconds), the last number of each tool, and the lane. */
export const RECEIPT_ANSWER = `(SELECT concat_ws(' ', id, leaf_count, floor(extract(epoch FROM now()))::bigint,
  (SELECT string_agg(concat(tool_id, ':', last_seq), ',') || ' ' || min(lane) FROM receipt_counter)) FROM receipt_opened)`;

/** A call with the receipt it is to have, if any. */
type DraftedCall = { id: Uuid; item: ReceiptDraft | null };

/** The parameters of `receiptCte`: the lane and its bucket, then one array for each column. */
export function receiptParameters(lane: Lane, calls: readonly DraftedCall[]): unknown[] {
  return listParameters(lane, calls, []);
}

/** Those of its form for whole batches; none where a call of this one gets no receipt. */
export function wholeReceiptParameters(
  lane: Lane,
  calls: readonly (DraftedCall & { bucket: number; amount: bigint })[],
): unknown[] | undefined {
  const behind = new Map<Uuid, number>();
  const counts: number[] = [];
  for (const { item, amount } of calls.toReversed()) {
    if (item === null || amount <= 0n) return undefined;
    const count = behind.get(item.toolId) ?? 0;
    behind.set(item.toolId, count + 1);
    counts.push(count);
  }
  const parameters = listParameters(lane, calls, [toArray(counts.reverse(), (count) => count)]);
  return [...parameters, toArray(calls, ({ bucket }) => bucket)];
}

/** `more` are further columns of the drafts. */
function listParameters(lane: Lane, calls: readonly DraftedCall[], more: readonly string[]): unknown[] {
  const terms: ReceiptDraft[] = [];
  const pairs: ReceiptDraft[] = [];
  return [
    lane.name,
    lane.bucket,
    toArray(calls, ({ item }) => item && numberIn(terms, item, hasSameTerms)),
    toArray(calls, ({ item }) => item && numberIn(pairs, item, hasSameHashes)),
    toArray(calls, ({ id, item }) =>
      item === null || item.paymentRef === id ? null : quote(item.paymentRef),
    ),
    ...more,
    toArray(terms, (draft) => draft.toolId),
    toArray(terms, (draft) => draft.versionId),
    toArray(terms, (draft) => quote(draft.toolName)),
    toArray(terms, (draft) => quote(draft.payer)),
    toArray(terms, (draft) => quote(draft.rail)),
    joinHashes(pairs),
  ];
}

function hasSameTerms(a: ReceiptDraft, b: ReceiptDraft): boolean {
  return (
    a.toolId === b.toolId &&
    a.versionId === b.versionId &&
    a.toolName === b.toolName &&
    a.payer === b.payer &&
    a.rail === b.rail
  );
}

/** The same buffers: a sale that is alike for all its callers is hashed once. */
function hasSameHashes(a: ReceiptDraft, b: ReceiptDraft): boolean {
  return a.requestHash === b.requestHash && a.responseHash === b.responseHash;
}

function joinHashes(pairs: readonly ReceiptDraft[]): Buffer {
  for (const { requestHash, responseHash } of pairs) {
    // Of another length they would shift those behind them.
    invariant(requestHash.length === HASH_BYTES && responseHash.length === HASH_BYTES, 'a hash has 32 bytes');
  }
  return Buffer.concat(pairs.flatMap(({ requestHash, responseHash }) => [requestHash, responseHash]));
}

/** Takes the lane's next number and writes the receipt, which then waits to be logged, or answers the one that is there. */
export async function insertReceipt(
  tx: Tx,
  row: ReceiptDraft & { id: Uuid; bucket: number; lane: Lane; price: bigint; fee: bigint },
): Promise<{ seq: bigint; issuedAt: Date }> {
  const [written] = await tx<{ seq: bigint; issuedAt: Date }[]>`
    WITH existing AS (SELECT seq, issued_at FROM receipt WHERE id = ${row.id} AND bucket = ${row.bucket}),
    counter AS (INSERT INTO receipt_lane AS l (bucket, tool_id, lane, last_seq)
      SELECT ${row.lane.bucket}::smallint, ${row.toolId}::uuid, ${row.lane.name}::text, 1 WHERE NOT EXISTS (SELECT FROM existing)
      ON CONFLICT (tool_id, lane, bucket) DO UPDATE SET last_seq = l.last_seq + 1
      RETURNING tool_id, lane, last_seq),
    written AS (INSERT INTO receipt (bucket, id, tool_id, version_id, tool_name, lane, seq, payer, price, fee,
        rail, payment_ref, request_hash, response_hash)
      SELECT ${row.bucket}, ${row.id}, tool_id, ${row.versionId}, ${row.toolName}, lane, last_seq,
        ${row.payer}, ${row.price}, ${row.fee}, ${row.rail}, ${row.paymentRef}, ${row.requestHash}, ${row.responseHash}
      FROM counter RETURNING bucket, id, tool_id, version_id, lane, seq, issued_at),
    queued AS (INSERT INTO receipt_unlogged (bucket, tool_id, version_id, lane, seq, receipt_count)
      SELECT ${row.lane.bucket}::smallint, tool_id, version_id, lane, seq, 1 FROM written)
    SELECT seq, issued_at FROM written UNION ALL SELECT seq, issued_at FROM existing`;
  invariant(written, 'a receipt was written or was there');
  return written;
}

/** How many receipts a tool has: the lanes count without a gap. */
export async function sumLanes(sql: Queryable, toolId: Uuid): Promise<bigint> {
  const [row] = await sql<{ sold: bigint }[]>`
    SELECT coalesce(sum(last_seq), 0)::bigint AS sold FROM receipt_lane WHERE tool_id = ${toolId}`;
  return row?.sold ?? 0n;
}

export async function findReceipt(sql: Queryable, id: Uuid): Promise<Receipt | undefined> {
  const [row] = await sql<Receipt[]>`
    SELECT id, tool_id, version_id, tool_name, lane, seq, payer, price, fee, rail, payment_ref, request_hash,
      response_hash, batch_id, issued_at
    FROM receipt WHERE id = ${id}`;
  return row;
}

/** The batch's seal and the receipt's place in it; undefined while it is open. */
export async function findSealedBatch(
  sql: Queryable,
  input: { batchId: Uuid; receiptId: Uuid },
): Promise<SealedBatchRow | undefined> {
  const [row] = await sql<SealedBatchRow[]>`
    SELECT array_position(receipt_ids, ${input.receiptId}::uuid) - 1 AS index, leaf_count, leaf_hashes, jws
    FROM receipt_batch
    WHERE id = ${input.batchId} AND signed_at IS NOT NULL`;
  return row;
}

/** Batches that have waited to be sealed for so long, the oldest first. */
export async function listOpenBatches(
  sql: Queryable,
  { openForMs, rowsMax }: { openForMs: number; rowsMax: number },
): Promise<OpenBatchRow[]> {
  return sql<OpenBatchRow[]>`
    SELECT id, leaf_count FROM receipt_batch
    WHERE signed_at IS NULL AND opened_at <= now() - ${openForMs} * interval '1 millisecond'
    ORDER BY opened_at, id LIMIT ${rowsMax}`;
}

export async function findOpenBatch(sql: Queryable, batchId: Uuid): Promise<OpenBatchRow | undefined> {
  const [row] = await sql<OpenBatchRow[]>`
    SELECT id, leaf_count FROM receipt_batch WHERE id = ${batchId} AND signed_at IS NULL`;
  return row;
}

/** The receipts of these batches, each batch's in leaf order. */
export function readBatchReceipts(sql: Queryable, batchIds: readonly Uuid[]): Promise<BatchReceiptRow[]> {
  // Each is looked up by its key: a join would be planned to read the whole table.
  return sql<BatchReceiptRow[]>`
    SELECT r.*, b.id AS in_batch FROM receipt_batch b
    CROSS JOIN unnest(b.receipt_ids, b.receipt_buckets) WITH ORDINALITY AS t(id, bucket, ord)
    CROSS JOIN LATERAL (SELECT id, tool_id, version_id, tool_name, lane, seq, payer, price, fee, rail, payment_ref, request_hash,
        response_hash, batch_id, issued_at FROM receipt r WHERE r.id = t.id AND r.bucket = t.bucket OFFSET 0) r
    WHERE b.id = ANY(${toArray(batchIds, (id) => id)}::uuid[]) ORDER BY b.id, t.ord`;
}

/**
 * Seals batches that are still open and answers how many; their receipts wait to be logged from then on, under this
 * issuer. One that another gateway is sealing is left to it, and a seal that is there stays.
 */
export async function sealBatchRows(
  sql: Queryable,
  seals: readonly BatchSeal[],
  issuer: Issuer,
): Promise<number> {
  const runs = seals.flatMap((seal) => seal.runs.map((run) => ({ ...run, batchId: seal.id })));
  const [row] = await sql<{ sealed: number }[]>`
    WITH s AS MATERIALIZED (SELECT * FROM unnest(
      ${toArray(seals, (seal) => seal.id)}::uuid[],
      ${toArray(seals, (seal) => quoteBytes(seal.leafHashes))}::bytea[],
      ${toArray(seals, (seal) => quoteBytes(seal.root))}::bytea[],
      ${toArray(seals, (seal) => quote(seal.jws))}::text[],
      ${toArray(seals, (seal) => quote(seal.signedAt.toISOString()))}::timestamptz[]
    ) AS s(id, leaf_hashes, root, jws, signed_at)),
    sealed AS (UPDATE receipt_batch b
    SET leaf_hashes = s.leaf_hashes, root = s.root, jws = s.jws, signed_at = s.signed_at
    FROM s JOIN (SELECT bucket, id FROM receipt_batch
      WHERE id = ANY(${toArray(seals, (seal) => seal.id)}::uuid[]) AND signed_at IS NULL
      ORDER BY id FOR UPDATE SKIP LOCKED) o ON o.id = s.id
    WHERE b.id = o.id AND b.bucket = o.bucket RETURNING b.id, b.bucket),
    queued AS (INSERT INTO receipt_unlogged (bucket, tool_id, version_id, lane, seq, receipt_count, salts, commitments, iss, log_origin)
      SELECT w.bucket, r.tool_id, r.version_id, r.lane, r.seq, r.receipt_count, r.salts, r.commitments, ${issuer.iss}::text, ${issuer.log}::text
      FROM sealed w JOIN unnest(
        ${toArray(runs, (run) => run.batchId)}::uuid[],
        ${toArray(runs, (run) => run.toolId)}::uuid[],
        ${toArray(runs, (run) => run.versionId)}::uuid[],
        ${toArray(runs, (run) => quote(run.lane))}::text[],
        ${toArray(runs, (run) => run.firstSeq.toString())}::bigint[],
        ${toArray(runs, (run) => run.count.toString())}::integer[],
        ${toArray(runs, (run) => quoteBytes(run.salts))}::bytea[],
        ${toArray(runs, (run) => quoteBytes(run.commitments))}::bytea[]
      ) AS r(batch_id, tool_id, version_id, lane, seq, receipt_count, salts, commitments) ON r.batch_id = w.id
      ON CONFLICT (tool_id, lane, seq, bucket) DO NOTHING)
    SELECT count(*)::int AS sealed FROM sealed`;
  return row?.sealed ?? 0;
}
