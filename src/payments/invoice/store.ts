import { bucketOf } from '../../core/ids.ts';
import type { Queryable, Sql } from '../../db/index.ts';
import type { InvoiceState } from './invoice.ts';
import type { paymentInvoice } from './schema.ts';

export type InvoiceRow = typeof paymentInvoice.$inferSelect;

export type NewInvoiceRow = Omit<InvoiceRow, 'bucket' | 'state' | 'receivedMsat' | 'createdAt' | 'changedAt'>;

export async function insertInvoice(sql: Queryable, invoice: NewInvoiceRow): Promise<void> {
  const row = { ...invoice, bucket: bucketOf(invoice.paymentHash), state: 'open' };
  await sql`INSERT INTO payment_invoice ${sql(row)}`;
}

export async function findInvoice(sql: Queryable, paymentHash: string): Promise<InvoiceRow | undefined> {
  const [row] = await sql<InvoiceRow[]>`SELECT * FROM payment_invoice
    WHERE payment_hash = ${paymentHash} AND bucket = ${bucketOf(paymentHash)}`;
  return row;
}

export type InvoiceChange = {
  state: InvoiceState;
  receivedMsat: bigint;
  /** The states it may come from. */
  from: readonly InvoiceState[];
  /** How many may be held, this one included; two gateways at once may exceed it by one. */
  heldMax?: number;
};

/** False when the row may not change so. */
export async function updateInvoice(
  sql: Queryable,
  paymentHash: string,
  change: InvoiceChange,
): Promise<boolean> {
  const { state, receivedMsat, from, heldMax } = change;
  // What stays as it is keeps its time: `changed_at` says since when.
  const rows = await sql`UPDATE payment_invoice SET state = ${state}, received_msat = ${receivedMsat},
      changed_at = CASE WHEN state = ${state} THEN changed_at ELSE now() END
    WHERE payment_hash = ${paymentHash} AND bucket = ${bucketOf(paymentHash)} AND state = ANY(${[...from]})
      AND (state = ${state} OR ${heldMax ?? null}::bigint IS NULL
        OR (SELECT count(*) FROM payment_invoice WHERE state = 'held') < ${heldMax ?? null}::bigint)
    RETURNING 1`;
  return rows.length === 1;
}

export async function listOpen(
  sql: Sql,
  page: {
    expiredBefore: Date;
    after?: { expiresAt: Date; paymentHash: string } | undefined;
    rowsMax: number;
  },
): Promise<InvoiceRow[]> {
  const { expiredBefore, after, rowsMax } = page;
  return sql<InvoiceRow[]>`SELECT * FROM payment_invoice
    WHERE state = 'open' AND expires_at < ${expiredBefore}
      AND (expires_at, payment_hash) > (${after?.expiresAt ?? new Date(0)}, ${after?.paymentHash ?? ''})
    ORDER BY expires_at, payment_hash LIMIT ${rowsMax}`;
}

export async function listArrived(
  sql: Sql,
  page: { changedBefore: Date; rowsMax: number },
): Promise<InvoiceRow[]> {
  return sql<InvoiceRow[]>`SELECT * FROM payment_invoice
    WHERE state IN ('held', 'paid') AND changed_at <= ${page.changedBefore}
    ORDER BY changed_at LIMIT ${page.rowsMax}`;
}

export async function findInvoiceCursor(sql: Sql, node: string): Promise<string | undefined> {
  const [row] = await sql<{ cursor: string }[]>`
    SELECT cursor FROM payment_invoice_cursor WHERE node = ${node}`;
  return row?.cursor;
}

export async function saveInvoiceCursor(sql: Sql, node: string, cursor: string): Promise<void> {
  await sql`INSERT INTO payment_invoice_cursor (node, cursor) VALUES (${node}, ${cursor})
    ON CONFLICT (node) DO UPDATE SET cursor = excluded.cursor, saved_at = now()`;
}

export async function deleteUnpaid(
  sql: Sql,
  page: { expiredBefore: Date; rowsMax: number },
): Promise<number> {
  const rows = await sql`DELETE FROM payment_invoice WHERE (payment_hash, bucket) IN (
    SELECT payment_hash, bucket FROM payment_invoice
    WHERE state IN ('cancelled', 'expired') AND expires_at < ${page.expiredBefore}
    LIMIT ${page.rowsMax} FOR UPDATE SKIP LOCKED) RETURNING 1`;
  return rows.length;
}
