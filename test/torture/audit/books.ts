import type { Sql } from '../../../src/db/index.ts';
import { checkLedger } from '../../../src/ledger/index.ts';
import { tell, type Violation } from './violation.ts';

type Row = { subject: string; detail: string };

const say = ({ subject, detail }: Row) => `${subject}: ${detail}`;

/** The ledger against itself: by its own check, and by sums of our own. */
export async function auditBooks(sql: Sql): Promise<Violation[]> {
  const { discrepancies } = await checkLedger(sql);
  const own = new Map<string, Row[]>();
  for (const { rule, subject, detail } of discrepancies) {
    own.set(rule, [...(own.get(rule) ?? []), { subject, detail }]);
  }
  return [
    ...[...own].flatMap(([rule, rows]) => tell(rule, rows, say)),
    ...tell('sum-of-payers', await findWrongPayers(sql), say),
    ...tell('sum-of-units', await findWrongUnits(sql), say),
    ...tell('sum-of-captures', await findWrongCaptures(sql), say),
    ...tell('below-zero', await findUnguarded(sql), say),
    ...tell('cap-exceeded', await findExceededCaps(sql), say),
  ];
}

/** Stored balances against the journal, by a query that shares nothing with the ledger's check. */
function findWrongPayers(sql: Sql): Promise<Row[]> {
  return sql<Row[]>`
    SELECT p.id::text AS subject, 'stored ' || p.balance || ' held ' || p.held || ', journal ' || j.balance AS detail
    FROM ledger_payer p, LATERAL (SELECT
      coalesce((SELECT sum(amount) FROM ledger_entry WHERE credit_id = p.id), 0)
      - coalesce((SELECT sum(amount + fee) FROM ledger_entry WHERE debit_id = p.id), 0) AS balance) j
    WHERE p.balance <> j.balance OR p.held <> 0`;
}

/** Over all accounts of a unit, what came in is what went out: every leg is on an account there is, and of its unit. */
function findWrongUnits(sql: Sql): Promise<Row[]> {
  return sql<Row[]>`
    SELECT unit AS subject, sum(units)::text AS detail FROM (
      SELECT a.unit, e.amount AS units FROM ledger_entry e JOIN ledger_account a ON a.id = e.credit_id
      UNION ALL SELECT a.unit, -e.amount - e.fee FROM ledger_entry e JOIN ledger_account a ON a.id = e.debit_id
      UNION ALL SELECT a.unit, e.fee FROM ledger_entry e JOIN ledger_account a ON a.name = 'I.fee') legs
    GROUP BY unit HAVING sum(units) <> 0`;
}

/** Each publisher's shares, and our fees, are what was captured, no more and no less. */
function findWrongCaptures(sql: Sql): Promise<Row[]> {
  return sql<Row[]>`
    WITH captured AS (
        SELECT payee_id AS id, sum(amount - fee) AS units FROM ledger_hold WHERE state = 'captured' AND amount > fee GROUP BY 1
        UNION ALL SELECT a.id, (SELECT coalesce(sum(fee), 0) FROM ledger_hold WHERE state = 'captured')
          FROM ledger_account a WHERE name = 'I.fee'),
      booked AS (
        SELECT credit_id AS id, sum(amount) AS units FROM ledger_entry WHERE kind = 'share' GROUP BY 1
        UNION ALL SELECT a.id, (SELECT coalesce(sum(CASE kind WHEN 'fee' THEN amount ELSE fee END), 0) FROM ledger_entry
          WHERE kind IN ('share', 'fee')) FROM ledger_account a WHERE name = 'I.fee')
    SELECT id::text AS subject, 'captured ' || coalesce(c.units, 0) || ', booked ' || coalesce(b.units, 0) AS detail
    FROM captured c FULL JOIN booked b USING (id) WHERE c.units IS DISTINCT FROM b.units`;
}

/** That no account was ever below zero is the database's own word, as long as it checks every write. */
function findUnguarded(sql: Sql): Promise<Row[]> {
  return sql<Row[]>`
    SELECT 'ledger_payer' AS subject, 'no valid check that holds are covered' AS detail
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'ledger_payer_covers_holds' AND convalidated)
    UNION ALL SELECT id::text, 'balance ' || balance || ', held ' || held FROM ledger_payer
    WHERE balance < held OR held < 0`;
}

/** Every cap in every hour, from the holds that were taken under it. */
function findExceededCaps(sql: Sql): Promise<Row[]> {
  return sql<Row[]>`
    WITH u AS (SELECT unnest(cap_ids) AS id, amount, cap_hour FROM ledger_hold
        WHERE state IN ('held', 'captured') AND cap_ids IS NOT NULL),
      hours AS (SELECT id, cap_hour, sum(amount) AS taken FROM u GROUP BY 1, 2),
      totals AS (SELECT id, sum(amount) AS taken, max(amount) AS dearest FROM u GROUP BY 1)
    SELECT c.id::text AS subject, 'in the hour of ' || cap_hour || ': ' || taken || ' of ' || per_hour AS detail
      FROM ledger_cap c JOIN hours USING (id) WHERE taken > per_hour
    UNION ALL SELECT c.id::text, 'in all: ' || taken || ' of ' || total
      FROM ledger_cap c JOIN totals USING (id) WHERE taken > total
    UNION ALL SELECT c.id::text, 'one call: ' || dearest || ' of ' || per_call
      FROM ledger_cap c JOIN totals USING (id) WHERE dearest > per_call`;
}

/** What is open although everything has come to rest, and what was open for longer than it may be. */
export async function auditLeftovers(sql: Sql): Promise<Violation[]> {
  const holds = await sql<Row[]>`
    SELECT h.id::text AS subject, h.backing || ' ' || h.amount || ', expired ' || (now() - h.expires_at) || ' ago' AS detail
    FROM ledger_hold h WHERE h.state = 'held'
      AND NOT EXISTS (SELECT FROM payment_claim c WHERE c.id = h.id AND c.state = 'settling')`;
  const claims = await sql<Row[]>`
    SELECT id::text AS subject, purpose || ' ' || state AS detail FROM payment_claim
    WHERE state IN ('running', 'settling')`;
  const answers = await sql<Row[]>`
    SELECT id::text AS subject, purpose || ' by ' || rail || ', delivered' AS detail FROM payment_claim
    WHERE rail IS NOT NULL AND (state = 'delivered' OR attached_to IS NOT NULL) AND answer_state = 'waiting'`;
  const late = await sql<Row[]>`
    SELECT id::text AS subject, state || ' ' || (closed_at - expires_at) || ' after its limit' AS detail
    FROM ledger_hold WHERE closed_at > expires_at + interval '5 minutes'`;
  // It has a day from when it was paid, and no storm lasts half of one.
  const hasty = await sql<Row[]>`
    SELECT id::text AS subject, 'gone in ' || (expires_at - now()) AS detail FROM payment_answer
    WHERE expires_at < now() + interval '12 hours'`;
  return [
    ...tell('hold-left', holds, say),
    ...tell('claim-left', claims, say),
    ...tell('answer-left', answers, say),
    ...tell('hold-closed-late', late, say),
    ...tell('answer-short-lived', hasty, say),
  ];
}
