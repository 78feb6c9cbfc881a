import type { Uuid } from '../../../core/ids.ts';
import type { Fragment, Queryable, Tx } from '../../../db/index.ts';
import { entriesInsert } from '../../log/store.ts';
import type { Receipt, VersionDescription } from '../receipt.ts';
import { type Issuer, payloadText, quote, toArray, versionRows } from '../store.ts';
import { HEADER, SALT_BYTES } from './commitment.ts';

/** One tool on one lane. */
export type LaneKey = { toolId: Uuid; lane: string };
/** With how many of the receipts that were looked at wait on it, and which versions those name. */
export type QueuedLane = LaneKey & { queued: number; versionIds: Uuid[] };
export type LaneRow = LaneKey & { loggedSeq: bigint };
export type LaneCount = LaneKey & { lastSeq: bigint };
export type LogInput = {
  log: number;
  fromIndex: number;
  lanes: readonly LaneRow[];
  rowsMax: number;
  /** Of the receipts that are logged; one of another version waits, and what follows it. */
  versions: readonly (VersionDescription & { id: Uuid })[];
  /** Who issues what no seal says the issuer of. */
  issuer: Issuer;
  /** Random, `SALT_BYTES` for each of `rowsMax` receipts. */
  salts: Buffer;
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

/** The lanes behind this one, in their order, for as many waiting receipts as `rowsMax`. */
export function lookAtQueue(
  sql: Queryable,
  input: { after: LaneKey; rowsMax: number },
): Promise<QueuedLane[]> {
  return sql<QueuedLane[]>`
    SELECT tool_id, lane, count(*)::int AS queued, array_agg(DISTINCT version_id) AS version_ids
    FROM (SELECT tool_id, lane, version_id FROM receipt_unlogged
      WHERE (tool_id, lane) > (${input.after.toolId}, ${input.after.lane})
      ORDER BY tool_id, lane, seq LIMIT ${input.rowsMax}) q
    GROUP BY tool_id, lane ORDER BY tool_id, lane`;
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
 * Puts what waits on these lanes, and follows without a gap on what is logged of each, into the log from this index
 * on; keeps what opens the commitments, moves the lanes on, and takes it out of the queue. All in one statement, with
 * entry and dedup key spelled as `encodeCommitment` and `commitmentKeyOf` do: a receipt that comes here and goes back
 * costs more than the call did. Answers the leaf hashes one after another.
 */
export async function logWaiting(tx: Tx, input: LogInput): Promise<Buffer> {
  const { log, fromIndex, lanes, rowsMax, versions } = input;
  const [row] = await tx<{ leafHashes: Buffer | null }[]>`
    WITH waiting AS (SELECT g.logged_seq, u.* FROM unnest(
        ${toArray(lanes, ({ toolId }) => toolId)}::uuid[],
        ${toArray(lanes, ({ lane }) => quote(lane))}::text[],
        ${toArray(lanes, ({ loggedSeq }) => loggedSeq.toString())}::bigint[]) AS g(tool_id, lane, logged_seq)
      CROSS JOIN LATERAL (SELECT * FROM receipt_unlogged u
        WHERE u.tool_id = g.tool_id AND u.lane = g.lane AND u.seq > g.logged_seq AND u.seq <= g.logged_seq + ${rowsMax}
        ORDER BY u.seq LIMIT ${rowsMax}) u LIMIT ${rowsMax}),
    fixed AS (SELECT w.logged_seq, w.bucket, w.receipt_id, w.tool_id, w.version_id, w.lane, w.seq,
        coalesce(w.salt, f.salt) AS salt, coalesce(w.commitment, f.commitment) AS commitment,
        coalesce(w.iss, f.iss) AS iss, coalesce(w.log_origin, f.log_origin) AS log_origin
      FROM (SELECT w.*, row_number() OVER () AS place FROM waiting w) w LEFT JOIN LATERAL (${fixNow(tx, input)}) f ON true
      WHERE w.version_id = ANY(${toArray(versions, ({ id }) => id)}::uuid[])),
    numbered AS (SELECT f.*, row_number() OVER (PARTITION BY f.tool_id, f.lane ORDER BY f.seq) AS nth FROM fixed f
      WHERE f.commitment IS NOT NULL),
    ready AS MATERIALIZED (SELECT n.*, row_number() OVER (ORDER BY n.seq, n.tool_id, n.lane) AS at FROM numbered n
      WHERE n.seq = n.logged_seq + n.nth),
    spelled AS (SELECT r.at, concat('receipt ', r.tool_id, ' ', r.lane, ' ', r.seq) AS dedup_key,
        convert_to(concat(${HEADER}::text, '\ntool ', v.server, '\nlane ', r.lane, '\nseq ', r.seq,
          '\ncommit ', encode(r.commitment, 'hex'), '\n'), 'UTF8') AS entry
      FROM ready r JOIN ${versionRows(tx, versions)} v ON v.id = r.version_id OFFSET 0),
    written AS (${entriesInsert(tx, log, { fromIndex, source: tx`spelled` })}),
    opened AS (INSERT INTO receipt_commitment (bucket, receipt_id, leaf_index, salt, iss, log_origin)
      SELECT bucket, receipt_id, ${BigInt(fromIndex)}::bigint + at - 1, salt, iss, log_origin FROM ready),
    moved AS MATERIALIZED (SELECT tool_id, lane, max(seq) AS seq FROM ready GROUP BY tool_id, lane),
    lanes AS (UPDATE receipt_lane_logged g SET logged_seq = m.seq FROM moved m WHERE g.tool_id = m.tool_id AND g.lane = m.lane),
    taken AS (DELETE FROM receipt_unlogged u USING moved m WHERE u.tool_id = m.tool_id AND u.lane = m.lane AND u.seq <= m.seq)
    SELECT string_agg(leaf_hash, ''::bytea ORDER BY leaf_index) AS leaf_hashes FROM written`;
  return row?.leafHashes ?? Buffer.alloc(0);
}

/**
 * The commitment of a waiting receipt `w` that has none yet: a credential paid it, or it waits from before seals fixed
 * them. What was sealed keeps the issuer that the seal of its batch names.
 */
function fixNow(tx: Tx, { versions, issuer, salts }: LogInput): Fragment {
  return tx`SELECT z.salt, sha256(z.salt || convert_to(${payloadText(tx)}, 'UTF8')) AS commitment, o.iss, o.log AS log_origin
    FROM receipt r JOIN ${versionRows(tx, versions)} v ON v.id = r.version_id
    LEFT JOIN LATERAL (SELECT ${jwsPayload(tx)} AS payload FROM receipt_batch b
      WHERE b.id = r.batch_id AND b.signed_at IS NOT NULL) s ON true
    CROSS JOIN LATERAL (SELECT coalesce(s.payload->>'iss', ${issuer.iss}::text) AS iss, coalesce(s.payload->>'log', ${issuer.log}::text) AS log) o
    CROSS JOIN LATERAL (SELECT to_json(o.iss) AS iss, to_json(o.log) AS log) i
    CROSS JOIN (SELECT substring(${salts}::bytea FROM (w.place::int - 1) * ${SALT_BYTES}::int + 1 FOR ${SALT_BYTES}::int) AS salt) z
    WHERE w.commitment IS NULL AND r.id = w.receipt_id AND r.bucket = w.bucket OFFSET 0`;
}

/** The payload of the JWS of a batch `b`: base64url without its padding. */
function jwsPayload(sql: Queryable): Fragment {
  return sql`convert_from(decode(translate(split_part(b.jws, '.', 2), '-_', '+/')
    || repeat('=', (4 - length(split_part(b.jws, '.', 2)) % 4) % 4), 'base64'), 'UTF8')::json`;
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
