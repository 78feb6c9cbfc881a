import { sql } from 'drizzle-orm';
import { check, pgTable, primaryKey, smallint, uuid } from 'drizzle-orm/pg-core';
import { int8, time } from '../../db/columns.ts';

/**
 * What one spender may take out of an account, and how much of it is used, in millicents. Whoever changes a
 * row holds the lock of its account; the checks are a net below that.
 */
export const ledgerCap = pgTable(
  'ledger_cap',
  {
    /** Of the account. */
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    perCall: int8('per_call'),
    perHour: int8('per_hour'),
    total: int8('total'),
    /** The hour (UTC) that `hourSpent` counts; earlier hours are over and count no more. */
    hourStart: time('hour_start').notNull(),
    /** Held or taken in that hour. */
    hourSpent: int8('hour_spent').notNull(),
    /** Taken, ever. */
    spent: int8('spent').notNull(),
    /** Set aside for calls that run. */
    held: int8('held').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    check('ledger_cap_used', sql`${table.hourSpent} >= 0 AND ${table.spent} >= 0 AND ${table.held} >= 0`),
    check('ledger_cap_hour', sql`${table.hourSpent} <= ${table.perHour}`),
    check('ledger_cap_total', sql`${table.spent} + ${table.held} <= ${table.total}`),
  ],
);
