import { sql } from 'drizzle-orm';
import {
  bigint,
  check,
  customType,
  index,
  integer,
  pgTable,
  primaryKey,
  text,
  timestamp,
} from 'drizzle-orm/pg-core';

const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' });
const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });

/** Dependencies by what they are: the archive whose SHA-256 is the key. It is there once all its parts are. */
export const catalogLayer = pgTable(
  'catalog_layer',
  {
    sha256: text('sha256').primaryKey(),
    /** Bytes of the archive. */
    size: bigint('size', { mode: 'bigint' }).notNull(),
    createdAt: time('created_at').notNull(),
  },
  (table) => [check('catalog_layer_sha256', sql`${table.sha256} ~ '^[0-9a-f]{64}$'`)],
);

/**
 * The archive in pieces that one statement can carry. They are written before the layer they belong to, each by
 * itself and without a foreign key, so that nobody waits for a transaction with hundreds of megabytes in it.
 */
export const catalogLayerPart = pgTable(
  'catalog_layer_part',
  {
    sha256: text('sha256').notNull(),
    /** From 0 on. */
    number: integer('number').notNull(),
    content: bytea('content').notNull(),
    createdAt: time('created_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.sha256, table.number] }),
    check('catalog_layer_part_size', sql`octet_length(${table.content}) BETWEEN 1 AND 8388608`),
  ],
);

/** What a build was made of, and which layer came of it: the first one, for good. */
export const catalogLayerRecipe = pgTable(
  'catalog_layer_recipe',
  {
    recipeHash: text('recipe_hash').primaryKey(),
    sha256: text('sha256')
      .notNull()
      .references(() => catalogLayer.sha256),
    createdAt: time('created_at').notNull(),
    usedAt: time('used_at').notNull(),
  },
  (table) => [
    index('catalog_layer_recipe_layer').on(table.sha256),
    check('catalog_layer_recipe_hash', sql`${table.recipeHash} ~ '^[0-9a-f]{64}$'`),
  ],
);
