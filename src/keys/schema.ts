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

/**
 * A bearer key by the SHA-256 of its text; the text itself is nowhere. Where Postgres is distributed this is a
 * reference table, and so is `api_key_former`: one text must never be the key of two accounts, which only a
 * unique hash without a bucket says; every charge asks for its key beside the account; and keys are few, and
 * seldom written.
 */
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
    /** Every key above it, the first of the account first. */
    ancestorIds: uuid('ancestor_ids').array().notNull().default(sql`'{}'`),
    /** Those of its line, itself included, that have caps; their counters are the ledger's. */
    capIds: uuid('cap_ids').array().notNull().default(sql`'{}'`),
    /** The servers and tools it may call; null for all. */
    tools: text('tools').array(),
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

/** The hash of a secret that a rotation replaced: kept for good, so that the text never becomes another key. */
export const apiKeyFormer = pgTable(
  'api_key_former',
  {
    hash: bytea('hash').primaryKey(),
    keyId: uuid('key_id').notNull(),
    /** Until then it still works. */
    validUntil: time('valid_until').notNull(),
  },
  (table) => [index('api_key_former_key').on(table.keyId)],
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
