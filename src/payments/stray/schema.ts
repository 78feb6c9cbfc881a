import { pgTable, text } from 'drizzle-orm/pg-core';
import { int8, time } from '../../db/columns.ts';

/** How far each source of strays was looked through. */
export const paymentStrayCursor = pgTable('payment_stray_cursor', {
  source: text('source').primaryKey(),
  cursor: int8('cursor').notNull(),
  savedAt: time('saved_at').notNull().defaultNow(),
});
