import { sql } from 'drizzle-orm';
import { check, integer, pgTable, primaryKey, smallint, text, unique } from 'drizzle-orm/pg-core';
import { bytea, int8, time } from '../../db/columns.ts';

/** A row for each log: how long it is. Whoever appends holds it locked, so indexes have no gap. */
export const logState = pgTable(
  'log_state',
  {
    /** `LOG_IDS`: 1 the versions, 2 the receipts. */
    id: smallint('id').primaryKey(),
    treeSize: int8('tree_size').notNull(),
    /** The root at that size; null until the tiles of a log from before there were tiles are made. */
    root: bytea('root'),
  },
  (table) => [check('log_state_known', sql`${table.id} IN (1, 2)`)],
);

/** What was logged, in order, for good. */
export const logEntry = pgTable(
  'log_entry',
  {
    log: smallint('log').notNull().default(1),
    leafIndex: int8('leaf_index').notNull(),
    entry: bytea('entry').notNull(),
    /** SHA-256(0x00 || entry), RFC 6962. */
    leafHash: bytea('leaf_hash').notNull(),
    /** What may happen once only, for example one publication of one version. */
    dedupKey: text('dedup_key').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.log, table.leafIndex] }),
    unique('log_entry_dedup_key').on(table.dedupKey),
    check('log_entry_length', sql`octet_length(${table.entry}) BETWEEN 1 AND 65535`),
    check('log_entry_hash_length', sql`octet_length(${table.leafHash}) = 32`),
  ],
);

/** The hash tree in tiles of 256 (C2SP tlog-tiles); one that is not full grows in place and is never rewritten. */
export const logTile = pgTable(
  'log_tile',
  {
    log: smallint('log').notNull(),
    level: integer('level').notNull(),
    n: int8('n').notNull(),
    data: bytea('data').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.log, table.level, table.n] }),
    check(
      'log_tile_data',
      sql`octet_length(${table.data}) % 32 = 0 AND octet_length(${table.data}) BETWEEN 32 AND 8192`,
    ),
  ],
);

/** What was signed: one note for each size. */
export const logCheckpoint = pgTable(
  'log_checkpoint',
  {
    log: smallint('log').notNull(),
    treeSize: int8('tree_size').notNull(),
    root: bytea('root').notNull(),
    /** The C2SP signed note with our own signatures, to which cosignatures are added as lines. */
    note: text('note').notNull(),
    signedAt: time('signed_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.log, table.treeSize] }),
    check('log_checkpoint_root', sql`octet_length(${table.root}) = 32`),
  ],
);

/** What witnesses added to a checkpoint, and keys of ours that came later: whole signature lines with line feeds. */
export const logCosignature = pgTable(
  'log_cosignature',
  {
    log: smallint('log').notNull(),
    treeSize: int8('tree_size').notNull(),
    /** The witness's vkey. */
    witness: text('witness').notNull(),
    line: text('line').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.log, table.treeSize, table.witness] })],
);
