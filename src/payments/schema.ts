import { sql } from 'drizzle-orm';
import { index, integer, jsonb, pgTable, primaryKey, smallint, text, uuid } from 'drizzle-orm/pg-core';
import { bytea, int8, time } from '../db/columns.ts';

/**
 * The one-time use of a credential or an idempotency key. The id is derived from the rail's own id of the
 * payment, so the primary key is what makes two of the same impossible. Its bucket is of its id and not of its
 * payer: else one payment could be claimed once in every bucket. Partitioned by hash of the bucket.
 */
export const paymentClaim = pgTable(
  'payment_claim',
  {
    bucket: smallint('bucket').notNull(),
    /** Also the id of the hold, the exposure, the transfer and the receipt. */
    id: uuid('id').notNull(),
    claimKey: text('claim_key').notNull(),
    purpose: text('purpose', { enum: ['call', 'signup', 'topup'] }).notNull(),
    /** Null for an idempotency key: then a bearer key pays. */
    rail: text('rail'),
    wire: text('wire'),
    payer: text('payer').notNull(),
    accountId: uuid('account_id').notNull(),
    amount: int8('amount').notNull(),
    requestDigest: text('request_digest').notNull(),
    /** SHA-256 of the quote's secret id: who shows the id again received our challenge. */
    quoteHash: bytea('quote_hash'),
    mode: text('mode', { enum: ['after-run', 'before-run'] }).notNull(),
    state: text('state', { enum: ['running', 'settling', 'delivered', 'failed'] }).notNull(),
    /** Whether the answer reached its client: `lost` is owed to a payer who asks again. */
    answerState: text('answer_state', { enum: ['waiting', 'lost', 'answered'] }).notNull(),
    /** The gateway process at work on it. */
    worker: text('worker').notNull(),
    /** What commit C needs besides the money: see the gateway's `ClaimContext`. */
    context: jsonb('context').notNull(),
    /** The settlement to make, from commit B on (before-run: from commit A). */
    intent: jsonb('intent'),
    /** What a failed call tells its caller; never content. */
    failure: jsonb('failure'),
    reference: text('reference'),
    attempts: integer('attempts').notNull().default(0),
    nextAttemptAt: time('next_attempt_at').notNull().defaultNow(),
    createdAt: time('created_at').notNull().defaultNow(),
    closedAt: time('closed_at'),
    /** When nothing could undo the money any more; null while a chain may still take it back. */
    finalAt: time('final_at'),
    /** The earlier claim whose answer this payment was given. It stays unused, so it is `failed`. */
    attachedTo: uuid('attached_to'),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    index('payment_claim_open').on(table.nextAttemptAt).where(sql`${table.state} IN ('running', 'settling')`),
    index('payment_claim_let_go')
      .on(table.nextAttemptAt)
      .where(sql`${table.state} = 'failed' AND ${table.reference} IS NULL AND ${table.rail} IS NOT NULL`),
    index('payment_claim_not_final')
      .on(table.nextAttemptAt)
      .where(
        sql`${table.state} IN ('delivered', 'failed') AND ${table.reference} IS NOT NULL AND ${table.finalAt} IS NULL AND ${table.rail} IS NOT NULL`,
      ),
    index('payment_claim_waiting').on(table.worker).where(sql`${table.answerState} = 'waiting'`),
    index('payment_claim_owed')
      .on(table.payer, table.requestDigest, table.createdAt)
      .where(sql`${table.answerState} <> 'answered'`),
    // What pruning looks for.
    index('payment_claim_whole')
      .on(table.closedAt)
      .where(sql`${table.state} = 'delivered' AND ${table.purpose} = 'call' AND ${table.intent} IS NOT NULL`),
    index('payment_claim_unpaid')
      .on(table.closedAt)
      .where(
        sql`${table.closedAt} IS NOT NULL AND ${table.reference} IS NULL AND (${table.state} = 'failed' OR ${table.amount} = 0)`,
      ),
  ],
);

/** The answer of a delivered claim, sealed, for who paid; gone after a day. Partitioned as its claim is. */
export const paymentAnswer = pgTable(
  'payment_answer',
  {
    bucket: smallint('bucket').notNull(),
    id: uuid('id').notNull(),
    payer: text('payer').notNull(),
    sealed: bytea('sealed').notNull(),
    bytes: integer('bytes').notNull(),
    /** Null until the money is in: then a day from there. */
    expiresAt: time('expires_at'),
    createdAt: time('created_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.id, table.bucket] }),
    index('payment_answer_payer').on(table.payer),
    index('payment_answer_expiry').on(table.expiresAt),
  ],
);

/** Processes that may be at work on claims, so that another knows when one died. */
export const paymentWorker = pgTable('payment_worker', {
  id: text('id').primaryKey(),
  host: text('host').notNull(),
  pid: integer('pid').notNull(),
  startedAt: time('started_at').notNull().defaultNow(),
  heartbeatAt: time('heartbeat_at').notNull().defaultNow(),
  stoppedAt: time('stopped_at'),
});
