import { bucketOf, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import type { Queryable, Sql, Tx } from '../db/index.ts';
import { type Account, isPayerAccount } from './account.ts';
import type { ledgerHold } from './schema.ts';
import type { Transfer } from './transfer.ts';

export type HoldRow = typeof ledgerHold.$inferSelect;

/** Opens accounts that may be open already. */
export async function insertAccounts(tx: Queryable, accounts: readonly Account[]): Promise<void> {
  const rows = accounts.map(({ id, name, unit }) => ({ id, name, unit }));
  await tx`INSERT INTO ledger_account ${tx(rows)} ON CONFLICT DO NOTHING`;
}

export async function insertPayer(tx: Tx, accountId: Uuid): Promise<void> {
  await tx`INSERT INTO ledger_payer (bucket, id, balance, held, promo)
    VALUES (${bucketOf(accountId)}, ${accountId}, 0, 0, 0) ON CONFLICT DO NOTHING`;
}

export type PayerRow = { balance: bigint; held: bigint; promo: bigint };

export async function findPayer(sql: Queryable, accountId: Uuid): Promise<PayerRow | undefined> {
  const [row] = await sql<PayerRow[]>`SELECT balance, held, promo FROM ledger_payer WHERE id = ${accountId}`;
  return row;
}

/** The payer's row, locked until the transaction ends; every change of its holds takes this lock first. */
export async function lockPayer(tx: Tx, accountId: Uuid): Promise<PayerRow> {
  const [row] = await tx<PayerRow[]>`SELECT balance, held, promo FROM ledger_payer
    WHERE id = ${accountId} FOR UPDATE`;
  invariant(row, `payer account ${accountId} is not open`);
  return row;
}

export async function updatePayer(tx: Tx, accountId: Uuid, row: PayerRow): Promise<void> {
  await tx`UPDATE ledger_payer SET balance = ${row.balance}, held = ${row.held}, promo = ${row.promo}
    WHERE id = ${accountId}`;
}

export async function insertEntries(tx: Tx, transfer: Transfer): Promise<void> {
  const bucket = bucketOf(findPayerOf(transfer) ?? transfer.id);
  for (const [leg, entry] of transfer.entries.entries()) {
    const availableAt = spellAvailable(tx, entry.availableAfterMs ?? 0);
    await tx`INSERT INTO ledger_entry (bucket, transfer_id, leg, kind, debit_id, credit_id, unit, amount, fee, available_at)
      VALUES (${bucket}, ${transfer.id}, ${leg}, ${entry.kind}, ${entry.debit.id}, ${entry.credit.id}, ${entry.debit.unit},
        ${entry.amount}, ${entry.fee ?? 0n}, ${availableAt})`;
  }
}

/** By the clock of the database, the only one that all gateways share. */
function spellAvailable(tx: Tx, afterMs: number | 'infinity') {
  if (afterMs === 'infinity') return tx`'infinity'`;
  return afterMs === 0 ? tx`now()` : tx`now() + ${afterMs} * interval '1 millisecond'`;
}

/** The payer whose balance a transfer moves, when there is one: its entries are in the bucket of that account. */
function findPayerOf({ entries }: Transfer): Uuid | undefined {
  const accounts = entries.flatMap(({ debit, credit }) => [debit, credit]);
  return accounts.find(isPayerAccount)?.id;
}

/** What these transfers credited to an account, less what they debited. */
export async function sumCredited(
  tx: Tx,
  input: { accountId: Uuid; transferIds: readonly Uuid[] },
): Promise<bigint> {
  const { accountId, transferIds } = input;
  const [row] = await tx<{ credited: bigint }[]>`
    SELECT coalesce(sum(signed), 0)::bigint AS credited FROM ledger_leg
    WHERE transfer_id = ANY(${transferIds as Uuid[]}::uuid[]) AND account_id = ${accountId}`;
  return row?.credited ?? 0n;
}

/** False when this arrival was booked before. */
export async function insertExternal(
  tx: Tx,
  rail: string,
  reference: string,
  transferId: Uuid,
): Promise<boolean> {
  const rows = await tx`INSERT INTO ledger_external (rail, external_ref, transfer_id)
    VALUES (${rail}, ${reference}, ${transferId}) ON CONFLICT DO NOTHING RETURNING rail`;
  return rows.length === 1;
}

export async function insertHold(
  tx: Tx,
  hold: Omit<HoldRow, 'createdAt' | 'closedAt' | 'bucket' | 'expiresAt'> & { lifetimeMs: number },
): Promise<void> {
  const { id, accountId, keyId, payeeId, subject, label, amount, fee, lifetimeMs } = hold;
  await tx`INSERT INTO ledger_hold (id, bucket, account_id, key_id, payee_id, subject, label, amount, fee, backing,
      state, cap_ids, cap_hour, expires_at)
    VALUES (${id}, ${bucketOf(accountId)}, ${accountId}, ${keyId}, ${payeeId}, ${subject}, ${label}, ${amount}, ${fee},
      ${hold.backing}, ${hold.state}, ${hold.capIds}, ${hold.capHour}, now() + ${lifetimeMs}::int8 * interval '1 millisecond')`;
}

export async function lockHold(tx: Tx, id: Uuid): Promise<HoldRow | undefined> {
  const [row] = await tx<HoldRow[]>`SELECT * FROM ledger_hold WHERE id = ${id} FOR UPDATE`;
  return row;
}

export async function findHold(sql: Queryable, id: Uuid): Promise<HoldRow | undefined> {
  const [row] = await sql<HoldRow[]>`SELECT * FROM ledger_hold WHERE id = ${id}`;
  return row;
}

export async function closeHold(tx: Tx, id: Uuid, state: 'captured' | 'released' | 'expired'): Promise<void> {
  await tx`UPDATE ledger_hold SET state = ${state}, closed_at = now() WHERE id = ${id} AND state = 'held'`;
}

/** Removes a hold that was given back before its call began. */
export async function deleteHold(tx: Tx, id: Uuid): Promise<void> {
  await tx`DELETE FROM ledger_hold WHERE id = ${id} AND state = 'released'`;
}

/** Open balance holds past their time; the row of a claim is closed by the claim's own reconciler. */
export async function listDueHolds(sql: Sql, rowsMax: number): Promise<{ id: Uuid; accountId: Uuid }[]> {
  return sql<{ id: Uuid; accountId: Uuid }[]>`SELECT id, account_id FROM ledger_hold
    WHERE state = 'held' AND backing = 'balance' AND expires_at < now() ORDER BY expires_at LIMIT ${rowsMax}`;
}

/** Where a page of calls ended: the time as the database spells it, which is finer than a Date. */
export type CallPosition = { createdAt: string; id: Uuid };
export type CallRow = HoldRow & { position: string };

export type CallsInput = {
  accountId: Uuid;
  /** Only what these keys called. */
  keyIds?: readonly Uuid[] | undefined;
  after: CallPosition | undefined;
  rowsMax: number;
};

/** A payer's calls, newest first, those after `after`. */
export async function listHolds(sql: Sql, input: CallsInput): Promise<CallRow[]> {
  const { accountId, keyIds, after } = input;
  return sql<CallRow[]>`SELECT *, created_at::text AS position FROM ledger_hold
    WHERE account_id = ${accountId}
      ${keyIds ? sql`AND key_id = ANY(${keyIds as Uuid[]}::uuid[])` : sql``}
      ${after ? sql`AND (created_at, id) < (${after.createdAt}::text::timestamptz, ${after.id}::uuid)` : sql``}
    ORDER BY created_at DESC, id DESC LIMIT ${input.rowsMax}`;
}

/** What a publisher has earned, less what was paid out: summed from the journal. */
export async function sumPublisher(
  sql: Sql,
  publisherId: Uuid,
): Promise<{ earned: bigint; available: bigint }> {
  const [row] = await sql<{ earned: bigint; available: bigint }[]>`
    SELECT coalesce(sum(amount), 0)::bigint AS earned,
      coalesce(sum(amount) FILTER (WHERE available_at <= now()), 0)::bigint AS available
    FROM ledger_entry WHERE credit_id = ${publisherId} AND kind = 'share'`;
  return row ?? { earned: 0n, available: 0n };
}
