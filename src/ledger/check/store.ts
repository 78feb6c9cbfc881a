import { BUCKETS } from '../../core/ids.ts';
import { inTransaction, type Sql, type Tx } from '../../db/index.ts';

export type Discrepancy = { rule: string; subject: string; detail: string };
export type UnitSum = { unit: string; debit: string; credit: string };
export type AccountSum = { name: string; unit: string; balance: string };

const ROWS_MAX = 100;

/** One consistent view for every query of a check; it writes nothing. */
export async function inSnapshot<T>(sql: Sql, read: (tx: Tx) => Promise<T>): Promise<T> {
  return inTransaction(sql, 'isolation level repeatable read read only', async (tx) => {
    await tx`SET LOCAL statement_timeout = '120s'`;
    return read(tx);
  });
}

/** Debits and credits of all time, by unit; the two are equal or the books are broken. */
export async function sumUnits(tx: Tx): Promise<UnitSum[]> {
  return tx<UnitSum[]>`SELECT unit, sum(debit)::text AS debit, sum(credit)::text AS credit
    FROM ledger_leg GROUP BY unit ORDER BY unit`;
}

/** Every account but the payers', with its balance: credits less debits. */
export async function sumAccounts(tx: Tx): Promise<AccountSum[]> {
  return tx<AccountSum[]>`SELECT a.name, a.unit, sum(l.signed)::text AS balance
    FROM ledger_leg l JOIN ledger_account a ON a.id = l.account_id
    WHERE a.name NOT LIKE 'L.payer:%' GROUP BY a.name, a.unit ORDER BY a.name`;
}

export type PayerTotals = { count: bigint; balance: bigint; held: bigint };

export async function sumPayers(tx: Tx): Promise<PayerTotals> {
  const [row] = await tx<
    PayerTotals[]
  >`SELECT count(*) AS count, coalesce(sum(balance), 0)::bigint AS balance,
    coalesce(sum(held), 0)::bigint AS held FROM ledger_payer`;
  return row ?? { count: 0n, balance: 0n, held: 0n };
}

/** Payers whose stored balance is not what the journal says. */
export async function findWrongBalances(tx: Tx): Promise<Discrepancy[]> {
  return tx<Discrepancy[]>`
    WITH j AS (SELECT account_id, sum(signed) AS balance FROM ledger_leg WHERE unit = 'mc' GROUP BY account_id)
    SELECT 'payer-balance' AS rule, p.id::text AS subject,
      'stored ' || p.balance || ', entries say ' || coalesce(j.balance, 0) AS detail
    FROM ledger_payer p LEFT JOIN j ON j.account_id = p.id
    WHERE p.balance <> coalesce(j.balance, 0) LIMIT ${ROWS_MAX}`;
}

/** Payers whose stored `held` is not the sum of their open holds. */
export async function findWrongHeld(tx: Tx): Promise<Discrepancy[]> {
  return tx<Discrepancy[]>`
    WITH h AS (SELECT account_id, sum(amount) AS held FROM ledger_hold
      WHERE state = 'held' AND backing = 'balance' GROUP BY account_id)
    SELECT 'payer-held' AS rule, p.id::text AS subject,
      'stored ' || p.held || ', open holds say ' || coalesce(h.held, 0) AS detail
    FROM ledger_payer p LEFT JOIN h ON h.account_id = p.id
    WHERE p.held <> coalesce(h.held, 0) LIMIT ${ROWS_MAX}`;
}

/** What a capture's entries say of it: the price, how much of that is the fee, and who has the rest. */
const CAPTURE_SUMS = `transfer_id, sum(amount + fee) AS amount, sum(CASE kind WHEN 'fee' THEN amount ELSE fee END) AS fee,
  (array_agg(credit_id) FILTER (WHERE kind = 'share'))[1] AS payee_id`;

/** Captured holds without exactly their price in entries, or split otherwise, and closed or open ones that have entries. */
export async function findWrongCaptures(tx: Tx): Promise<Discrepancy[]> {
  return tx<Discrepancy[]>`
    WITH e AS (SELECT ${tx.unsafe(CAPTURE_SUMS)} FROM ledger_entry
      WHERE kind IN ('share', 'fee') GROUP BY transfer_id)
    SELECT 'capture' AS rule, coalesce(h.id, e.transfer_id)::text AS subject,
      'hold ' || coalesce(h.state || ' ' || h.amount || ', fee ' || h.fee || ', payee ' || h.payee_id, 'missing')
        || '; entries ' || coalesce(e.amount || ', fee ' || e.fee || coalesce(', payee ' || e.payee_id, ''), 'missing') AS detail
    FROM ledger_hold h FULL JOIN e ON e.transfer_id = h.id
    WHERE (CASE WHEN h.state = 'captured' THEN h.amount ELSE 0 END) <> coalesce(e.amount, 0)
      OR h.fee <> e.fee OR h.payee_id <> e.payee_id LIMIT ${ROWS_MAX}`;
}

/** Entries whose accounts are unknown or of another unit. */
export async function findWrongUnits(tx: Tx): Promise<Discrepancy[]> {
  return tx<Discrepancy[]>`
    SELECT 'unit' AS rule, l.transfer_id::text AS subject,
      'leg in ' || l.unit || ' on account ' || coalesce(a.name || ' in ' || a.unit, l.account_id::text) AS detail
    FROM (SELECT DISTINCT ON (account_id, unit) account_id, unit, transfer_id FROM ledger_leg) l
    LEFT JOIN ledger_account a ON a.id = l.account_id
    WHERE a.unit IS DISTINCT FROM l.unit LIMIT ${ROWS_MAX}`;
}

/** Caps whose counters are not what the holds under them say; the hour is summed over that hour's holds. */
export async function findWrongCaps(tx: Tx): Promise<Discrepancy[]> {
  return tx<Discrepancy[]>`
    WITH u AS (SELECT unnest(cap_ids) AS cap_id, state, amount, cap_hour FROM ledger_hold
        WHERE cap_ids IS NOT NULL AND state IN ('held', 'captured')),
      s AS (SELECT c.id, coalesce(sum(u.amount) FILTER (WHERE u.state = 'held'), 0) AS held,
          coalesce(sum(u.amount) FILTER (WHERE u.state = 'captured'), 0) AS spent,
          coalesce(sum(u.amount) FILTER (WHERE u.cap_hour = c.hour_start), 0) AS hour_spent
        FROM ledger_cap c LEFT JOIN u ON u.cap_id = c.id GROUP BY c.id, c.bucket)
    SELECT 'cap' AS rule, c.id::text AS subject,
      'stored held ' || c.held || ', spent ' || c.spent || ', hour ' || c.hour_spent ||
      '; holds say ' || s.held || ', ' || s.spent || ', ' || s.hour_spent AS detail
    FROM ledger_cap c JOIN s ON s.id = c.id
    WHERE c.held <> s.held OR c.spent <> s.spent OR c.hour_spent <> s.hour_spent LIMIT ${ROWS_MAX}`;
}

/** How far entries are added up; `upTo` as the database spells it, which is finer than a Date. */
export type Mark = { upTo: string; horizon: string; isFresh: boolean; isFullDue: boolean };

/** Locks the mark for this transaction; undefined when nothing was ever added up. */
export async function lockMark(
  tx: Tx,
  bounds: { settledAfterMs: number; everyMs: number; fullEveryMs: number },
): Promise<Mark | 'locked' | undefined> {
  const horizon = tx`now() - ${bounds.settledAfterMs} * interval '1 millisecond'`;
  const [mark] = await tx<Mark[]>`SELECT up_to::text, (${horizon})::text AS horizon,
      up_to > ${horizon} - ${bounds.everyMs} * interval '1 millisecond' AS is_fresh,
      full_at < now() - ${bounds.fullEveryMs} * interval '1 millisecond' AS is_full_due
    FROM ledger_verified_mark WHERE id = 1 FOR UPDATE SKIP LOCKED`;
  if (mark) return mark;
  const rows = await tx`SELECT FROM ledger_verified_mark WHERE id = 1`;
  return rows.length > 0 ? 'locked' : undefined;
}

/** Payers whose stored balance is not what was added up before and the entries since come to. */
export async function findMovedBalances(tx: Tx, since: string): Promise<Discrepancy[]> {
  return tx<Discrepancy[]>`
    WITH r AS (SELECT account_id, sum(signed) AS balance FROM ledger_leg
      WHERE created_at >= ${since}::text::timestamptz AND unit = 'mc' GROUP BY account_id)
    SELECT 'payer-balance' AS rule, p.id::text AS subject,
      'stored ' || p.balance || ', entries say ' || coalesce(v.balance, 0) + coalesce(r.balance, 0) AS detail
    FROM ledger_payer p LEFT JOIN ledger_verified v ON v.account_id = p.id AND v.unit = 'mc'
      LEFT JOIN r ON r.account_id = p.id
    WHERE p.balance <> coalesce(v.balance, 0) + coalesce(r.balance, 0) LIMIT ${ROWS_MAX}`;
}

/** The same as `findWrongCaptures` of what was captured since; a capture is one commit, so its times are one. */
export async function findNewCaptures(tx: Tx, since: string): Promise<Discrepancy[]> {
  return tx<Discrepancy[]>`
    WITH e AS (SELECT ${tx.unsafe(CAPTURE_SUMS)} FROM ledger_entry
        WHERE created_at >= ${since}::text::timestamptz AND kind IN ('share', 'fee') GROUP BY transfer_id),
      c AS (SELECT id FROM ledger_hold WHERE state = 'captured' AND closed_at >= ${since}::text::timestamptz
        AND created_at >= ${since}::text::timestamptz - interval '1 day')
    SELECT 'capture' AS rule, e.transfer_id::text AS subject, 'entries that no captured hold of this amount, fee and payee has' AS detail
      FROM e LEFT JOIN ledger_hold h ON h.id = e.transfer_id
      WHERE h.state IS DISTINCT FROM 'captured' OR h.amount <> e.amount OR h.fee <> e.fee OR h.payee_id <> e.payee_id
    UNION ALL
    SELECT 'capture', c.id::text, 'a captured hold without entries' FROM c
      WHERE NOT EXISTS (SELECT FROM e WHERE e.transfer_id = c.id)
    LIMIT ${ROWS_MAX}`;
}

/** The same as `findWrongUnits` of the entries since. */
export async function findNewUnits(tx: Tx, since: string): Promise<Discrepancy[]> {
  return tx<Discrepancy[]>`
    SELECT 'unit' AS rule, l.transfer_id::text AS subject, 'leg in ' || l.unit AS detail
    FROM (SELECT DISTINCT ON (account_id, unit) account_id, unit, transfer_id FROM ledger_leg
      WHERE created_at >= ${since}::text::timestamptz) l
    LEFT JOIN ledger_account a ON a.id = l.account_id
    WHERE a.unit IS DISTINCT FROM l.unit LIMIT ${ROWS_MAX}`;
}

/** `bucketOf` of core/ids.ts. */
const BUCKET = `(get_byte(uuid_send(account_id), 15) % ${BUCKETS})::smallint`;

/** Moves the mark on to its horizon, and what lies between into the sums. */
export async function addVerified(tx: Tx, mark: Mark): Promise<void> {
  await tx`INSERT INTO ledger_verified AS v (bucket, account_id, unit, balance)
    SELECT ${tx.unsafe(BUCKET)}, account_id, unit, sum(signed) FROM ledger_leg
    WHERE created_at >= ${mark.upTo}::text::timestamptz AND created_at < ${mark.horizon}::text::timestamptz
    GROUP BY account_id, unit
    ON CONFLICT (account_id, unit, bucket) DO UPDATE SET balance = v.balance + EXCLUDED.balance`;
  await tx`UPDATE ledger_verified_mark SET up_to = greatest(up_to, ${mark.horizon}::text::timestamptz) WHERE id = 1`;
}

/** Says that everything was looked at so long ago. */
export async function postponeFull(tx: Tx, agoMs: number): Promise<void> {
  await tx`UPDATE ledger_verified_mark SET full_at = now() - ${agoMs} * interval '1 millisecond' WHERE id = 1`;
}

/** Adds everything up anew. Two that do so at once for the first time meet at the mark's key. */
export async function rebuildVerified(tx: Tx, { settledAfterMs }: { settledAfterMs: number }): Promise<void> {
  const horizon = tx`now() - ${settledAfterMs} * interval '1 millisecond'`;
  await tx`INSERT INTO ledger_verified_mark (id, up_to, full_at) VALUES (1, ${horizon}, now())
    ON CONFLICT (id) DO UPDATE SET up_to = EXCLUDED.up_to, full_at = EXCLUDED.full_at`;
  await tx`DELETE FROM ledger_verified`;
  await tx`INSERT INTO ledger_verified (bucket, account_id, unit, balance)
    SELECT ${tx.unsafe(BUCKET)}, account_id, unit, sum(signed) FROM ledger_leg
    WHERE created_at < ${horizon} GROUP BY account_id, unit`;
}
