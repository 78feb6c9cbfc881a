import { sql } from 'drizzle-orm';
import { check, index, json, pgTable, smallint, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core';
import { bytea, int8, time } from '../../db/columns.ts';

/** One root on its way to one contract; the transaction itself is stored by `chain/` under the job's id. */
export const anchorJob = pgTable(
  'anchor_job',
  {
    id: uuid('id').primaryKey(),
    log: smallint('log').notNull(),
    chainId: int8('chain_id').notNull(),
    /** Lower case hex. */
    contract: text('contract').notNull(),
    /** What the contract held when this was planned. */
    prevSize: int8('prev_size').notNull(),
    treeSize: int8('tree_size').notNull(),
    root: bytea('root').notNull(),
    /** `superseded`: it can never be mined, or did nothing, and another was planned. */
    state: text('state', { enum: ['planned', 'sent', 'mined', 'final', 'superseded'] }).notNull(),
    txHash: text('tx_hash'),
    blockNumber: int8('block_number'),
    blockHash: text('block_hash'),
    /** Unix seconds of the block, as the contract recorded them. */
    blockTime: int8('block_time'),
    anchorIndex: int8('anchor_index'),
    gasUsed: int8('gas_used'),
    /** RLP of the block whose state the proofs are of; captured once it is final. */
    header: bytea('header'),
    /** `{blockNumber, blockHash, account: hex[], storage: {key, value, proof: hex[]}[]}` (EIP-1186). */
    proof: json('proof'),
    createdAt: time('created_at').notNull().defaultNow(),
    updatedAt: time('updated_at').notNull().defaultNow(),
  },
  (table) => [
    // Of two gateways that plan at once, one does.
    uniqueIndex('anchor_job_open')
      .on(table.log, table.chainId, table.contract)
      .where(sql`${table.state} IN ('planned', 'sent', 'mined')`),
    index('anchor_job_final').on(table.log, table.treeSize).where(sql`${table.state} = 'final'`),
    check('anchor_job_grows', sql`${table.prevSize} >= 0 AND ${table.treeSize} > ${table.prevSize}`),
    check('anchor_job_root', sql`octet_length(${table.root}) = 32`),
    check(
      'anchor_job_mined',
      sql`(${table.state} IN ('mined', 'final')) <= (num_nulls(${table.txHash}, ${table.blockNumber}, ${table.blockHash}, ${table.anchorIndex}) = 0)`,
    ),
  ],
);
