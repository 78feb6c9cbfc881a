import { sql } from 'drizzle-orm';
import { check, index, pgTable, primaryKey, smallint, text, uniqueIndex } from 'drizzle-orm/pg-core';
import { bytea, int8, time } from '../db/columns.ts';

/** The next nonce of each wallet we write with; its row lock is the queue of the wallet's writers. */
export const chainWallet = pgTable(
  'chain_wallet',
  {
    chainId: int8('chain_id').notNull(),
    address: text('address').notNull(),
    nextNonce: int8('next_nonce').notNull(),
  },
  (table) => [primaryKey({ columns: [table.chainId, table.address] })],
);

/**
 * Every transaction we ever signed, stored before it was first broadcast. `bucket` follows from chain and
 * wallet, so a wallet's rows share a shard and both uniques hold there.
 */
export const chainTransaction = pgTable(
  'chain_transaction',
  {
    bucket: smallint('bucket').notNull(),
    chainId: int8('chain_id').notNull(),
    wallet: text('wallet').notNull(),
    nonce: int8('nonce').notNull(),
    /** What it is for, in the words of whoever sends it: one transaction for each. */
    ref: text('ref').notNull(),
    /** Of what was signed last, with the highest fees; any of the earlier ones can still be mined instead. */
    hash: text('hash').notNull(),
    raw: bytea('raw').notNull(),
    /** What the same nonce was signed as before, with lower fees. */
    earlierHashes: text('earlier_hashes').array().notNull().default(sql`'{}'::text[]`),
    /** When `raw` was signed: a transaction that waits long is signed anew with higher fees. */
    signedAt: time('signed_at').notNull().defaultNow(),
    /** `dropped`: its nonce went to a transaction that is not ours, so it can never be mined. */
    state: text('state', { enum: ['signed', 'mined', 'reverted', 'dropped'] }).notNull(),
    gasUsed: int8('gas_used'),
    effectiveGasPrice: int8('effective_gas_price'),
    /** What a rollup adds for posting it to its parent chain, wei. */
    parentFee: int8('parent_fee'),
    blockNumber: int8('block_number'),
    blockHash: text('block_hash'),
    createdAt: time('created_at').notNull().defaultNow(),
    minedAt: time('mined_at'),
  },
  (table) => [
    primaryKey({ columns: [table.bucket, table.chainId, table.wallet, table.nonce] }),
    uniqueIndex('chain_transaction_ref')
      .on(table.bucket, table.chainId, table.wallet, table.ref)
      .where(sql`${table.state} <> 'dropped'`),
    index('chain_transaction_open')
      .on(table.chainId, table.wallet, table.nonce)
      .where(sql`${table.state} = 'signed'`),
    index('chain_transaction_reverted')
      .on(table.chainId, table.wallet, table.minedAt)
      .where(sql`${table.state} = 'reverted'`),
    check(
      'chain_transaction_receipt',
      sql`(${table.state} IN ('mined', 'reverted')) = (${table.blockNumber} IS NOT NULL)`,
    ),
  ],
);
