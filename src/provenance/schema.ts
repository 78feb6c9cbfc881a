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
import { bytea, int8, time } from '../db/columns.ts';

/** One row: how long the version log is. Whoever appends holds it locked, so indexes have no gap. */
export const logState = pgTable(
  'log_state',
  { id: smallint('id').primaryKey(), treeSize: int8('tree_size').notNull() },
  (table) => [check('log_state_single', sql`${table.id} = 1`)],
);

/** The version log: what was published, in order, for good. */
export const logEntry = pgTable(
  'log_entry',
  {
    leafIndex: int8('leaf_index').primaryKey(),
    entry: bytea('entry').notNull(),
    /** SHA-256(0x00 || entry), RFC 6962. */
    leafHash: bytea('leaf_hash').notNull(),
    /** What may happen once only, for example one publication of one version. */
    dedupKey: text('dedup_key').notNull(),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [
    unique('log_entry_dedup_key').on(table.dedupKey),
    check('log_entry_length', sql`octet_length(${table.entry}) BETWEEN 1 AND 65535`),
    check('log_entry_hash_length', sql`octet_length(${table.leafHash}) = 32`),
  ],
);

/** The last sequence number of one tool on one lane. A row lock on it is what keeps `seq` gapless. */
export const receiptLane = pgTable(
  'receipt_lane',
  {
    toolId: uuid('tool_id').notNull(),
    lane: text('lane').notNull(),
    lastSeq: int8('last_seq').notNull(),
  },
  (table) => [primaryKey({ columns: [table.toolId, table.lane] })],
);

/** One paid and delivered call. Its id is the id of the call and of the hold. */
export const receipt = pgTable(
  'receipt',
  {
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    toolId: uuid('tool_id').notNull(),
    versionId: uuid('version_id').notNull(),
    toolName: text('tool_name').notNull(),
    lane: text('lane').notNull(),
    seq: int8('seq').notNull(),
    /** An opaque digest or a CAIP-10 address; never a key or its hash. */
    payer: text('payer').notNull(),
    price: int8('price').notNull(),
    fee: int8('fee').notNull(),
    rail: text('rail').notNull(),
    paymentRef: text('payment_ref').notNull(),
    requestHash: bytea('request_hash').notNull(),
    responseHash: bytea('response_hash').notNull(),
    /** The commit batch it was charged in; none for a call a credential paid, which is signed by itself. */
    batchId: uuid('batch_id'),
    issuedAt: time('issued_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    unique('receipt_seq').on(table.toolId, table.lane, table.seq),
    check('receipt_seq_positive', sql`${table.seq} > 0`),
    check('receipt_price', sql`${table.price} > 0 AND ${table.fee} >= 0 AND ${table.fee} <= ${table.price}`),
    check(
      'receipt_hash_length',
      sql`octet_length(${table.requestHash}) = 32 AND octet_length(${table.responseHash}) = 32`,
    ),
  ],
);

/**
 * The receipts of one commit batch, in leaf order. The row is written with them and sealed once, later:
 * an unsealed row is the work a crash left.
 */
export const receiptBatch = pgTable(
  'receipt_batch',
  {
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    leafCount: integer('leaf_count').notNull(),
    receiptIds: uuid('receipt_ids').array().notNull(),
    openedAt: time('opened_at').notNull().defaultNow(),
    /** The leaf hashes one after another, so that a path needs no receipt but its own. */
    leafHashes: bytea('leaf_hashes'),
    root: bytea('root'),
    jws: text('jws'),
    signedAt: time('signed_at'),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    index('receipt_batch_open').on(table.openedAt).where(sql`${table.signedAt} IS NULL`),
    check(
      'receipt_batch_leaves',
      sql`${table.leafCount} > 0 AND ${table.leafCount} = cardinality(${table.receiptIds})`,
    ),
    check(
      'receipt_batch_sealed',
      sql`num_nulls(${table.leafHashes}, ${table.root}, ${table.jws}, ${table.signedAt}) IN (0, 4)`,
    ),
  ],
);
