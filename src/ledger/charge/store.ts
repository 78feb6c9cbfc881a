import { bucketOf, isUuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import { numberIn, quote, type Sql, type Tx, toArray } from '../../db/index.ts';
import { FEE_INCOME, MILLICENT_UNIT } from '../account.ts';
import { FUNDS_FINAL_MS } from '../finality.ts';
import type { KeyGuard, Rider } from '../rider.ts';

/** One request to set money aside, as the statements take it. */
export type ChargeRow = {
  accountId: string;
  amount: bigint;
  fee: bigint;
  id: string;
  keyId: string | undefined;
  payeeId: string;
  subject: string | undefined;
  label: string;
  /** Milliseconds until an open hold expires. */
  lifetimeMs: number;
};

/** What the statement says of each request. */
export type ChargeAnswer = {
  /** Counts the requests from 1. */
  ord: number;
  /** Balance left after it; null when there is no such account or the key may not spend. */
  rest: bigint | null;
  isAccepted: boolean;
  /** The state of a hold that already has this id. */
  existing: 'held' | 'captured' | 'released' | 'expired' | null;
  isKeyRefused: boolean;
};

export type ChargeMode = 'hold' | 'charge';
/**
 * What a statement does when somebody takes one of its ids at the same time: `fail`, and nothing of it is done, or
 * `skip` that one. To be ready to skip costs PostgreSQL as much for every hold as all the rest of writing it.
 */
export type OnTaken = 'fail' | 'skip';

/**
 * Whether a statement failed because something with one of its ids was there or came to be: the hold, or what is
 * written with it, whichever the database came to first.
 */
export function isIdTaken(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === '23505';
}

/** What the rider wrote with the statement; none when it wrote nothing. */
export type RiderAnswer = { rider?: string | null };
type HoldEnd = 'captured' | 'released' | 'expired';
/**
 * What the caller decides of the statement's text. `rider` only rides on a charge. Where charges are cut by shard
 * all rows of a statement are of one bucket, which it names: a distributed Postgres then asks one node.
 */
export type StatementParts<Item> = { guard: KeyGuard; rider: Rider<Item>; isCut?: boolean };

/** Who pays whom for what, which many requests of a batch have in common: sent once for all of them. */
const TERM_COLUMNS = [
  ['account_id', 'uuid'],
  ['key_id', 'uuid'],
  ['bucket', 'smallint'],
  ['amount', 'bigint'],
  ['fee', 'bigint'],
  ['payee_id', 'uuid'],
  ['subject', 'uuid'],
  ['label', 'text'],
  ['lifetime_ms', 'integer'],
] as const;
/** What each request has of its own; `term` counts the terms from 1. */
const REQUEST_COLUMNS = [
  ['id', 'uuid'],
  ['term', 'integer'],
] as const;
const COLUMNS = [...TERM_COLUMNS, ...REQUEST_COLUMNS];
/** The parameters with the accounts of a charge, its keys, its buckets, and the ids of its holds. */
export const ACCOUNT = 1;
export const KEY = 2;
export const BUCKET = 3;
export const HOLD = TERM_COLUMNS.length + 1;
/** How many parameters the rows of a charge take. */
export const CHARGE_COLUMNS = COLUMNS.length;
const CLOSE_BUCKET = 3;
/** How many parameters the rows of a close take. */
export const CLOSE_COLUMNS = 3;

const listNames = (columns: readonly (readonly [string, string])[]) =>
  columns.map(([name]) => name).join(', ');
const listArrays = (columns: readonly (readonly [string, string])[], first: number) =>
  columns.map(([, type], index) => `$${first + index}::${type}[]`).join(', ');
/** The requests of a batch as rows. */
export const ARRAYS = `SELECT ord, id, ${listNames(TERM_COLUMNS)}
  FROM unnest(${listArrays(REQUEST_COLUMNS, HOLD)}) WITH ORDINALITY AS t(${listNames(REQUEST_COLUMNS)}, ord)
  JOIN unnest(${listArrays(TERM_COLUMNS, 1)}) WITH ORDINALITY AS s(${listNames(TERM_COLUMNS)}, nth) ON nth = term`;

/**
 * The exactly-once batch: rows are locked in id order, the prefix sum over the locked balance bounds what is
 * accepted, and the balance moves only by holds really inserted. One statement is one commit. One that may fail takes
 * its requests to have an id each: what is accepted is then inserted, or nothing is.
 */
export function batchStatement<Item>(
  mode: ChargeMode,
  parts: StatementParts<Item>,
  onTaken: OnTaken,
): string {
  const shard = ofShard(parts, BUCKET);
  const isCareful = onTaken === 'skip';
  const requests = isCareful
    ? `s AS (${ARRAYS}), r AS (SELECT s.*, row_number() OVER (PARTITION BY s.id ORDER BY s.ord) AS copy FROM s)`
    : `r AS (${ARRAYS})`;
  return `WITH ${requests},
k AS (${parts.guard(KEY)}),
a AS MATERIALIZED (SELECT id, balance, held, promo FROM ledger_payer WHERE id = ANY($${ACCOUNT}::uuid[])${shard} ORDER BY id FOR UPDATE),
e AS (SELECT id, state FROM ledger_hold WHERE id = ANY($${HOLD}::uuid[])${shard}),
p AS (SELECT r.*, sum(r.amount) OVER w - r.amount < a.promo AS is_promo, (a.balance - a.held - sum(r.amount) OVER w)::bigint AS rest
  FROM r JOIN a ON a.id = r.account_id
  WHERE ${isCareful ? 'r.copy = 1 AND ' : ''}NOT EXISTS (SELECT FROM e WHERE e.id = r.id) AND (r.key_id IS NULL OR r.key_id IN (SELECT id FROM k))
  WINDOW w AS (PARTITION BY r.account_id ORDER BY r.ord)),
${writeHolds(mode, parts, { firstParameter: CHARGE_COLUMNS + 1, isCapped: false, onTaken })}
${packAnswers(onTaken)}${answerRider(mode, parts)}`;
}

/** The same for a queue of one: no window, no sort, a third less time. It fails where its id was taken. */
export function singleStatement<Item>(mode: ChargeMode, parts: StatementParts<Item>): string {
  const shard = ofShard(parts, BUCKET);
  const values = COLUMNS.map(([name, type], index) => `($${index + 1}::${type}[])[1] AS ${name}`).join(', ');
  return `WITH k AS (${parts.guard(KEY)}),
a AS MATERIALIZED (SELECT id, balance, held, promo FROM ledger_payer WHERE id = ($${ACCOUNT}::uuid[])[1]${shard} FOR UPDATE),
e AS (SELECT id, state FROM ledger_hold WHERE id = ($${HOLD}::uuid[])[1]${shard}),
r AS (SELECT ${values}, 1::bigint AS ord),
p AS (SELECT r.*, a.promo > 0 AS is_promo, a.balance - a.held - r.amount AS rest FROM r, a
  WHERE NOT EXISTS (SELECT FROM e) AND (r.key_id IS NULL OR r.key_id IN (SELECT id FROM k))),
${writeHolds(mode, parts, { firstParameter: CHARGE_COLUMNS + 1, isCapped: false, onTaken: 'fail' })}
${packAnswers('fail')}${answerRider(mode, parts)}`;
}

const EXISTING = { h: 'held', c: 'captured', r: 'released', e: 'expired' } as const;

/**
 * All answers in one row, because a row for each costs both sides more than the answer does: for each request its
 * number, a letter (accepted, the state of the hold that exists, key refused, none of these) and what is left. Those
 * that were refused before any money was looked at are looked for only when there are any.
 */
function packAnswers(onTaken: OnTaken): string {
  const [isAccepted, weighed] =
    onTaken === 'fail'
      ? ['rest >= 0', 'p']
      : ['taken.ord IS NOT NULL', 'p LEFT JOIN taken ON taken.ord = p.ord'];
  return `SELECT concat_ws(',', (SELECT string_agg(p.ord::text || CASE WHEN ${isAccepted} THEN 'a' ELSE 'n' END || rest::text, ',') FROM ${weighed}),
  CASE WHEN (SELECT count(*) FROM p) < cardinality($${HOLD}::uuid[]) THEN (
    SELECT string_agg(r.ord::text || CASE WHEN e.state IS NOT NULL THEN left(e.state, 1)
      WHEN r.key_id IS NOT NULL AND r.key_id NOT IN (SELECT id FROM k) THEN 'k' ELSE 'n' END, ',')
    FROM r LEFT JOIN e ON e.id = r.id WHERE r.ord NOT IN (SELECT ord FROM p)) END) AS answers`;
}

/** What the rider says it wrote, beside the answers; nothing where no rider rides. */
export function answerRider<Item>(mode: ChargeMode | HoldEnd, parts: StatementParts<Item>): string {
  return mode === 'charge' || mode === 'captured' ? `, ${parts.rider.answer} AS rider` : '';
}

const PACKED = /(\d+)([ahcrekn])(-?\d+)?(?:,(?=\d)|$)/y;

/** Reads what `packAnswers` wrote; nothing when the answer was lost on its way. */
export function unpackAnswers(packed: string | null): ChargeAnswer[] {
  const answers: ChargeAnswer[] = [];
  PACKED.lastIndex = 0;
  while (packed && PACKED.lastIndex < packed.length) {
    const [, ord, letter, rest] = PACKED.exec(packed) ?? [];
    invariant(ord !== undefined && letter !== undefined, `an answer like ${packed} to a charge`);
    answers.push({
      ord: Number(ord),
      rest: rest === undefined ? null : BigInt(rest),
      isAccepted: letter === 'a',
      existing: EXISTING[letter as keyof typeof EXISTING] ?? null,
      isKeyRefused: letter === 'k',
    });
  }
  return answers;
}

/** Closing open holds: accounts are locked first, as everywhere, so no two statements wait in a circle. */
export function closeStatement<Item>(state: HoldEnd, parts: StatementParts<Item>): string {
  return `WITH ${closeEntries(state, parts, { firstParameter: CLOSE_COLUMNS + 1, locks: '' })}
SELECT r.ord::int, i.id IS NOT NULL AS is_closed, (SELECT state FROM ledger_hold h WHERE h.id = r.id${ofShard(parts, CLOSE_BUCKET)}) AS previous,
  i.amount, i.fee${answerRider(state, parts)}
FROM r LEFT JOIN i ON i.ord = r.ord ORDER BY r.ord`;
}

/** All that closing holds writes, but for the answer. `locks` are further rows, locked after the accounts. */
export function closeEntries<Item>(
  state: HoldEnd,
  parts: StatementParts<Item>,
  input: { firstParameter: number; locks: string },
): string {
  const isCapture = state === 'captured';
  const isCapped = input.locks !== '';
  const shard = ofShard(parts, CLOSE_BUCKET);
  return `r AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[]) WITH ORDINALITY AS t(account_id, id, bucket, ord)),
a AS MATERIALIZED (SELECT id, balance, held, promo FROM ledger_payer WHERE id = ANY($1::uuid[])${shard} ORDER BY id FOR UPDATE),
${isCapped ? `${input.locks},` : ''}
i AS (UPDATE ledger_hold h SET state = '${state}', closed_at = now() FROM r JOIN a ON a.id = r.account_id
  WHERE h.id = ANY($2::uuid[]) AND h.id = r.id AND h.account_id = r.account_id AND h.state = 'held' AND h.backing = 'balance'${ofShard(parts, CLOSE_BUCKET, 'h')}
  ${isCapped ? 'AND (SELECT count(*) FROM c) >= 0' : ''}
  RETURNING h.id, h.bucket, h.account_id, h.payee_id, h.amount, h.fee, r.ord${isCapped ? ', h.cap_ids, h.cap_hour' : ''}),
accepted AS (SELECT i.*, sum(i.amount) OVER (PARTITION BY i.account_id ORDER BY i.ord) - i.amount < a.promo AS is_promo
  FROM i JOIN a ON a.id = i.account_id),
u AS (UPDATE ledger_payer SET held = s.held${isCapture ? ', balance = s.balance, promo = s.promo' : ''} FROM (
  SELECT a.id, a.held - sum(i.amount) AS held, a.balance - sum(i.amount) AS balance, greatest(0, a.promo - sum(i.amount)) AS promo
  FROM accepted i JOIN a ON a.id = i.account_id GROUP BY a.id, a.held, a.balance, a.promo) s WHERE ledger_payer.id = s.id AND ledger_payer.id = ANY($1::uuid[])${shard})
${isCapture ? `, n AS (${insertEntries('accepted')}), ${parts.rider.cte(input.firstParameter)}` : ''}`;
}

/** Everything after the decision: the hold, and for a charge the entries, the balance and the rider. */
export function writeHolds<Item>(
  mode: ChargeMode,
  parts: StatementParts<Item>,
  input: { firstParameter: number; isCapped: boolean; onTaken: OnTaken },
): string {
  const isCharge = mode === 'charge';
  const insert = insertHolds(mode, 'p WHERE rest >= 0', input.isCapped);
  const isAllOrNothing = input.onTaken === 'fail';
  const inserted = isAllOrNothing
    ? `i AS (${insert} RETURNING 1),
taken AS NOT MATERIALIZED (SELECT * FROM p WHERE rest >= 0)`
    : `i AS (${insert} ON CONFLICT (id, bucket) DO NOTHING RETURNING id, bucket, account_id, payee_id, amount, fee),
taken AS (SELECT i.*, p.ord, p.is_promo FROM i JOIN p ON p.id = i.id)`;
  // Where nothing reads what was inserted the rider has to be told to wait for it: other accounts' charges wait for the
  // lanes it locks.
  const isWritten = isAllOrNothing
    ? 'WHERE (SELECT count(*) FROM i) >= 0 AND (SELECT count(*) FROM n) >= 0'
    : '';
  return `${inserted},
u AS (UPDATE ledger_payer SET ${isCharge ? 'balance = s.balance, promo = s.promo' : 'held = s.held'} FROM (
  SELECT a.id, a.balance - t.amount AS balance, a.held + t.amount AS held, greatest(0, a.promo - t.amount) AS promo
  FROM (SELECT account_id, sum(amount) AS amount FROM taken GROUP BY account_id) t JOIN a ON a.id = t.account_id) s
  WHERE ledger_payer.id = s.id AND ledger_payer.id = ANY($${ACCOUNT}::uuid[])${ofShard(parts, BUCKET)})
${isCharge ? `, n AS (${insertEntries('taken')} RETURNING 1),\naccepted AS NOT MATERIALIZED (SELECT * FROM taken ${isWritten}), ${parts.rider.cte(input.firstParameter)}` : ''}`;
}

/** `source` is a table expression of requests, with the condition that they are accepted. */
export function insertHolds(mode: ChargeMode, source: string, isCapped: boolean): string {
  const isCharge = mode === 'charge';
  const capColumns = isCapped ? ', cap_ids, cap_hour' : '';
  return `INSERT INTO ledger_hold (bucket, id, account_id, key_id, payee_id, subject, label, amount, fee, backing, state, expires_at, closed_at${capColumns})
  SELECT bucket, id, account_id, key_id, payee_id, subject, label, amount, fee, 'balance', '${isCharge ? 'captured' : 'held'}',
    now() + lifetime_ms * interval '1 millisecond', ${isCharge ? 'now()' : 'NULL'}${capColumns}
  FROM ${source}`;
}

/** CAPTURE of MONEY.md, as `captureTransfer`: the publisher's share with the platform's fee, or a fee alone. */
export function insertEntries(source: 'taken' | 'accepted'): string {
  return `INSERT INTO ledger_entry (bucket, transfer_id, leg, kind, debit_id, credit_id, unit, amount, fee, available_at)
  SELECT bucket, id, 0, 'share', account_id, payee_id, '${MILLICENT_UNIT}', amount - fee, fee, CASE WHEN is_promo THEN 'infinity' ELSE now() + interval '${FUNDS_FINAL_MS} milliseconds' END
  FROM ${source} WHERE amount > fee
  UNION ALL
  SELECT bucket, id, 0, 'fee', account_id, '${FEE_INCOME.id}', '${MILLICENT_UNIT}', fee, 0, now() FROM ${source} WHERE amount = fee AND fee > 0`;
}

/** The condition that rows are of the statement's bucket, which is that of its first row. */
export function ofShard<Item>(parts: StatementParts<Item>, parameter: number, table?: string): string {
  return parts.isCut ? ` AND ${table ? `${table}.` : ''}bucket = ($${parameter}::smallint[])[1]` : '';
}

/** What a charge statement answered; the answers as it packed them. */
type Charged = { answers: string | null; rider: string | null };

/** Runs a prepared charge statement over `rows`. */
export async function runCharge(
  sql: Sql | Tx,
  statement: string,
  rows: readonly ChargeRow[],
  riderParameters: unknown[],
): Promise<Charged> {
  const parameters = [...chargeParameters(rows), ...riderParameters];
  // postgres.js types its parameters too narrowly for prebuilt arrays; the casts in the text are the types.
  const [row] = await sql.unsafe<Charged[]>(statement, parameters as never[], { prepare: true });
  return { answers: row?.answers ?? null, rider: row?.rider ?? null };
}

export type CloseAnswer = RiderAnswer & {
  ord: number;
  isClosed: boolean;
  previous: ChargeAnswer['existing'];
  /** What was closed; null when nothing was. */
  amount: bigint | null;
  fee: bigint | null;
};

/** Runs a prepared close statement over `(accountId, id)` pairs. */
export async function runClose(
  sql: Sql | Tx,
  statement: string,
  rows: readonly { accountId: string; id: string }[],
  riderParameters: unknown[],
): Promise<CloseAnswer[]> {
  const parameters = [...closeParameters(rows), ...riderParameters];
  return sql.unsafe<CloseAnswer[]>(statement, parameters as never[], { prepare: true });
}

/** The arrays of a charge, in the order of its columns. */
export function chargeParameters(rows: readonly ChargeRow[]): unknown[] {
  const terms: ChargeRow[] = [];
  const termOf = rows.map((row) => numberIn(terms, row, hasSameTerms));
  // One that is spelled otherwise stands elsewhere here than in the database, and would be told another one's money.
  for (const { accountId } of terms) invariant(isUuid(accountId), 'an account goes by its id in lower case');
  return [
    toArray(terms, (row) => row.accountId),
    toArray(terms, (row) => row.keyId),
    toArray(terms, (row) => bucketOf(row.accountId)),
    toArray(terms, (row) => row.amount),
    toArray(terms, (row) => row.fee),
    toArray(terms, (row) => row.payeeId),
    toArray(terms, (row) => row.subject),
    toArray(terms, (row) => quote(row.label)),
    toArray(terms, (row) => row.lifetimeMs),
    toArray(rows, (row) => row.id),
    toArray(termOf, (term) => term),
  ];
}

function hasSameTerms(a: ChargeRow, b: ChargeRow): boolean {
  return (
    a.accountId === b.accountId &&
    a.keyId === b.keyId &&
    a.amount === b.amount &&
    a.fee === b.fee &&
    a.payeeId === b.payeeId &&
    a.subject === b.subject &&
    a.label === b.label &&
    a.lifetimeMs === b.lifetimeMs
  );
}

export function closeParameters(rows: readonly { accountId: string; id: string }[]): unknown[] {
  return [
    toArray(rows, (row) => row.accountId),
    toArray(rows, (row) => row.id),
    toArray(rows, (row) => bucketOf(row.accountId)),
  ];
}
