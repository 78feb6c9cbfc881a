import type { Uuid } from '../../../core/ids.ts';
import type { Fragment, Queryable, Tx } from '../../../db/index.ts';
import type { Receipt, VersionDescription } from '../receipt.ts';
import { payloadText, quote, toArray, versionRows } from '../store.ts';
import { HEADER, SALT_BYTES } from './commitment.ts';

/** One tool on one lane. */
export type LaneKey = { toolId: Uuid; lane: string };
/** With how many of the receipts that were looked at wait on it, and which versions those name. */
export type QueuedLane = LaneKey & { queued: number; versionIds: Uuid[] };
/** A look at the queue: how many were looked at, the last of them, and the lanes they are on. */
export type QueueLook = { seen: number; lastId: Uuid | undefined; lanes: QueuedLane[] };
export type LaneRow = LaneKey & { loggedSeq: bigint };
export type LaneCount = LaneKey & { lastSeq: bigint };
export type Issuer = { iss: string; log: string };
export type SpellInput = {
  lanes: readonly LaneRow[];
  rowsMax: number;
  /** Of the receipts that are spelled; one of another version waits, and what follows it. */
  versions: readonly (VersionDescription & { id: Uuid })[];
  /** Who issues what no sealed batch says the issuer of. */
  issuer: Issuer;
  /** Random, `SALT_BYTES` for each of `rowsMax` receipts. */
  salts: Buffer;
};
/**
 * Receipts in the order they enter the log: how many, and each column in one piece, which goes back into the
 * database as it came.
 */
export type SpelledReceipts = {
  count: number;
  entries: string;
  dedupKeys: string;
  ids: string;
  buckets: string;
  issuers: string;
  logOrigins: string;
  /** The lanes they are on, and the last number of each. */
  laneTools: string;
  laneNames: string;
  laneSeqs: string;
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

/**
 * The lanes of the receipts that wait longest after this id. Each receipt is looked up by its key: a join would be
 * planned to read the whole table. One that is not there is seen and on no lane.
 */
export async function lookAtQueue(
  sql: Queryable,
  input: { afterId: Uuid; rowsMax: number },
): Promise<QueueLook> {
  const rows = await sql<(Omit<QueuedLane, 'toolId'> & { toolId: Uuid | null; lastId: Uuid })[]>`
    WITH waiting AS MATERIALIZED (SELECT receipt_id, bucket, row_number() OVER (ORDER BY receipt_id) AS at
      FROM (SELECT receipt_id, bucket FROM receipt_unlogged WHERE receipt_id > ${input.afterId}
        ORDER BY receipt_id LIMIT ${input.rowsMax}) q),
    sold AS (SELECT r.tool_id, r.lane, r.version_id, count(*) AS queued, min(w.at) AS first_at
      FROM waiting w LEFT JOIN LATERAL (SELECT tool_id, lane, version_id FROM receipt
        WHERE id = w.receipt_id AND bucket = w.bucket OFFSET 0) r ON true
      GROUP BY r.tool_id, r.lane, r.version_id)
    SELECT tool_id, lane, sum(queued)::int AS queued, array_agg(version_id) AS version_ids,
      (SELECT receipt_id FROM waiting ORDER BY at DESC LIMIT 1) AS last_id
    FROM sold GROUP BY tool_id, lane ORDER BY min(first_at)`;
  return {
    seen: rows.reduce((sum, { queued }) => sum + queued, 0),
    lastId: rows[0]?.lastId,
    lanes: rows.flatMap(({ toolId, lane, queued, versionIds }) =>
      toolId === null ? [] : { toolId, lane, queued, versionIds },
    ),
  };
}

/** Gives each lane its row. Committed at once, so that whoever logs a lane can skip it while it is locked. */
export async function openLanes(sql: Queryable, lanes: readonly LaneKey[]): Promise<void> {
  await sql`
    INSERT INTO receipt_lane_logged (tool_id, lane, logged_seq)
    SELECT t.tool_id, t.lane, 0 FROM ${laneRows(sql, lanes)} t
    WHERE NOT EXISTS (SELECT FROM receipt_lane_logged g WHERE g.tool_id = t.tool_id AND g.lane = t.lane)
    ORDER BY t.tool_id, t.lane ON CONFLICT (tool_id, lane) DO NOTHING`;
}

/** Locks those of these lanes that nobody else is logging, and says how far each is. */
export function lockLanes(tx: Tx, lanes: readonly LaneKey[]): Promise<LaneRow[]> {
  return tx<LaneRow[]>`
    SELECT g.tool_id, g.lane, g.logged_seq FROM receipt_lane_logged g
    JOIN ${laneRows(tx, lanes)} t ON t.tool_id = g.tool_id AND t.lane = g.lane
    ORDER BY g.tool_id, g.lane FOR UPDATE OF g SKIP LOCKED`;
}

/**
 * What waits on these lanes and follows without a gap on what is logged of each, with entry and dedup key spelled as
 * `encodeCommitment(commitTo(...))` and `commitmentKeyOf` do: in SQL, because a receipt that is read, hashed and written
 * here costs more than the call did. What was sealed keeps the issuer that the seal of its batch names.
 */
export async function spellWaiting(tx: Tx, input: SpellInput): Promise<SpelledReceipts | undefined> {
  const { lanes, rowsMax, issuer } = input;
  const [row] = await tx<SpelledReceipts[]>`
    WITH waiting AS (SELECT g.logged_seq, r.* FROM unnest(
        ${toArray(lanes, ({ toolId }) => toolId)}::uuid[],
        ${toArray(lanes, ({ lane }) => quote(lane))}::text[],
        ${toArray(lanes, ({ loggedSeq }) => loggedSeq.toString())}::bigint[]) AS g(tool_id, lane, logged_seq)
      CROSS JOIN LATERAL (SELECT r.* FROM receipt r JOIN receipt_unlogged u ON u.receipt_id = r.id AND u.bucket = r.bucket
        WHERE r.tool_id = g.tool_id AND r.lane = g.lane AND r.seq > g.logged_seq AND r.seq <= g.logged_seq + ${rowsMax}
        ORDER BY r.seq LIMIT ${rowsMax}) r LIMIT ${rowsMax}),
    numbered AS (SELECT w.*, row_number() OVER (PARTITION BY w.tool_id, w.lane ORDER BY w.seq) AS nth FROM waiting w
      WHERE w.version_id = ANY(${toArray(input.versions, ({ id }) => id)}::uuid[])),
    ready AS MATERIALIZED (SELECT n.*, row_number() OVER (ORDER BY n.seq, n.tool_id, n.lane) AS at FROM numbered n
      WHERE n.seq = n.logged_seq + n.nth),
    sealed AS MATERIALIZED (SELECT b.id, b.payload->>'iss' AS iss, b.payload->>'log' AS log FROM (
      SELECT b.id, ${jwsPayload(tx)} AS payload FROM (SELECT DISTINCT batch_id FROM ready) d
      JOIN receipt_batch b ON b.id = d.batch_id WHERE b.signed_at IS NOT NULL) b),
    spelled AS MATERIALIZED (SELECT r.at, r.id, r.bucket, o.iss, o.log, concat('receipt ', r.tool_id, ' ', r.lane, ' ', r.seq) AS key,
        encode(convert_to(concat(${HEADER}::text, '\ntool ', v.server, '\nlane ', r.lane, '\nseq ', r.seq, '\ncommit ',
          encode(sha256(substring(${input.salts}::bytea FROM (r.at::int - 1) * ${SALT_BYTES}::int + 1 FOR ${SALT_BYTES}::int)
            || convert_to(${payloadText(tx)}, 'UTF8')), 'hex'), '\n'), 'UTF8'), 'hex') AS entry
      FROM ready r JOIN ${versionRows(tx, input.versions)} v ON v.id = r.version_id LEFT JOIN sealed s ON s.id = r.batch_id
      CROSS JOIN LATERAL (SELECT coalesce(s.iss, ${issuer.iss}::text) AS iss, coalesce(s.log, ${issuer.log}::text) AS log) o
      CROSS JOIN LATERAL (SELECT to_json(o.iss) AS iss, to_json(o.log) AS log) i),
    moved AS (SELECT tool_id, lane, max(seq) AS seq FROM ready GROUP BY tool_id, lane)
    SELECT s.*, m.* FROM (SELECT count(*)::int AS count, '{' || string_agg(entry, ',' ORDER BY at) || '}' AS entries,
        array_agg(key ORDER BY at)::text AS dedup_keys, array_agg(id ORDER BY at)::text AS ids,
        array_agg(bucket ORDER BY at)::text AS buckets, array_agg(iss ORDER BY at)::text AS issuers,
        array_agg(log ORDER BY at)::text AS log_origins FROM spelled) s,
      (SELECT array_agg(tool_id)::text AS lane_tools, array_agg(lane)::text AS lane_names,
        array_agg(seq)::text AS lane_seqs FROM moved) m`;
  return row && row.count > 0 ? row : undefined;
}

/** The payload of the JWS of a batch `b`: base64url without its padding. */
function jwsPayload(sql: Queryable): Fragment {
  return sql`convert_from(decode(translate(split_part(b.jws, '.', 2), '-_', '+/')
    || repeat('=', (4 - length(split_part(b.jws, '.', 2)) % 4) % 4), 'base64'), 'UTF8')::json`;
}

/**
 * Keeps what opens the commitments, moves the lanes on, and takes the receipts out of the queue, which are in the log
 * from this index on.
 */
export async function insertCommitments(
  tx: Tx,
  input: { spelled: SpelledReceipts; salts: Buffer; firstIndex: number },
): Promise<void> {
  const { spelled, salts, firstIndex } = input;
  await tx`
    WITH logged AS MATERIALIZED (SELECT t.*, substring(${salts}::bytea
        FROM (at::int - 1) * ${SALT_BYTES}::int + 1 FOR ${SALT_BYTES}::int) AS salt FROM unnest(
      ${spelled.buckets}::smallint[], ${spelled.ids}::uuid[], ${spelled.issuers}::text[], ${spelled.logOrigins}::text[]
    ) WITH ORDINALITY AS t(bucket, id, iss, log_origin, at)),
    opened AS (INSERT INTO receipt_commitment (bucket, receipt_id, leaf_index, salt, iss, log_origin)
      SELECT bucket, id, ${BigInt(firstIndex)}::bigint + at - 1, salt, iss, log_origin FROM logged),
    moved AS (UPDATE receipt_lane_logged g SET logged_seq = m.seq
      FROM unnest(${spelled.laneTools}::uuid[], ${spelled.laneNames}::text[], ${spelled.laneSeqs}::bigint[]) AS m(tool_id, lane, seq)
      WHERE g.tool_id = m.tool_id AND g.lane = m.lane)
    DELETE FROM receipt_unlogged WHERE receipt_id = ANY (${spelled.ids}::uuid[])`;
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
