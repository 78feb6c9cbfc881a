import { sql } from 'drizzle-orm';
import {
  bigint,
  check,
  customType,
  index,
  pgTable,
  primaryKey,
  smallint,
  text,
  timestamp,
  uniqueIndex,
} from 'drizzle-orm/pg-core';

const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' });
const time = (name: string) => timestamp(name, { withTimezone: true });
const integer = (name: string) => bigint(name, { mode: 'bigint' });

/** The next nonce of each wallet we write with; its row lock is the queue of the wallet's writers. */
export const chainWallet = pgTable(
  'chain_wallet',
  {
    chainId: integer('chain_id').notNull(),
    address: text('address').notNull(),
    nextNonce: integer('next_nonce').notNull(),
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
    chainId: integer('chain_id').notNull(),
    wallet: text('wallet').notNull(),
    nonce: integer('nonce').notNull(),
    /** What it is for, in the words of whoever sends it: one transaction for each. */
    ref: text('ref').notNull(),
    hash: text('hash').notNull(),
    raw: bytea('raw').notNull(),
    /** `dropped`: its nonce went to a transaction that is not ours, so it can never be mined. */
    state: text('state', { enum: ['signed', 'mined', 'reverted', 'dropped'] }).notNull(),
    gasUsed: integer('gas_used'),
    effectiveGasPrice: integer('effective_gas_price'),
    /** What a rollup adds for posting it to its parent chain, wei. */
    parentFee: integer('parent_fee'),
    blockNumber: integer('block_number'),
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
    check(
      'chain_transaction_receipt',
      sql`(${table.state} IN ('mined', 'reverted')) = (${table.blockNumber} IS NOT NULL)`,
    ),
  ],
);
