import { sql } from 'drizzle-orm';
import { check, numeric, pgTable, primaryKey, smallint, text, uuid } from 'drizzle-orm/pg-core';
import { time } from '../../db/columns.ts';

/** What the entries before the mark come to, account by account: what has been added up is not added up again. */
export const ledgerVerified = pgTable(
  'ledger_verified',
  {
    bucket: smallint('bucket').notNull(),
    accountId: uuid('account_id').notNull(),
    unit: text('unit').notNull(),
    /** Credits less debits; numeric, as sums of all time outgrow an int8. */
    balance: numeric('balance', { precision: 78, scale: 0 }).notNull(),
  },
  (table) => [primaryKey({ columns: [table.accountId, table.unit, table.bucket] })],
);

/** The one row that says how far the entries are added up. Whoever checks holds it locked. */
export const ledgerVerifiedMark = pgTable(
  'ledger_verified_mark',
  {
    id: smallint('id').primaryKey(),
    /** Entries from before this time are in `ledger_verified`. */
    upTo: time('up_to').notNull(),
    /** When all of them were last added up anew. */
    fullAt: time('full_at').notNull(),
  },
  (table) => [check('ledger_verified_mark_one', sql`${table.id} = 1`)],
);
