import { doublePrecision, pgTable, text } from 'drizzle-orm/pg-core';
import { time } from '../db/columns.ts';

/**
 * Token buckets that all gateways share. `tokens` counts seconds of refilling as of `updatedAt`: 0 is a full bucket,
 * less is what is missing.
 */
export const rateBucket = pgTable('rate_bucket', {
  name: text('name').primaryKey(),
  tokens: doublePrecision('tokens').notNull(),
  updatedAt: time('updated_at').notNull(),
});
