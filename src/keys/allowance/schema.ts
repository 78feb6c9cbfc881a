import { sql } from 'drizzle-orm';
import { check, index, integer, pgTable, primaryKey, smallint, text, uuid } from 'drizzle-orm/pg-core';
import { time } from '../../db/columns.ts';

/** How many free calls of one kind an account has had in one period. */
export const freeCounter = pgTable(
  'free_counter',
  {
    bucket: smallint('bucket').notNull(),
    accountId: uuid('account_id').notNull(),
    /** What is counted: a tool, or all free calls of the account together. */
    name: text('name').notNull(),
    /** A day (UTC) as `2026-01-31`, or `ever`. */
    period: text('period').notNull(),
    used: integer('used').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.accountId, table.name, table.period, table.bucket] }),
    check('free_counter_used', sql`${table.used} >= 0`),
  ],
);

/** A free call under way: counted already, and given back when it is not delivered in time. */
export const freeTake = pgTable(
  'free_take',
  {
    /** Of the account, as its counters'. */
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    accountId: uuid('account_id').notNull(),
    name: text('name').notNull(),
    period: text('period').notNull(),
    expiresAt: time('expires_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.name, table.bucket] }),
    index('free_take_counter').on(table.accountId, table.name, table.period),
  ],
);

/** The tier of an account; one that is not here has the first tier. */
export const accountTier = pgTable('account_tier', {
  accountId: uuid('account_id').primaryKey(),
  tier: text('tier').notNull(),
  changedAt: time('changed_at').notNull().defaultNow(),
});
