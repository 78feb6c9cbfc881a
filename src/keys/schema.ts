import { sql } from 'drizzle-orm';
import {
  check,
  index,
  integer,
  pgTable,
  primaryKey,
  smallint,
  text,
  unique,
  uuid,
} from 'drizzle-orm/pg-core';
import { bytea, time } from '../db/columns.ts';

/** A bearer key by the SHA-256 of its text; the text itself is nowhere. */
export const apiKey = pgTable(
  'api_key',
  {
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    hash: bytea('hash').notNull(),
    /** The payer account it spends. */
    accountId: uuid('account_id').notNull(),
    /** The publisher it may publish for. */
    publisherId: uuid('publisher_id'),
    /** The key it is a child of. */
    parentId: uuid('parent_id'),
    scopes: text('scopes').array().notNull(),
    label: text('label'),
    createdAt: time('created_at').notNull().defaultNow(),
    expiresAt: time('expires_at'),
    revokedAt: time('revoked_at'),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    unique('api_key_hash').on(table.hash),
    index('api_key_account').on(table.accountId, table.createdAt),
    check('api_key_hash_length', sql`octet_length(${table.hash}) = 32`),
    check('api_key_scoped', sql`cardinality(${table.scopes}) > 0`),
  ],
);

/** How much of a fixed window is used up, for limits that all gateways share. */
export const rateWindow = pgTable(
  'rate_window',
  {
    name: text('name').notNull(),
    startsAt: time('starts_at').notNull(),
    count: integer('count').notNull(),
  },
  (table) => [primaryKey({ columns: [table.name, table.startsAt] })],
);
