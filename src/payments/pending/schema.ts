import { index, pgTable, primaryKey, smallint, uuid } from 'drizzle-orm/pg-core';
import { bytea, time } from '../../db/columns.ts';

/** What a challenge was for, sealed, where the payment may come before the request is sent again. */
export const paymentPending = pgTable(
  'payment_pending',
  {
    bucket: smallint('bucket').notNull(),
    /** Derived from the hash of the quote's secret id. */
    id: uuid('id').notNull(),
    sealed: bytea('sealed').notNull(),
    expiresAt: time('expires_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    index('payment_pending_expiry').on(table.expiresAt),
  ],
);
