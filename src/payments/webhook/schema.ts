import { index, pgTable, primaryKey, smallint, text } from 'drizzle-orm/pg-core';
import { time } from '../../db/columns.ts';

/** Events a payment provider has told us of, so that each is acted on once however often it is sent. */
export const paymentWebhookEvent = pgTable(
  'payment_webhook_event',
  {
    bucket: smallint('bucket').notNull(),
    /** The provider and its id of the event, for example `stripe:evt_1Nu...`. */
    id: text('id').notNull(),
    type: text('type').notNull(),
    receivedAt: time('received_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    index('payment_webhook_event_age').on(table.receivedAt),
  ],
);
