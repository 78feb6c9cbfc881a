import { doublePrecision, pgTable, text } from 'drizzle-orm/pg-core';
import { time } from '../db/columns.ts';

/** Token buckets that all gateways share: what is left of one limit, as of `updatedAt`. */
export const rateBucket = pgTable('rate_bucket', {
  name: text('name').primaryKey(),
  tokens: doublePrecision('tokens').notNull(),
  updatedAt: time('updated_at').notNull(),
});
