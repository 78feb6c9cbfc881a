import type { Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import type { Fragment, Queryable, Tx } from '../../db/index.ts';
import { HASH_BYTES } from '../merkle/merkle.ts';
import { SALT_BYTES } from './commitments/commitment.ts';
import type { Receipt, ReceiptDraft, VersionDescription } from './receipt.ts';
import type { receiptBatch } from './schema.ts';

type BatchRow = typeof receiptBatch.$inferSelect;
export type OpenBatchRow = Pick<BatchRow, 'id' | 'leafCount' | 'versionIds'>;
export type Issuer = { iss: string; log: string };
export type BatchLeavesInput = {
  batches: readonly OpenBatchRow[];
  versions: readonly (VersionDescription & { id: Uuid })[];
  issuer: Issuer;
  /** Random, `SALT_BYTES` for each receipt of the batches, in their order. */
  salts: Buffer;
};
/** The receipts of a batch in leaf order: hashes one after another, the rest as array literals. */
export type BatchLeavesRow = {
  id: Uuid;
  lane: string;
  leafHashes: Buffer;
  /** What the receipts log will say of each. */
  commitments: Buffer;
  toolIds: string;
  versionIds: string;
  seqs: string;
};
export type BatchSeal = BatchLeavesRow & { salts: Buffer; root: Buffer; jws: string; signedAt: Date };
export type SealedBatchRow = { index: number; leafCount: number; leafHashes: Buffer; jws: string };

/** A lane with the bucket its row and its batches are in. */
export type Lane = { name: string; bucket: number };

/** What each draft has of its own; `sale` counts the sales from 1. */
const DRAFT_COLUMNS = [
  ['sale', 'integer'],
  ['payer', 'text'],
  ['payment_ref', 'text'],
] as const;
/** What is sold and how it is paid for, which most drafts of a batch have in common: sent once for all of them. */
const SALE_COLUMNS = [
  ['tool_id', 'uuid'],
  ['version_id', 'uuid'],
  ['tool_name', 'text'],
  ['rail', 'text'],
] as const;
type Columns = readonly (readonly [name: string, type: string])[];
const listNames = (columns: Columns) => columns.map(([name]) => name).join(', ');
const listArrays = (columns: Columns, first: number) =>
  columns.map(([, type], at) => `$${first + at}::${type}[]`).join(', ');
/** The request's hash and the response's, of each draft one after another: one parameter instead of two for each. */
const HASHES = `substring($H::bytea FROM (d.ord::int - 1) * ${2 * HASH_BYTES} + 1 FOR ${HASH_BYTES}) AS request_hash,
  substring($H::bytea FROM (d.ord::int - 1) * ${2 * HASH_BYTES} + ${HASH_BYTES + 1} FOR ${HASH_BYTES}) AS response_hash`;

/**
 * The CTEs that write the receipts of what was `accepted`. Lanes are locked in the order of their tools, and
 * after the accounts that `accepted` locked, so no two statements wait in a circle. The batch's id is drawn
 * here: a statement that is sent again after a lost answer opens a batch of its own, or none.
 */
export function receiptCte(firstParameter: number): string {
  const first = firstParameter + 2;
  const salesFirst = first + DRAFT_COLUMNS.length;
  const hashes = HASHES.replaceAll('$H', `$${salesFirst + SALE_COLUMNS.length}`);
  return `receipt_draft AS MATERIALIZED (
  SELECT a.id, a.bucket, a.amount, a.fee, d.ord, d.payer, d.payment_ref,
    ${listNames(SALE_COLUMNS)}, ${hashes}
  FROM unnest(${listArrays(DRAFT_COLUMNS, first)}) WITH ORDINALITY AS d(${listNames(DRAFT_COLUMNS)}, ord)
  JOIN unnest(${listArrays(SALE_COLUMNS, salesFirst)}) WITH ORDINALITY AS s(${listNames(SALE_COLUMNS)}, nth) ON s.nth = d.sale
  JOIN accepted a ON a.ord = d.ord WHERE a.amount > 0),
receipt_counter AS (INSERT INTO receipt_lane AS l (bucket, tool_id, lane, last_seq)
  SELECT $${firstParameter + 1}::smallint, tool_id, $${firstParameter}::text, count(*) FROM receipt_draft GROUP BY tool_id ORDER BY tool_id
  ON CONFLICT (tool_id, lane, bucket) DO UPDATE SET last_seq = l.last_seq + excluded.last_seq
  RETURNING tool_id, lane, last_seq),
receipt_batch_new AS MATERIALIZED (SELECT gen_random_uuid() AS id),
receipt_opened AS (INSERT INTO receipt_batch (bucket, id, leaf_count, receipt_ids, receipt_buckets, version_ids)
  SELECT $${firstParameter + 1}::smallint, b.id, count(*), array_agg(d.id ORDER BY d.ord), array_agg(d.bucket ORDER BY d.ord), array_agg(DISTINCT d.version_id) FROM receipt_draft d, receipt_batch_new b GROUP BY b.id),
receipt_written AS (INSERT INTO receipt (bucket, id, lane, seq, price, fee, batch_id, payer, payment_ref, ${listNames(SALE_COLUMNS)}, request_hash, response_hash)
  SELECT d.bucket, d.id, c.lane, c.last_seq + 1 - row_number() OVER (PARTITION BY tool_id ORDER BY d.ord DESC),
    d.amount, d.fee, b.id, payer, payment_ref, ${listNames(SALE_COLUMNS)}, request_hash, response_hash
  FROM receipt_draft d JOIN receipt_counter c USING (tool_id), receipt_batch_new b)`;
}

/** The parameters of `receiptCte`: the lane and its bucket, then one array for each column. */
export function receiptParameters(lane: Lane, drafts: readonly (ReceiptDraft | null)[]): unknown[] {
  const sales: ReceiptDraft[] = [];
  const saleOf = drafts.map((draft) => (draft === null ? null : findSale(sales, draft)));
  return [
    lane.name,
    lane.bucket,
    toArray(saleOf, (sale) => `${sale}`),
    toArray(drafts, (draft) => quote(draft.payer)),
    toArray(drafts, (draft) => quote(draft.paymentRef)),
    toArray(sales, (draft) => draft.toolId),
    toArray(sales, (draft) => draft.versionId),
    toArray(sales, (draft) => quote(draft.toolName)),
    toArray(sales, (draft) => quote(draft.rail)),
    joinHashes(drafts),
  ];
}

/** How many of the latest sales are compared: one that is sent twice costs less than a longer search. */
const SALES_COMPARED = 8;

/** The number of the draft's sale, counted from 1; one that is not among the latest is added. */
function findSale(sales: ReceiptDraft[], draft: ReceiptDraft): number {
  for (let at = sales.length; at > Math.max(0, sales.length - SALES_COMPARED); at--) {
    const sale = sales[at - 1];
    if (sale && isSameSale(sale, draft)) return at;
  }
  return sales.push(draft);
}

function isSameSale(a: ReceiptDraft, b: ReceiptDraft): boolean {
  return (
    a.toolId === b.toolId && a.versionId === b.versionId && a.toolName === b.toolName && a.rail === b.rail
  );
}

function joinHashes(drafts: readonly (ReceiptDraft | null)[]): Buffer {
  const joined = Buffer.alloc(drafts.length * 2 * HASH_BYTES);
  for (const [at, draft] of drafts.entries()) {
    if (draft === null) continue;
    const { requestHash, responseHash } = draft;
    // Of another length they would shift those behind them.
    invariant(requestHash.length === HASH_BYTES && responseHash.length === HASH_BYTES, 'a hash has 32 bytes');
    joined.set(requestHash, at * 2 * HASH_BYTES);
    joined.set(responseHash, at * 2 * HASH_BYTES + HASH_BYTES);
  }
  return joined;
}

const PLAIN = /^[^"\\]*$/;

/** A Postgres array literal; null is NULL. */
export function toArray<Row>(rows: readonly (Row | null)[], spell: (row: Row) => string): string {
  return `{${rows.map((row) => (row === null ? 'NULL' : spell(row))).join(',')}}`;
}

export function quote(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : `"${text.replace(/["\\]/g, '\\$&')}"`;
}

export function quoteBytes(bytes: Buffer): string {
  return `"\\\\x${bytes.toString('hex')}"`;
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
    queued AS (INSERT INTO receipt_unlogged (bucket, receipt_id, tool_id, version_id, lane, seq)
      SELECT bucket, id, tool_id, version_id, lane, seq FROM written)
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

export async function findReceipt(
  sql: Queryable,
  id: Uuid,
): Promise<(Receipt & { bucket: number }) | undefined> {
  const [row] = await sql<(Receipt & { bucket: number })[]>`
    SELECT id, tool_id, version_id, tool_name, lane, seq, payer, price, fee, rail, payment_ref, request_hash,
      response_hash, batch_id, issued_at, bucket
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

/** Batches that wait to be sealed, the oldest first. */
export async function listOpenBatches(sql: Queryable, rowsMax: number): Promise<OpenBatchRow[]> {
  return sql<OpenBatchRow[]>`
    SELECT id, leaf_count, version_ids FROM receipt_batch WHERE signed_at IS NULL ORDER BY opened_at, id LIMIT ${rowsMax}`;
}

export async function findOpenBatch(sql: Queryable, batchId: Uuid): Promise<OpenBatchRow | undefined> {
  const [row] = await sql<OpenBatchRow[]>`
    SELECT id, leaf_count, version_ids FROM receipt_batch
    WHERE id = ${batchId} AND signed_at IS NULL`;
  return row;
}

/** Which versions the receipts of these batches name; asked of batches that do not say. */
export async function listBatchVersions(sql: Queryable, batchIds: readonly Uuid[]): Promise<Uuid[]> {
  const rows = await sql<{ versionId: Uuid }[]>`
    SELECT DISTINCT r.version_id FROM receipt_batch b, unnest(b.receipt_ids, b.receipt_buckets) AS t(id, bucket)
      JOIN receipt r ON r.id = t.id AND r.bucket = t.bucket
    WHERE b.id = ANY(${toArray(batchIds, (id) => id)}::uuid[])`;
  return rows.map((row) => row.versionId);
}

/**
 * What is hashed of the receipts of these batches, each batch's in order: `receiptLeafHash` of `toReceiptPayload` and
 * the commitment of `commitTo`, said in SQL, because fetching and spelling every receipt here would cost more than the
 * call did. Each receipt is looked up by its key: a join would be planned to read the whole table.
 */
export function readBatchLeaves(sql: Queryable, input: BatchLeavesInput): Promise<BatchLeavesRow[]> {
  const { batches, versions, issuer, salts } = input;
  return sql<BatchLeavesRow[]>`
    SELECT b.id, min(r.lane) AS lane, string_agg(sha256('\\x00'::bytea || p.bytes), ''::bytea ORDER BY t.ord) AS leaf_hashes,
      string_agg(sha256(substring(${salts}::bytea FROM (s.before + t.ord::int - 1) * ${SALT_BYTES}::int + 1 FOR ${SALT_BYTES}::int) || p.bytes),
        ''::bytea ORDER BY t.ord) AS commitments,
      array_agg(r.tool_id ORDER BY t.ord)::text AS tool_ids, array_agg(r.version_id ORDER BY t.ord)::text AS version_ids,
      array_agg(r.seq ORDER BY t.ord)::text AS seqs
    FROM unnest(${toArray(batches, ({ id }) => id)}::uuid[], ${toArray(countBefore(batches), String)}::int[]) AS s(id, before)
    JOIN receipt_batch b ON b.id = s.id
    CROSS JOIN unnest(b.receipt_ids, b.receipt_buckets) WITH ORDINALITY AS t(id, bucket, ord)
    CROSS JOIN LATERAL (SELECT * FROM receipt r WHERE r.id = t.id AND r.bucket = t.bucket OFFSET 0) r
    JOIN ${versionRows(sql, versions)} v ON v.id = r.version_id
    CROSS JOIN (SELECT to_json(${issuer.iss}::text) AS iss, to_json(${issuer.log}::text) AS log) i
    CROSS JOIN LATERAL (SELECT convert_to(${payloadText(sql)}, 'UTF8') AS bytes OFFSET 0) p
    GROUP BY b.id`;
}

/** How many receipts the batches before each have together. */
function countBefore(batches: readonly { leafCount: number }[]): number[] {
  let before = 0;
  return batches.map(({ leafCount }) => {
    before += leafCount;
    return before - leafCount;
  });
}

/**
 * The canonical payload of a receipt `r` of a version `v` (`versionRows`) under an issuer `i`, whose texts are JSON
 * already. The members stand in the order of RFC 8785, and `to_json` escapes as JSON.stringify does.
 */
export function payloadText(sql: Queryable): Fragment {
  return sql`concat(
    '{"code":"sha256:', v.code, '","fee_mcents":"', r.fee, '","iat":', floor(extract(epoch FROM r.issued_at))::bigint,
    ',"iss":', i.iss, ',"jti":"', r.id, '","lane":', to_json(r.lane), ',"log":{"index":', v.log_index, ',"origin":', i.log,
    '},"payer":', to_json(r.payer), ',"payment_ref":', to_json(r.payment_ref), ',"price_mcents":"', r.price,
    '","rail":', to_json(r.rail), ',"req":"sha256:', encode(r.request_hash, 'hex'),
    '","res":"sha256:', encode(r.response_hash, 'hex'), '","seq":', r.seq, ',"server":', v.name,
    ',"tool":', to_json(r.tool_name), ',"tool_id":"', r.tool_id, '","v":1,"version":', v.version, '}')`;
}

export function versionRows(
  sql: Queryable,
  versions: readonly (VersionDescription & { id: Uuid })[],
): Fragment {
  return sql`(SELECT id, name AS server, to_json(name) AS name, to_json(version) AS version, code, log_index FROM unnest(
    ${toArray(versions, ({ id }) => id)}::uuid[],
    ${toArray(versions, ({ name }) => quote(name))}::text[],
    ${toArray(versions, ({ version }) => quote(version))}::text[],
    ${toArray(versions, ({ codeSha256 }) => quote(codeSha256))}::text[],
    ${toArray(versions, ({ logIndex }) => logIndex.toString())}::bigint[]
  ) AS t(id, name, version, code, log_index))`;
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
  const join = (part: 'salts' | 'commitments') => Buffer.concat(seals.map((seal) => seal[part]));
  const flatten = (part: 'toolIds' | 'versionIds' | 'seqs') =>
    `{${seals.map((seal) => seal[part].slice(1, -1)).join(',')}}`;
  const before = countBefore(seals.map(({ leafHashes }) => ({ leafCount: leafHashes.length / HASH_BYTES })));
  const [row] = await sql<{ sealed: number }[]>`
    WITH s AS MATERIALIZED (SELECT * FROM unnest(
      ${toArray(seals, (seal) => seal.id)}::uuid[],
      ${toArray(before, String)}::int[],
      ${toArray(seals, (seal) => quote(seal.lane))}::text[],
      ${toArray(seals, (seal) => quoteBytes(seal.leafHashes))}::bytea[],
      ${toArray(seals, (seal) => quoteBytes(seal.root))}::bytea[],
      ${toArray(seals, (seal) => quote(seal.jws))}::text[],
      ${toArray(seals, (seal) => quote(seal.signedAt.toISOString()))}::timestamptz[]
    ) AS s(id, before, lane, leaf_hashes, root, jws, signed_at)),
    sealed AS (UPDATE receipt_batch b
    SET leaf_hashes = s.leaf_hashes, root = s.root, jws = s.jws, signed_at = s.signed_at
    FROM s JOIN (SELECT bucket, id FROM receipt_batch
      WHERE id = ANY(${toArray(seals, (seal) => seal.id)}::uuid[]) AND signed_at IS NULL
      ORDER BY id FOR UPDATE SKIP LOCKED) o ON o.id = s.id
    WHERE b.id = o.id AND b.bucket = o.bucket RETURNING b.receipt_ids, b.receipt_buckets, s.before, s.lane),
    leaf AS MATERIALIZED (SELECT * FROM unnest(
      ${flatten('toolIds')}::uuid[], ${flatten('versionIds')}::uuid[], ${flatten('seqs')}::bigint[]
    ) WITH ORDINALITY AS l(tool_id, version_id, seq, nth)),
    queued AS (INSERT INTO receipt_unlogged (bucket, receipt_id, tool_id, version_id, lane, seq, salt, commitment, iss, log_origin)
      SELECT t.bucket, t.id, l.tool_id, l.version_id, w.lane, l.seq,
        substring(${join('salts')}::bytea FROM (l.nth::int - 1) * ${SALT_BYTES}::int + 1 FOR ${SALT_BYTES}::int),
        substring(${join('commitments')}::bytea FROM (l.nth::int - 1) * ${HASH_BYTES}::int + 1 FOR ${HASH_BYTES}::int),
        ${issuer.iss}::text, ${issuer.log}::text
      FROM sealed w CROSS JOIN unnest(w.receipt_ids, w.receipt_buckets) WITH ORDINALITY AS t(id, bucket, ord)
      JOIN leaf l ON l.nth = w.before + t.ord
      ON CONFLICT (tool_id, lane, seq, bucket) DO NOTHING)
    SELECT count(*)::int AS sealed FROM sealed`;
  return row?.sealed ?? 0;
}
