import { sql } from 'drizzle-orm';
import {
  check,
  index,
  numeric,
  pgTable,
  primaryKey,
  smallint,
  text,
  unique,
  uuid,
} from 'drizzle-orm/pg-core';
import { int8, time } from '../db/columns.ts';

/**
 * Every account by its name in the chart of MONEY.md; one unit each. Small, written when one opens and not by
 * charges: a reference table where Postgres is distributed.
 */
export const ledgerAccount = pgTable('ledger_account', {
  id: uuid('id').primaryKey(),
  name: text('name').notNull().unique(),
  unit: text('unit').notNull(),
  createdAt: time('created_at').notNull().defaultNow(),
});

/**
 * The stored balance of an `L.payer` account, in millicents; proven from the entries by the check. Its bucket is
 * `bucketOf` its id, and that of all a charge of it writes: holds, entries, receipts, caps and allowances.
 */
export const ledgerPayer = pgTable(
  'ledger_payer',
  {
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    balance: int8('balance').notNull(),
    held: int8('held').notNull(),
    /** How much of the balance was given away and so never becomes a payout. */
    promo: int8('promo').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    check('ledger_payer_covers_holds', sql`${table.held} >= 0 AND ${table.balance} >= ${table.held}`),
    check('ledger_payer_promo', sql`${table.promo} >= 0`),
  ],
);

/**
 * One call's money from the moment it is set aside. Its id is the id of the call and of the receipt, its bucket
 * that of its payer.
 */
export const ledgerHold = pgTable(
  'ledger_hold',
  {
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    accountId: uuid('account_id').notNull(),
    keyId: uuid('key_id'),
    payeeId: uuid('payee_id').notNull(),
    /** What is paid for: the version's id, or none for a tool of the gateway itself. */
    subject: uuid('subject'),
    label: text('label').notNull(),
    amount: int8('amount').notNull(),
    fee: int8('fee').notNull(),
    backing: text('backing', { enum: ['balance', 'exposure'] }).notNull(),
    state: text('state', { enum: ['held', 'captured', 'released', 'expired'] }).notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
    expiresAt: time('expires_at').notNull(),
    closedAt: time('closed_at'),
    /** The caps it counts against, in order, and the hour (UTC) it counts in. */
    capIds: uuid('cap_ids').array(),
    capHour: time('cap_hour'),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    index('ledger_hold_account').on(table.accountId, table.createdAt),
    index('ledger_hold_due').on(table.expiresAt).where(sql`${table.state} = 'held'`),
    index('ledger_hold_let_go').on(table.closedAt).where(sql`${table.state} IN ('released', 'expired')`),
    index('ledger_hold_age').using('brin', table.createdAt),
    check('ledger_hold_fee', sql`${table.fee} >= 0 AND ${table.amount} >= ${table.fee}`),
  ],
);

/**
 * The journal. One row is two legs of the same amount in the same unit, or the three legs of a capture, so every
 * row, and with it every transfer, sums to zero by its shape; the view `ledger_leg` lists the legs with their
 * signs. A partition is a month (UTC) of `created_at`, see `ensureEntryPartitions`; the default one catches what
 * none was made for.
 */
export const ledgerEntry = pgTable(
  'ledger_entry',
  {
    /** Of the payer the transfer belongs to; where there is none, of the transfer's id. */
    bucket: smallint('bucket').notNull(),
    transferId: uuid('transfer_id').notNull(),
    leg: smallint('leg').notNull(),
    kind: text('kind', {
      enum: ['fund', 'share', 'fee', 'promo', 'cost', 'refund', 'loss', 'fx'],
    }).notNull(),
    debitId: uuid('debit_id').notNull(),
    creditId: uuid('credit_id').notNull(),
    unit: text('unit').notNull(),
    /** What the credited account gets. */
    amount: int8('amount').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
    /** When a publisher may withdraw it; `infinity` for what promotion paid. */
    availableAt: time('available_at').notNull().defaultNow(),
    /** What the debited account pays beside the amount, to `I.fee`. Captures before it was here have a row for that. */
    fee: int8('fee').notNull().default(sql`0`),
  },
  (table) => [
    primaryKey({ columns: [table.transferId, table.leg, table.createdAt, table.bucket] }),
    index('ledger_entry_share').on(table.creditId, table.createdAt).where(sql`${table.kind} = 'share'`),
    index('ledger_entry_age').using('brin', table.createdAt),
    check('ledger_entry_positive', sql`${table.amount} > 0`),
    check('ledger_entry_two_accounts', sql`${table.debitId} <> ${table.creditId}`),
    check('ledger_entry_fee', sql`${table.fee} >= 0 AND (${table.fee} = 0 OR ${table.kind} = 'share')`),
  ],
);

/** What arrived from outside, once each: `(rail, external_ref)` is why a settlement is never booked twice. */
export const ledgerExternal = pgTable(
  'ledger_external',
  {
    rail: text('rail').notNull(),
    externalRef: text('external_ref').notNull(),
    transferId: uuid('transfer_id').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.rail, table.externalRef] })],
);

/**
 * The operator's own money on a rail: what was there before the books began, and what was moved by hand. A memo
 * beside the books, and numeric, as a wallet's wei outgrow an int8.
 */
export const ledgerFloat = pgTable(
  'ledger_float',
  {
    account: text('account').notNull(),
    /** Says what it was, once each: `opening`, or the operator's own word. */
    name: text('name').notNull(),
    unit: text('unit').notNull(),
    units: numeric('units', { precision: 78, scale: 0 }).notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.account, table.name] })],
);

/** Money promised to us that has not arrived: a memo beside the books, never an entry. */
export const ledgerExposure = pgTable(
  'ledger_exposure',
  {
    bucket: smallint('bucket').notNull(),
    /** The claim it belongs to, which is also the id of the hold it backs. */
    id: uuid('id').notNull(),
    rail: text('rail').notNull(),
    payer: text('payer').notNull(),
    payeeId: uuid('payee_id').notNull(),
    unit: text('unit').notNull(),
    units: int8('units').notNull(),
    amount: int8('amount').notNull(),
    state: text('state', { enum: ['authorised', 'settling', 'unknown', 'void', 'posted'] }).notNull(),
    /** The work was delivered to nobody because the money did not come. */
    isLoss: smallint('is_loss').notNull().default(0),
    createdAt: time('created_at').notNull().defaultNow(),
    updatedAt: time('updated_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    index('ledger_exposure_of_payer').on(table.payer, table.unit, table.createdAt),
    index('ledger_exposure_loss').on(table.updatedAt).where(sql`${table.isLoss} = 1`),
    index('ledger_exposure_closed').on(table.updatedAt).where(sql`${table.state} IN ('void', 'posted')`),
  ],
);

/** One row a payer, locked while its exposure is summed, so that two claims at once cannot both fit. */
export const ledgerExposurePayer = pgTable(
  'ledger_exposure_payer',
  {
    payer: text('payer').notNull(),
    unit: text('unit').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [unique('ledger_exposure_payer_key').on(table.payer, table.unit)],
);
