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
import { bytea, int8, time } from '../../db/columns.ts';

/**
 * The last sequence number of one tool on one lane. A row lock on it is what keeps `seq` gapless. Where charges are
 * cut by shard a lane has only receipts of one shard, whose number is its bucket; else that is 0.
 */
export const receiptLane = pgTable(
  'receipt_lane',
  {
    bucket: smallint('bucket').notNull().default(0),
    toolId: uuid('tool_id').notNull(),
    lane: text('lane').notNull(),
    lastSeq: int8('last_seq').notNull(),
  },
  (table) => [primaryKey({ columns: [table.toolId, table.lane, table.bucket] })],
);

/**
 * One paid and delivered call. Its id is the id of the call and of the hold, its bucket that of its payer.
 * Partitioned by hash of the bucket. A number is unique in its bucket here, and over all of them in the receipts
 * log, which takes each once.
 */
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
    unique('receipt_seq').on(table.toolId, table.lane, table.seq, table.bucket),
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
    /** As its lane's. */
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    leafCount: integer('leaf_count').notNull(),
    receiptIds: uuid('receipt_ids').array().notNull(),
    /** Where each receipt is, so that it is looked for in one partition; null in batches sealed before there were any. */
    receiptBuckets: smallint('receipt_buckets').array(),
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

/**
 * Runs of receipts that wait to be logged: one version of one tool with following numbers on one lane. Written with the
 * seal of their batch, which fixes what the log will say of each, or with a receipt that a credential paid, where the
 * log does that first.
 */
export const receiptUnlogged = pgTable(
  'receipt_unlogged',
  {
    /** As its lane's. */
    bucket: smallint('bucket').notNull(),
    toolId: uuid('tool_id').notNull(),
    versionId: uuid('version_id').notNull(),
    lane: text('lane').notNull(),
    /** Of the first. */
    seq: int8('seq').notNull(),
    receiptCount: integer('receipt_count').notNull(),
    /** 16 bytes for each, one after another. */
    salts: bytea('salts'),
    /** SHA-256 of salt and canonical payload of each. */
    commitments: bytea('commitments'),
    iss: text('iss'),
    logOrigin: text('log_origin'),
  },
  (table) => [
    primaryKey({ columns: [table.toolId, table.lane, table.seq, table.bucket] }),
    check(
      'receipt_unlogged_fixed',
      sql`${table.receiptCount} > 0 AND num_nulls(${table.salts}, ${table.commitments}, ${table.iss}, ${table.logOrigin}) IN (0, 4)
        AND octet_length(${table.salts}) = 16 * ${table.receiptCount} AND octet_length(${table.commitments}) = 32 * ${table.receiptCount}
        AND (${table.salts} IS NOT NULL OR ${table.receiptCount} = 1)`,
    ),
  ],
);

/** How far a lane is logged: its receipts enter the log in the order of `seq`, so that a gap there is a proof. */
export const receiptLaneLogged = pgTable(
  'receipt_lane_logged',
  {
    toolId: uuid('tool_id').notNull(),
    lane: text('lane').notNull(),
    loggedSeq: int8('logged_seq').notNull(),
  },
  (table) => [primaryKey({ columns: [table.toolId, table.lane] })],
);

/** What opens the commitments of a run of receipts, which stand in the receipts log one after another. */
export const receiptCommitment = pgTable(
  'receipt_commitment',
  {
    /** As its lane's. */
    bucket: smallint('bucket').notNull(),
    toolId: uuid('tool_id').notNull(),
    lane: text('lane').notNull(),
    /** Number and index of the first. */
    seq: int8('seq').notNull(),
    leafIndex: int8('leaf_index').notNull(),
    receiptCount: integer('receipt_count').notNull(),
    /** 16 bytes for each, one after another. */
    salts: bytea('salts').notNull(),
    /** The issuer and the version log that the committed payloads name, whatever the configuration says today. */
    iss: text('iss').notNull(),
    logOrigin: text('log_origin').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.toolId, table.lane, table.seq, table.bucket] }),
    check(
      'receipt_commitment_salts',
      sql`${table.receiptCount} > 0 AND octet_length(${table.salts}) = 16 * ${table.receiptCount}`,
    ),
  ],
);
