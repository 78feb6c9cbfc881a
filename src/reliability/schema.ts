import { index, pgTable, primaryKey, smallint, text, uuid } from 'drizzle-orm/pg-core';
import { int8, time } from '../db/columns.ts';

/** Calls that cost their caller nothing because the tool did not deliver. */
export const toolFailure = pgTable(
  'tool_failure',
  {
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    toolId: uuid('tool_id').notNull(),
    payer: text('payer').notNull(),
    reason: text('reason').notNull(),
    /** How many calls of the tool had been sold by then: what lies between two failures was delivered. */
    soldBefore: int8('sold_before').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    index('tool_failure_tool').on(table.toolId, table.createdAt),
    index('tool_failure_payer').on(table.payer, table.toolId, table.createdAt),
  ],
);
