import type { Uuid } from '../../../core/ids.ts';
import { type Fragment, type Queryable, quote, quoteBytes, type Tx, toArray } from '../../../db/index.ts';
import { entriesInsert } from '../../log/store.ts';
import { HASH_BYTES } from '../../merkle/merkle.ts';
import type { Issuer } from '../leaves.ts';
import type { Receipt } from '../receipt.ts';
import { HEADER, SALT_BYTES } from './commitment.ts';

/** One tool on one lane. */
export type LaneKey = { toolId: Uuid; lane: string };
/** With how many of the receipts that were looked at wait on it, and which versions those name. */
export type QueuedLane = LaneKey & {
  queued: number;
  /** Of how many of them nothing says yet what the log will say. */
  unfixed: number;
  versionIds: Uuid[];
};
export type LaneRow = LaneKey & { loggedSeq: bigint };
export type LaneCount = LaneKey & { lastSeq: bigint };
export type LogInput = {
  log: number;
  fromIndex: number;
  lanes: readonly LaneRow[];
  rowsMax: number;
  /** The servers' names of the receipts that are logged; one of another version waits, and what follows it. */
  servers: readonly { versionId: Uuid; name: string }[];
};
/** A waiting receipt of which nothing says yet what the log will say, and the seal of its batch where it has one. */
export type UnfixedRow = Receipt & { jws: string | null };
export type FixedReceipt = LaneKey & Issuer & { seq: bigint; salt: Buffer; commitment: Buffer };
export type OpeningRow = { leafIndex: bigint; salt: Buffer; iss: string; logOrigin: string };
export type SaleRow = Receipt & {
  leafIndex: bigint | null;
  salt: Buffer | null;
  iss: string | null;
  logOrigin: string | null;
  /** The seal of its batch, where no commitment says the issuer. */
  jws: string | null;
};

/** The lanes behind this one, in their order, for as many waiting receipts as `rowsMax` or a run more. */
export function lookAtQueue(
  sql: Queryable,
  input: { after: LaneKey; rowsMax: number },
): Promise<QueuedLane[]> {
  return sql<QueuedLane[]>`
    SELECT tool_id, lane, sum(receipt_count)::int AS queued, (count(*) FILTER (WHERE is_unfixed))::int AS unfixed,
      array_agg(DISTINCT version_id) AS version_ids
    FROM (SELECT tool_id, lane, version_id, receipt_count, is_unfixed,
        sum(receipt_count) OVER (ORDER BY tool_id, lane, seq ROWS UNBOUNDED PRECEDING) - receipt_count AS before
      FROM (SELECT tool_id, lane, seq, version_id, receipt_count, commitments IS NULL AS is_unfixed FROM receipt_unlogged
        WHERE (tool_id, lane) > (${input.after.toolId}, ${input.after.lane})
        ORDER BY tool_id, lane, seq LIMIT ${input.rowsMax}) u) q
    WHERE before < ${input.rowsMax}
    GROUP BY tool_id, lane ORDER BY tool_id, lane`;
}

/** Of what waits first on these lanes: the receipts with nothing that says what the log will say of them. */
export function listUnfixed(
  sql: Queryable,
  { lanes, rowsMax }: { lanes: readonly LaneKey[]; rowsMax: number },
): Promise<UnfixedRow[]> {
  return sql<UnfixedRow[]>`
    SELECT r.id, r.tool_id, r.version_id, r.tool_name, r.lane, r.seq, r.payer, r.price, r.fee, r.rail, r.payment_ref,
      r.request_hash, r.response_hash, r.batch_id, r.issued_at, b.jws
    FROM ${laneRows(sql, lanes)} l
    CROSS JOIN LATERAL (SELECT tool_id, lane, seq, commitments FROM receipt_unlogged u
      WHERE u.tool_id = l.tool_id AND u.lane = l.lane ORDER BY u.seq LIMIT ${rowsMax}) u
    CROSS JOIN LATERAL (SELECT * FROM receipt r WHERE r.tool_id = u.tool_id AND r.lane = u.lane AND r.seq = u.seq OFFSET 0) r
    LEFT JOIN LATERAL (SELECT jws FROM receipt_batch b WHERE b.id = r.batch_id AND b.signed_at IS NOT NULL) b ON true
    WHERE u.commitments IS NULL`;
}

/**
 * Fixes what the log will say of receipts; what is fixed already stays, and what somebody else is fixing is left to him:
 * two who waited for each other's rows would both be stopped.
 */
export async function fixWaiting(sql: Queryable, fixed: readonly FixedReceipt[]): Promise<void> {
  await sql`
    WITH f AS (SELECT * FROM unnest(
      ${toArray(fixed, ({ toolId }) => toolId)}::uuid[],
      ${toArray(fixed, ({ lane }) => quote(lane))}::text[],
      ${toArray(fixed, ({ seq }) => seq.toString())}::bigint[],
      ${toArray(fixed, ({ salt }) => quoteBytes(salt))}::bytea[],
      ${toArray(fixed, ({ commitment }) => quoteBytes(commitment))}::bytea[],
      ${toArray(fixed, ({ iss }) => quote(iss))}::text[],
      ${toArray(fixed, ({ log }) => quote(log))}::text[]) AS f(tool_id, lane, seq, salt, commitment, iss, log)),
    free AS MATERIALIZED (SELECT u.bucket, f.* FROM f JOIN receipt_unlogged u USING (tool_id, lane, seq)
      WHERE u.commitments IS NULL FOR UPDATE OF u SKIP LOCKED)
    UPDATE receipt_unlogged u SET salts = o.salt, commitments = o.commitment, iss = o.iss, log_origin = o.log
    FROM free o WHERE u.tool_id = o.tool_id AND u.lane = o.lane AND u.seq = o.seq AND u.bucket = o.bucket`;
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
 * Puts the runs that wait on these lanes, and follow without a gap on what is logged of each, into the log from this
 * index on; keeps what opens the commitments, moves the lanes on, and takes the runs out of the queue. All in one
 * statement, with entry and dedup key spelled as `encodeCommitment` and `commitmentKeyOf` do: a receipt that comes here
 * and goes back costs more than the call did. Answers the leaf hashes one after another.
 */
export async function logWaiting(tx: Tx, input: LogInput): Promise<Buffer> {
  const { log, fromIndex, lanes, rowsMax, servers } = input;
  const [row] = await tx<{ leafHashes: Buffer | null }[]>`
    WITH known AS MATERIALIZED (SELECT u.*, v.server, g.logged_seq + sum(u.receipt_count) OVER (PARTITION BY u.tool_id, u.lane ORDER BY u.seq) AS last_seq
      FROM unnest(
        ${toArray(lanes, ({ toolId }) => toolId)}::uuid[],
        ${toArray(lanes, ({ lane }) => quote(lane))}::text[],
        ${toArray(lanes, ({ loggedSeq }) => loggedSeq.toString())}::bigint[]) AS g(tool_id, lane, logged_seq)
      CROSS JOIN LATERAL (SELECT bucket, tool_id, version_id, lane, seq, receipt_count, commitments || ''::bytea AS commitments, salts, iss, log_origin
        FROM receipt_unlogged u WHERE u.tool_id = g.tool_id AND u.lane = g.lane AND u.seq > g.logged_seq AND u.seq <= g.logged_seq + ${rowsMax}
        ORDER BY u.seq LIMIT ${rowsMax}) u
      JOIN unnest(
        ${toArray(servers, ({ versionId }) => versionId)}::uuid[],
        ${toArray(servers, ({ name }) => quote(name))}::text[]) AS v(version_id, server) ON v.version_id = u.version_id
      WHERE u.commitments IS NOT NULL),
    ready AS MATERIALIZED (SELECT k.*, sum(receipt_count) OVER (ORDER BY tool_id, lane, seq ROWS UNBOUNDED PRECEDING) - receipt_count AS before
      FROM known k WHERE seq + receipt_count - 1 = last_seq),
    spelled AS (SELECT r.before + n + 1 AS at, concat('receipt ', r.tool_id, ' ', r.lane, ' ', r.seq + n) AS dedup_key,
        convert_to(concat(${HEADER}::text, '\ntool ', r.server, '\nlane ', r.lane, '\nseq ', r.seq + n, '\ncommit ',
          encode(substring(r.commitments FROM n * ${HASH_BYTES}::int + 1 FOR ${HASH_BYTES}::int), 'hex'), '\n'), 'UTF8') AS entry
      FROM ready r CROSS JOIN generate_series(0, r.receipt_count - 1) n OFFSET 0),
    written AS (${entriesInsert(tx, log, { fromIndex, source: tx`spelled` })}),
    opened AS (INSERT INTO receipt_commitment (bucket, tool_id, lane, seq, leaf_index, receipt_count, salts, iss, log_origin)
      SELECT bucket, tool_id, lane, seq, ${BigInt(fromIndex)}::bigint + before, receipt_count, salts, iss, log_origin FROM ready),
    moved AS MATERIALIZED (SELECT tool_id, lane, max(last_seq) AS seq FROM ready GROUP BY tool_id, lane),
    lanes AS (UPDATE receipt_lane_logged g SET logged_seq = m.seq FROM moved m WHERE g.tool_id = m.tool_id AND g.lane = m.lane),
    taken AS (DELETE FROM receipt_unlogged u USING moved m WHERE u.tool_id = m.tool_id AND u.lane = m.lane AND u.seq <= m.seq)
    SELECT string_agg(leaf_hash, ''::bytea ORDER BY leaf_index) AS leaf_hashes FROM written`;
  return row?.leafHashes ?? Buffer.alloc(0);
}

/** What opens the receipt of this number. */
export async function findOpening(
  sql: Queryable,
  receipt: { toolId: Uuid; lane: string; seq: bigint },
): Promise<OpeningRow | undefined> {
  const { toolId, lane, seq } = receipt;
  const [row] = await sql<OpeningRow[]>`
    SELECT c.* FROM (SELECT ${toolId}::uuid AS tool_id, ${lane}::text AS lane, ${seq}::bigint AS seq) r, ${openingOf(sql)} c`;
  return row;
}

/** The opening of a receipt `r`: the run it is in, if that is logged. */
function openingOf(sql: Queryable): Fragment {
  return sql`LATERAL (SELECT c.leaf_index + r.seq - c.seq AS leaf_index, c.iss, c.log_origin,
      substring(c.salts FROM (r.seq - c.seq)::int * ${SALT_BYTES}::int + 1 FOR ${SALT_BYTES}::int) AS salt
    FROM (SELECT * FROM receipt_commitment c WHERE c.tool_id = r.tool_id AND c.lane = r.lane AND c.seq <= r.seq
      ORDER BY c.seq DESC LIMIT 1) c WHERE r.seq < c.seq + c.receipt_count)`;
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
    FROM (SELECT * FROM receipt WHERE tool_id = ${toolId} AND (lane, seq) > (${after.lane}, ${after.seq})
      ORDER BY lane, seq LIMIT ${rowsMax}) r
    LEFT JOIN ${openingOf(sql)} c ON true
    LEFT JOIN receipt_batch b ON b.id = r.batch_id AND c.leaf_index IS NULL AND b.signed_at IS NOT NULL
    ORDER BY r.lane, r.seq`;
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
