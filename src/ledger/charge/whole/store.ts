import {
  ACCOUNT,
  ARRAYS,
  answerRider,
  BUCKET,
  CHARGE_COLUMNS,
  type ChargeMode,
  HOLD,
  insertEntries,
  insertHolds,
  KEY,
  ofShard,
  type StatementParts,
} from '../store.ts';

/**
 * The exactly-once batch where all is well, as nearly always: every account covers the sum of what it is asked for,
 * every key may spend, and no id is there yet. It does the whole batch or nothing, so it looks at an account's sum and
 * not at what each request leaves behind: no window, no sort. Locks and their order are those of `batchStatement`. It
 * answers what each account had to spend, as `acceptAll` reads it; null where it did nothing. What promotion covers in
 * part is nothing for it.
 */
export function wholeStatement<Item>(mode: ChargeMode, parts: StatementParts<Item>): string {
  const shard = ofShard(parts, BUCKET);
  const isCharge = mode === 'charge';
  return `WITH r AS (${ARRAYS}),
k AS (${parts.guard(KEY)}),
a AS MATERIALIZED (SELECT id, balance, held, promo FROM ledger_payer WHERE id = ANY($${ACCOUNT}::uuid[])${shard} ORDER BY id FOR UPDATE),
t AS MATERIALIZED (SELECT account_id, sum(amount) AS amount FROM r GROUP BY account_id),
b AS MATERIALIZED (SELECT a.*, t.amount FROM t JOIN a ON a.id = t.account_id
  WHERE a.balance - a.held >= t.amount AND (a.promo = 0 OR a.promo >= t.amount)),
o AS MATERIALIZED (SELECT WHERE (SELECT count(*) FROM b) = (SELECT count(*) FROM t)
  AND NOT EXISTS (SELECT FROM unnest($${KEY}::uuid[]) AS asked(id) WHERE asked.id IS NOT NULL AND asked.id NOT IN (SELECT id FROM k))
  AND NOT EXISTS (SELECT FROM ledger_hold WHERE id = ANY($${HOLD}::uuid[])${shard})),
taken AS MATERIALIZED (SELECT r.*, b.promo > 0 AS is_promo FROM r JOIN b ON b.id = r.account_id WHERE EXISTS (SELECT FROM o)),
i AS (${insertHolds(mode, 'taken', false)} RETURNING 1),
u AS (UPDATE ledger_payer SET ${isCharge ? 'balance = b.balance - b.amount, promo = greatest(0, b.promo - b.amount)' : 'held = b.held + b.amount'}
  FROM b WHERE ledger_payer.id = b.id AND ledger_payer.id = ANY($${ACCOUNT}::uuid[])${shard} AND EXISTS (SELECT FROM o))
${isCharge ? writeCharges(parts) : ''}
SELECT (SELECT '=' || string_agg((balance - held)::text, ',' ORDER BY id) FROM b WHERE EXISTS (SELECT FROM o)) AS answers${answerRider(mode, parts)}`;
}

/** The entries and the rider, which waits for all else to be written: other accounts' charges wait for its lanes. */
function writeCharges<Item>(parts: StatementParts<Item>): string {
  const ids = `$${HOLD}::uuid[]`;
  return `, n AS (${insertEntries('taken')} RETURNING 1),
accepted AS NOT MATERIALIZED (SELECT * FROM taken WHERE (SELECT count(*) FROM i) >= 0 AND (SELECT count(*) FROM n) >= 0),
${parts.rider.cte(CHARGE_COLUMNS + 1, { ids })}`;
}
