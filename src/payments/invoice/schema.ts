import { sql } from 'drizzle-orm';
import { boolean, index, pgTable, primaryKey, smallint, text } from 'drizzle-orm/pg-core';
import { bytea, int8, time } from '../../db/columns.ts';

/** One row for each Lightning invoice that a challenge offered: what it is for, and at which rate. */
export const paymentInvoice = pgTable(
  'payment_invoice',
  {
    bucket: smallint('bucket').notNull(),
    paymentHash: text('payment_hash').notNull(),
    /** The hash of the secret id of the quote it was minted for: it pays that one and no other. */
    quoteHash: bytea('quote_hash').notNull(),
    invoice: text('invoice').notNull(),
    /** What it asks for, whole satoshis in millisatoshis. */
    msat: int8('msat').notNull(),
    /** What it pays for, in millicents. */
    price: int8('price').notNull(),
    /** Millicents for one bitcoin, before the spread. */
    rate: int8('rate').notNull(),
    rateSource: text('rate_source').notNull(),
    rateAt: time('rate_at').notNull(),
    /** Basis points asked for on top of the rate. */
    spread: int8('spread').notNull(),
    isHold: boolean('is_hold').notNull(),
    /** Sealed; there is one only where we made it. */
    preimage: bytea('preimage'),
    state: text('state', { enum: ['open', 'held', 'paid', 'settled', 'cancelled', 'expired'] }).notNull(),
    receivedMsat: int8('received_msat').notNull().default(sql`0`),
    expiresAt: time('expires_at').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
    changedAt: time('changed_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.paymentHash, table.bucket] }),
    index('payment_invoice_open').on(table.expiresAt).where(sql`${table.state} = 'open'`),
    index('payment_invoice_arrived').on(table.changedAt).where(sql`${table.state} IN ('held', 'paid')`),
    index('payment_invoice_unpaid')
      .on(table.expiresAt)
      .where(sql`${table.state} IN ('cancelled', 'expired')`),
  ],
);

/** How far what a node tells of its invoices is in the table above. */
export const paymentInvoiceCursor = pgTable('payment_invoice_cursor', {
  node: text('node').primaryKey(),
  cursor: text('cursor').notNull(),
  savedAt: time('saved_at').notNull().defaultNow(),
});
