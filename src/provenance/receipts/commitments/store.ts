import type { Uuid } from '../../../core/ids.ts';
import type { Queryable, Tx } from '../../../db/index.ts';
import type { Receipt, VersionDescription } from '../receipt.ts';
import { payloadText, quote, toArray, versionRows } from '../store.ts';
import { SALT_BYTES } from './commitment.ts';

/** One tool on one lane. */
export type LaneKey = { toolId: Uuid; lane: string };
export type QueuedLane = LaneKey & { queued: number; lastId: Uuid };
export type LaneRow = LaneKey & { loggedSeq: bigint };
/** A receipt that waits, with how far its lane was logged when it was read. */
export type WaitingRow = LaneRow & {
  id: Uuid;
  bucket: number;
  seq: bigint;
  versionId: Uuid;
  batchId: Uuid | null;
};
export type LaneCount = LaneKey & { lastSeq: bigint };
export type Issuer = { iss: string; log: string };
export type CommitmentRow = LaneKey & {
  id: Uuid;
  bucket: number;
  seq: bigint;
  leafIndex: bigint;
  salt: Buffer;
  issuer: Issuer;
};
export type OpeningRow = { leafIndex: bigint; salt: Buffer; iss: string; logOrigin: string };
export type SaleRow = Receipt & {
  leafIndex: bigint | null;
  salt: Buffer | null;
  iss: string | null;
  logOrigin: string | null;
  /** The seal of its batch, where no commitment says the issuer. */
  jws: string | null;
};

/** The lanes of the receipts that wait longest after this id, and how many of those each has. */
export function listQueuedLanes(
  sql: Queryable,
  input: { afterId: Uuid; rowsMax: number },
): Promise<QueuedLane[]> {
  return sql<QueuedLane[]>`
    WITH waiting AS (SELECT receipt_id, bucket FROM receipt_unlogged
      WHERE receipt_id > ${input.afterId} ORDER BY receipt_id LIMIT ${input.rowsMax})
    SELECT r.tool_id, r.lane, count(*)::int AS queued, max(w.receipt_id::text) AS last_id
    FROM waiting w JOIN receipt r ON r.id = w.receipt_id AND r.bucket = w.bucket
    GROUP BY r.tool_id, r.lane ORDER BY min(w.receipt_id::text)`;
}

/** Gives each lane its row. Committed at once, so that whoever logs a lane can skip it while it is locked. */
export async function openLanes(sql: Queryable, lanes: readonly LaneKey[]): Promise<void> {
  await sql`
    INSERT INTO receipt_lane_logged (tool_id, lane, logged_seq)
    SELECT t.tool_id, t.lane, 0 FROM ${laneRows(sql, lanes)} t
    WHERE NOT EXISTS (SELECT FROM receipt_lane_logged g WHERE g.tool_id = t.tool_id AND g.lane = t.lane)
    ORDER BY t.tool_id, t.lane ON CONFLICT (tool_id, lane) DO NOTHING`;
}

/** What waits on these lanes after what is logged of each, at most `rowsMax`, in no order. */
export function listWaiting(
  sql: Queryable,
  input: { lanes: readonly LaneKey[]; rowsMax: number },
): Promise<WaitingRow[]> {
  const { lanes, rowsMax } = input;
  return sql<WaitingRow[]>`
    SELECT g.tool_id, g.lane, g.logged_seq, w.*
    FROM ${laneRows(sql, lanes)} t JOIN receipt_lane_logged g ON g.tool_id = t.tool_id AND g.lane = t.lane
    CROSS JOIN LATERAL (SELECT r.id, r.bucket, r.seq, r.version_id, r.batch_id
      FROM receipt r JOIN receipt_unlogged u ON u.receipt_id = r.id AND u.bucket = r.bucket
      WHERE r.tool_id = g.tool_id AND r.lane = g.lane AND r.seq > g.logged_seq AND r.seq <= g.logged_seq + ${rowsMax}
      ORDER BY r.seq LIMIT ${rowsMax}) w LIMIT ${rowsMax}`;
}

export async function listSeals(
  sql: Queryable,
  batchIds: readonly Uuid[],
): Promise<{ id: Uuid; jws: string }[]> {
  if (batchIds.length === 0) return [];
  return sql<{ id: Uuid; jws: string }[]>`
    SELECT id, jws FROM receipt_batch
    WHERE id = ANY(${toArray(batchIds, (id) => id)}::uuid[]) AND signed_at IS NOT NULL`;
}

/** The salts of these, one after another: one parameter instead of one for each. */
function joinSalts(rows: readonly { salt: Buffer }[]): Buffer {
  return Buffer.concat(rows.map(({ salt }) => salt));
}

export type CommitInput = {
  receipts: readonly { id: Uuid; bucket: number; salt: Buffer; issuer: Issuer }[];
  versions: readonly (VersionDescription & { id: Uuid })[];
};

/**
 * SHA-256 of salt and canonical payload of each receipt, in their order and one after another: `commitTo`, said in
 * SQL as the leaves of batches are.
 */
export async function readCommits(sql: Queryable, input: CommitInput): Promise<Buffer> {
  const { receipts, versions } = input;
  const [row] = await sql<{ commits: Buffer | null }[]>`
    SELECT string_agg(sha256(i.salt || convert_to(${payloadText(sql)}, 'UTF8')), ''::bytea ORDER BY i.at) AS commits
    FROM (SELECT id, bucket, at, substring(${joinSalts(receipts)}::bytea
        FROM (at::int - 1) * ${SALT_BYTES}::int + 1 FOR ${SALT_BYTES}::int) AS salt, to_json(iss) AS iss, to_json(log) AS log FROM unnest(
      ${toArray(receipts, ({ id }) => id)}::uuid[],
      ${toArray(receipts, ({ bucket }) => String(bucket))}::smallint[],
      ${toArray(receipts, ({ issuer }) => quote(issuer.iss))}::text[],
      ${toArray(receipts, ({ issuer }) => quote(issuer.log))}::text[]) WITH ORDINALITY AS t(id, bucket, iss, log, at)) i
    JOIN receipt r ON r.id = i.id AND r.bucket = i.bucket JOIN ${versionRows(sql, versions)} v ON v.id = r.version_id`;
  return row?.commits ?? Buffer.alloc(0);
}

/** Locks those of these lanes that nobody else is logging, and says how far each is. */
export function lockLanes(tx: Tx, lanes: readonly LaneKey[]): Promise<LaneRow[]> {
  return tx<LaneRow[]>`
    SELECT g.tool_id, g.lane, g.logged_seq FROM receipt_lane_logged g
    JOIN ${laneRows(tx, lanes)} t ON t.tool_id = g.tool_id AND t.lane = g.lane
    ORDER BY g.tool_id, g.lane FOR UPDATE OF g SKIP LOCKED`;
}

/** Keeps what opens the commitments, moves the lanes on, and takes the receipts out of the queue. */
export async function insertCommitments(tx: Tx, rows: readonly CommitmentRow[]): Promise<void> {
  await tx`
    WITH logged AS MATERIALIZED (SELECT t.*, substring(${joinSalts(rows)}::bytea
        FROM (at::int - 1) * ${SALT_BYTES}::int + 1 FOR ${SALT_BYTES}::int) AS salt FROM unnest(
      ${toArray(rows, ({ bucket }) => String(bucket))}::smallint[],
      ${toArray(rows, ({ id }) => id)}::uuid[],
      ${toArray(rows, ({ toolId }) => toolId)}::uuid[],
      ${toArray(rows, ({ lane }) => quote(lane))}::text[],
      ${toArray(rows, ({ seq }) => seq.toString())}::bigint[],
      ${toArray(rows, ({ leafIndex }) => leafIndex.toString())}::bigint[],
      ${toArray(rows, ({ issuer }) => quote(issuer.iss))}::text[],
      ${toArray(rows, ({ issuer }) => quote(issuer.log))}::text[]
    ) WITH ORDINALITY AS t(bucket, id, tool_id, lane, seq, leaf_index, iss, log_origin, at)),
    opened AS (INSERT INTO receipt_commitment (bucket, receipt_id, leaf_index, salt, iss, log_origin)
      SELECT bucket, id, leaf_index, salt, iss, log_origin FROM logged),
    moved AS (UPDATE receipt_lane_logged g SET logged_seq = m.seq
      FROM (SELECT tool_id, lane, max(seq) AS seq FROM logged GROUP BY tool_id, lane) m
      WHERE g.tool_id = m.tool_id AND g.lane = m.lane)
    DELETE FROM receipt_unlogged u USING logged l WHERE u.receipt_id = l.id AND u.bucket = l.bucket`;
}

export async function findOpening(
  sql: Queryable,
  input: { id: Uuid; bucket: number },
): Promise<OpeningRow | undefined> {
  const [row] = await sql<OpeningRow[]>`
    SELECT leaf_index, salt, iss, log_origin FROM receipt_commitment
    WHERE receipt_id = ${input.id} AND bucket = ${input.bucket}`;
  return row;
}

/** The receipts of a tool by lane and number, with what opens their commitments where they are logged. */
export function listSales(
  sql: Queryable,
  input: { toolId: Uuid; after: { lane: string; seq: bigint }; rowsMax: number },
): Promise<SaleRow[]> {
  const { toolId, after, rowsMax } = input;
  return sql<SaleRow[]>`
    SELECT r.id, r.tool_id, r.version_id, r.tool_name, r.lane, r.seq, r.payer, r.price, r.fee, r.rail, r.payment_ref,
      r.request_hash, r.response_hash, r.batch_id, r.issued_at, c.leaf_index, c.salt, c.iss, c.log_origin, b.jws
    FROM receipt r LEFT JOIN receipt_commitment c ON c.receipt_id = r.id AND c.bucket = r.bucket
    LEFT JOIN receipt_batch b ON b.id = r.batch_id AND c.receipt_id IS NULL AND b.signed_at IS NOT NULL
    WHERE r.tool_id = ${toolId} AND (r.lane, r.seq) > (${after.lane}, ${after.seq})
    ORDER BY r.lane, r.seq LIMIT ${rowsMax}`;
}

/** How many receipts each lane of each of these tools has. */
export function listLanes(sql: Queryable, toolIds: readonly Uuid[]): Promise<LaneCount[]> {
  return sql<LaneCount[]>`
    SELECT tool_id, lane, last_seq FROM receipt_lane
    WHERE tool_id = ANY(${toArray(toolIds, (id) => id)}::uuid[]) ORDER BY tool_id, lane`;
}

function laneRows(sql: Queryable, lanes: readonly LaneKey[]) {
  return sql`(SELECT * FROM unnest(
    ${toArray(lanes, ({ toolId }) => toolId)}::uuid[],
    ${toArray(lanes, ({ lane }) => quote(lane))}::text[]) AS u(tool_id, lane))`;
}
