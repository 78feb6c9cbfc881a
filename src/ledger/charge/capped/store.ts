import { type Sql, type Tx, toArray } from '../../../db/index.ts';
import { THIS_HOUR } from '../../cap/store.ts';
import {
  ACCOUNT,
  ARRAYS,
  answerRider,
  BUCKET,
  CHARGE_COLUMNS,
  type ChargeAnswer,
  type ChargeMode,
  type ChargeRow,
  CLOSE_COLUMNS,
  type CloseAnswer,
  chargeParameters,
  closeEntries,
  closeParameters,
  HOLD,
  KEY,
  ofShard,
  type RiderAnswer,
  type StatementParts,
  writeHolds,
} from '../store.ts';

/** A row whose key, or one above it, has caps. */
export type CappedRow = ChargeRow & { capIds: readonly string[] };

/** What the statement says of each request, besides what every charge is told. */
export type CappedAnswer = ChargeAnswer &
  RiderAnswer & {
    /** What the account has for it; null when there is no such account. */
    available: bigint | null;
    refusedBy: string | null;
    refusedCap: 'per_call' | 'per_hour' | 'total' | 'missing' | null;
    capLimit: bigint | null;
    capLeft: bigint | null;
    hourEndsAt: Date | null;
  };

const PAIR_ORD = CHARGE_COLUMNS + 1;
const PAIR_CAP = CHARGE_COLUMNS + 2;
const CAPPED_RIDER_FIRST = CHARGE_COLUMNS + 3;
const CLOSE_CAPS = CLOSE_COLUMNS + 1;
const CLOSE_BUCKET = 3;
const CLOSE_RIDER_FIRST = CLOSE_COLUMNS + 2;

/** The caps of a batch, locked after its accounts: the count over `a` is what waits for them. */
const lockCaps = (parameter: number, shard: string) =>
  `c AS MATERIALIZED (SELECT id, per_call, per_hour, total, hour_start, hour_spent, spent, held FROM ledger_cap
  WHERE id = ANY($${parameter}::uuid[])${shard} AND (SELECT count(*) FROM a) >= 0 ORDER BY id FOR UPDATE)`;

/**
 * The exactly-once batch under caps (MONEY.md, rule 10). What a locked cap or account could not cover even alone
 * is refused for good and counts no further; among the rest every prefix sum, over the account and over each
 * cap, has to pass. All that is taken counts in one hour: the present one, or a later one already begun.
 */
export function cappedStatement<Item>(mode: ChargeMode, parts: StatementParts<Item>): string {
  const shard = ofShard(parts, BUCKET);
  return `WITH r AS (${ARRAYS}),
q AS (SELECT * FROM unnest($${PAIR_ORD}::bigint[], $${PAIR_CAP}::uuid[]) AS t(ord, cap_id)),
k AS (${parts.guard(KEY)}),
a AS MATERIALIZED (SELECT id, balance, held, promo FROM ledger_payer WHERE id = ANY($${ACCOUNT}::uuid[])${shard} ORDER BY id FOR UPDATE),
${lockCaps(PAIR_CAP, shard)},
h AS (SELECT greatest(${THIS_HOUR}, max(hour_start)) AS hour FROM c),
e AS (SELECT id, state FROM ledger_hold WHERE id = ANY($${HOLD}::uuid[])${shard}),
d AS (SELECT r.*, row_number() OVER (PARTITION BY r.id ORDER BY r.ord) AS copy FROM r),
s AS (SELECT id, per_call, per_hour, total, total - spent - held AS total_left,
  per_hour - CASE WHEN hour_start = (SELECT hour FROM h) THEN hour_spent ELSE 0 END AS hour_left FROM c),
m AS (SELECT q.ord, q.cap_id, d.amount, s.*, CASE WHEN s.id IS NULL THEN 'missing' WHEN d.amount > s.per_call THEN 'per_call'
    WHEN d.amount > s.total_left THEN 'total' WHEN d.amount > s.hour_left THEN 'per_hour' END AS refused_cap
  FROM q JOIN d ON d.ord = q.ord LEFT JOIN s ON s.id = q.cap_id),
y AS (SELECT DISTINCT ON (ord) ord, cap_id, refused_cap,
    CASE refused_cap WHEN 'per_call' THEN per_call WHEN 'total' THEN total ELSE per_hour END AS cap_limit,
    CASE refused_cap WHEN 'per_call' THEN per_call WHEN 'total' THEN total_left ELSE hour_left END AS cap_left
  FROM m WHERE refused_cap IS NOT NULL
  ORDER BY ord, array_position(ARRAY['missing', 'per_call', 'total', 'per_hour'], refused_cap), cap_id),
g AS (SELECT d.* FROM d JOIN a ON a.id = d.account_id WHERE d.copy = 1 AND d.amount <= a.balance - a.held
  AND NOT EXISTS (SELECT FROM e WHERE e.id = d.id) AND NOT EXISTS (SELECT FROM y WHERE y.ord = d.ord)
  AND (d.key_id IS NULL OR d.key_id IN (SELECT id FROM k))),
t AS (SELECT ord, array_agg(cap_id ORDER BY cap_id) AS cap_ids, min(cap_rest) AS cap_rest FROM (
    SELECT m.ord, m.cap_id, least(m.total_left, m.hour_left) - sum(m.amount) OVER (PARTITION BY m.cap_id ORDER BY m.ord) AS cap_rest
    FROM m JOIN g ON g.ord = m.ord) sums GROUP BY ord),
p AS (SELECT g.*, t.cap_ids, (SELECT hour FROM h) AS cap_hour, sum(g.amount) OVER w - g.amount < a.promo AS is_promo,
    least(a.balance - a.held - sum(g.amount) OVER w, t.cap_rest)::bigint AS rest
  FROM g JOIN a ON a.id = g.account_id JOIN t ON t.ord = g.ord
  WINDOW w AS (PARTITION BY g.account_id ORDER BY g.ord)),
${writeHolds(mode, parts, { firstParameter: CAPPED_RIDER_FIRST, isCapped: true, onTaken: 'skip' })},
z AS (UPDATE ledger_cap SET hour_start = n.hour, hour_spent = n.hour_spent, ${mode === 'charge' ? 'spent' : 'held'} = n.used FROM (
  SELECT c.id, (SELECT hour FROM h) AS hour,
    CASE WHEN c.hour_start = (SELECT hour FROM h) THEN c.hour_spent ELSE 0 END + sum(taken.amount) AS hour_spent,
    ${mode === 'charge' ? 'c.spent' : 'c.held'} + sum(taken.amount) AS used
  FROM taken JOIN q ON q.ord = taken.ord JOIN c ON c.id = q.cap_id
  GROUP BY c.id, c.hour_start, c.hour_spent, c.spent, c.held) n
  WHERE ledger_cap.id = n.id AND ledger_cap.id = ANY($${PAIR_CAP}::uuid[])${shard})
SELECT d.ord::int, p.rest, i.id IS NOT NULL AND d.copy = 1 AS is_accepted, e.state AS existing,
  d.key_id IS NOT NULL AND d.key_id NOT IN (SELECT id FROM k) AS is_key_refused,
  a.balance - a.held AS available, y.cap_id AS refused_by, y.refused_cap, y.cap_limit, y.cap_left,
  (SELECT hour FROM h) + interval '1 hour' AS hour_ends_at${answerRider(mode, parts)}
FROM d LEFT JOIN p ON p.ord = d.ord LEFT JOIN i ON i.id = d.id LEFT JOIN e ON e.id = d.id
  LEFT JOIN a ON a.id = d.account_id LEFT JOIN y ON y.ord = d.ord ORDER BY d.ord`;
}

/** Closing holds that count in caps: what is given back leaves its own hour, and no other. */
export function cappedCloseStatement<Item>(
  state: 'captured' | 'released',
  parts: StatementParts<Item>,
): string {
  const isCapture = state === 'captured';
  const shard = ofShard(parts, CLOSE_BUCKET);
  return `WITH ${closeEntries(state, parts, { firstParameter: CLOSE_RIDER_FIRST, locks: lockCaps(CLOSE_CAPS, shard) })},
x AS (SELECT i.amount, i.cap_hour, unnest(i.cap_ids) AS cap_id FROM i),
z AS (UPDATE ledger_cap SET held = n.held, ${isCapture ? 'spent = n.spent' : 'hour_spent = n.hour_spent'} FROM (
  SELECT c.id, c.held - sum(x.amount) AS held, c.spent + sum(x.amount) AS spent,
    c.hour_spent - coalesce(sum(x.amount) FILTER (WHERE x.cap_hour = c.hour_start), 0) AS hour_spent
  FROM x JOIN c ON c.id = x.cap_id GROUP BY c.id, c.held, c.spent, c.hour_spent, c.hour_start) n
  WHERE ledger_cap.id = n.id AND ledger_cap.id = ANY($${CLOSE_CAPS}::uuid[])${shard})
SELECT r.ord::int, i.id IS NOT NULL AS is_closed, (SELECT state FROM ledger_hold h WHERE h.id = r.id${shard}) AS previous,
  i.amount, i.fee${answerRider(state, parts)}
FROM r LEFT JOIN i ON i.ord = r.ord ORDER BY r.ord`;
}

/** Runs a prepared capped statement over `rows`. */
export async function runCapped(
  sql: Sql | Tx,
  statement: string,
  rows: readonly CappedRow[],
  riderParameters: unknown[],
): Promise<CappedAnswer[]> {
  const pairs = rows.flatMap(({ capIds }, index) => capIds.map((capId) => ({ ord: index + 1, capId })));
  const parameters = [
    ...chargeParameters(rows),
    toArray(pairs, (pair) => pair.ord),
    toArray(pairs, (pair) => pair.capId),
    ...riderParameters,
  ];
  // postgres.js types its parameters too narrowly for prebuilt arrays; the casts in the text are the types.
  return sql.unsafe<CappedAnswer[]>(statement, parameters as never[], { prepare: true });
}

export type CappedHold = { accountId: string; id: string; capIds: readonly string[] };

/** Runs a prepared capped close statement. */
export async function runCappedClose(
  sql: Sql | Tx,
  statement: string,
  rows: readonly CappedHold[],
  riderParameters: unknown[],
): Promise<CloseAnswer[]> {
  const capIds = [...new Set(rows.flatMap((row) => row.capIds))];
  const parameters = [...closeParameters(rows), toArray(capIds, (capId) => capId), ...riderParameters];
  return sql.unsafe<CloseAnswer[]>(statement, parameters as never[], { prepare: true });
}
