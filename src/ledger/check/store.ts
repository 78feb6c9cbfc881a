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

/** Captured holds without exactly their price in entries, and closed or open ones that have entries. */
export async function findWrongCaptures(tx: Tx): Promise<Discrepancy[]> {
  return tx<Discrepancy[]>`
    WITH e AS (SELECT transfer_id, sum(amount) AS amount FROM ledger_entry
      WHERE kind IN ('share', 'fee') GROUP BY transfer_id)
    SELECT 'capture' AS rule, coalesce(h.id, e.transfer_id)::text AS subject,
      'hold ' || coalesce(h.state || ' ' || h.amount, 'missing') || ', entries ' || coalesce(e.amount, 0) AS detail
    FROM ledger_hold h FULL JOIN e ON e.transfer_id = h.id
    WHERE (CASE WHEN h.state = 'captured' THEN h.amount ELSE 0 END) <> coalesce(e.amount, 0) LIMIT ${ROWS_MAX}`;
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
