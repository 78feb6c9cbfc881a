import { bucketOf, type Uuid } from '../core/ids.ts';
import { ZERO } from '../core/money.ts';
import { type Queryable, type Sql, type Tx, withTransaction } from '../db/index.ts';
import {
  type AnswerState,
  type Claim,
  claimIdOf,
  type Failure,
  failureSchema,
  intentSchema,
  type NewClaim,
  toIntentJson,
} from './claim.ts';
import type { RailName, SettlementIntent } from './rail.ts';
import type { paymentClaim } from './schema.ts';

type ClaimRow = typeof paymentClaim.$inferSelect;

function toClaim(row: ClaimRow): Claim {
  return {
    ...row,
    // The columns were written from these very types by `insertClaim`.
    rail: row.rail as Claim['rail'],
    wire: row.wire as Claim['wire'],
    context: row.context as Record<string, unknown>,
    intent: readIntent(row.intent),
    failure: row.failure ? failureSchema.parse(row.failure) : null,
    askedBy: row.id,
  };
}

/** An intent that cannot be read is none: its claim stays as it is, and those listed with it are served. */
function readIntent(json: unknown): SettlementIntent | null {
  try {
    return intentSchema.parse(json);
  } catch {
    return null;
  }
}

/** Takes the one use of a payment. False when it was taken before. */
export async function insertClaim(tx: Tx, claim: NewClaim): Promise<boolean> {
  const id = claimIdOf(claim.claimKey);
  const row = {
    ...claim,
    id,
    bucket: bucketOf(id),
    answerState: claim.answerState ?? 'waiting',
    context: tx.json(claim.context as never),
    intent: claim.intent ? tx.json(toIntentJson(claim.intent) as never) : null,
  };
  const rows =
    await tx`INSERT INTO payment_claim ${tx(row)} ON CONFLICT (id, bucket) DO NOTHING RETURNING id`;
  return rows.length === 1;
}

/** Undoes a claim in the transaction that made it: nothing was taken, so its key may be used again. */
export async function withdrawClaim(tx: Tx, claimKey: string): Promise<void> {
  await tx`DELETE FROM payment_claim WHERE id = ${claimIdOf(claimKey)}`;
}

export async function findClaim(sql: Queryable, id: Uuid): Promise<Claim | undefined> {
  const [row] = await sql<ClaimRow[]>`SELECT * FROM payment_claim WHERE id = ${id}`;
  return row && toClaim(row);
}

/**
 * The claim of a payment, whoever is just opening one: waits until that is done or undone. A row of ours, which is taken
 * back, would be in its way.
 */
export async function awaitClaim(sql: Sql, claimKey: string): Promise<Claim | undefined> {
  const id = claimIdOf(claimKey);
  const isFree = new Error('it is free');
  const row: NewClaim = {
    ...{ claimKey, purpose: 'call', rail: null, wire: null, payer: '', accountId: id, amount: ZERO },
    ...{
      requestDigest: '',
      quoteHash: null,
      mode: 'after-run',
      state: 'running',
      worker: '',
      context: {},
      intent: null,
    },
  };
  await withTransaction(sql, async (tx) => {
    if (await insertClaim(tx, row)) throw isFree;
  }).catch((cause: unknown) => {
    if (cause !== isFree) throw cause;
  });
  return findClaim(sql, id);
}

export async function lockClaim(tx: Tx, id: Uuid): Promise<Claim | undefined> {
  const [row] = await tx<ClaimRow[]>`SELECT * FROM payment_claim WHERE id = ${id} FOR UPDATE`;
  return row && toClaim(row);
}

export type ClaimChange = {
  state?: Claim['state'];
  answerState?: AnswerState;
  worker?: string;
  context?: Record<string, unknown>;
  intent?: SettlementIntent;
  failure?: Failure;
  reference?: string;
  isClosed?: boolean;
  isFinal?: boolean;
};

/** Changes a claim whose row the transaction has locked. */
export async function updateClaim(tx: Tx, id: Uuid, change: ClaimChange): Promise<void> {
  const { isClosed, isFinal, context, intent, failure, ...columns } = change;
  const row = {
    ...columns,
    ...(context ? { context: tx.json(context as never) } : {}),
    ...(intent ? { intent: tx.json(toIntentJson(intent) as never) } : {}),
    ...(failure ? { failure: tx.json(failure) } : {}),
    ...(isClosed ? { closedAt: new Date() } : {}),
    ...(isFinal ? { finalAt: new Date() } : {}),
  };
  await tx`UPDATE payment_claim SET ${tx(row)} WHERE id = ${id}`;
}

/** Notes whether the answer reached its client; an answer that did is not owed any more. */
export async function markAnswer(sql: Queryable, id: Uuid, state: 'lost' | 'answered'): Promise<void> {
  await sql`UPDATE payment_claim SET answer_state = ${state} WHERE id = ${id} AND answer_state <> 'answered'`;
}

/**
 * Whether an earlier payment of this payer for this very request is in the hands of a gateway that is gone, or
 * has not been heard of lately, or is over and was not answered yet: its answer may be owed a moment from now.
 */
export async function isAnswerInDoubt(
  sql: Sql,
  input: {
    payer: string;
    requestDigest: string;
    purpose: string;
    since: Date;
    silenceMs: number;
    /** How long after its end an answer may still be on its way. */
    doubtMs: number;
  },
): Promise<boolean> {
  const rows = await sql`SELECT 1 FROM payment_claim c LEFT JOIN payment_worker w ON w.id = c.worker
    LEFT JOIN payment_claim a ON a.id = c.attached_to
    WHERE c.payer = ${input.payer} AND c.request_digest = ${input.requestDigest} AND c.purpose = ${input.purpose}
      AND c.created_at > ${input.since} AND c.answer_state = 'waiting'
      AND CASE WHEN coalesce(a.state, c.state) IN ('running', 'settling')
        THEN w.id IS NULL OR w.stopped_at IS NOT NULL
          OR w.heartbeat_at < now() - ${input.silenceMs} * interval '1 millisecond'
        ELSE greatest(c.closed_at, a.closed_at) > now() - ${input.doubtMs} * interval '1 millisecond'
          AND (coalesce(a.state, c.state) = 'delivered' OR coalesce(a.reference, c.reference) IS NOT NULL) END
    LIMIT 1`;
  return rows.length > 0;
}

/** One rail's settlements due, taken so that another gateway does not take them for the next `leaseMs`. */
export async function takeDueSettlements(
  sql: Sql,
  input: { rail: RailName; rowsMax: number; leaseMs: number },
): Promise<Claim[]> {
  const rows = await sql<ClaimRow[]>`
    UPDATE payment_claim SET attempts = attempts + 1,
      next_attempt_at = now() + (${input.leaseMs} * power(2, least(attempts, 5))) * interval '1 millisecond'
    WHERE (id, bucket) IN (SELECT id, bucket FROM payment_claim
      WHERE state = 'settling' AND rail = ${input.rail} AND next_attempt_at <= now()
      ORDER BY next_attempt_at FOR UPDATE SKIP LOCKED LIMIT ${input.rowsMax})
    RETURNING *`;
  return rows.map(toClaim);
}

/** One rail's failed claims that brought nothing, each due for its cancellation or for a last look for late money. */
export async function takeVoidedClaims(
  sql: Sql,
  input: { rail: RailName; rowsMax: number; leaseMs: number },
): Promise<Claim[]> {
  const rows = await sql<ClaimRow[]>`
    UPDATE payment_claim SET next_attempt_at = now() + ${input.leaseMs} * interval '1 millisecond'
    WHERE (id, bucket) IN (SELECT id, bucket FROM payment_claim
      WHERE state = 'failed' AND rail = ${input.rail} AND reference IS NULL AND next_attempt_at <= now()
      ORDER BY next_attempt_at FOR UPDATE SKIP LOCKED LIMIT ${input.rowsMax})
    RETURNING *`;
  return rows.map(toClaim);
}

/** One rail's booked payments that a chain may still take back, each for the next `leaseMs`. */
export async function takeUnconfirmed(
  sql: Sql,
  input: { rail: RailName; rowsMax: number; leaseMs: number },
): Promise<Claim[]> {
  const rows = await sql<ClaimRow[]>`
    UPDATE payment_claim SET next_attempt_at = now() + ${input.leaseMs} * interval '1 millisecond'
    WHERE (id, bucket) IN (SELECT id, bucket FROM payment_claim
      WHERE state IN ('delivered', 'failed') AND reference IS NOT NULL AND final_at IS NULL AND rail = ${input.rail}
        AND intent IS NOT NULL AND next_attempt_at <= now()
      ORDER BY next_attempt_at FOR UPDATE SKIP LOCKED LIMIT ${input.rowsMax})
    RETURNING *`;
  return rows.map(toClaim);
}

/** Notes that nothing can undo the claim's money any more. */
export async function finishClaim(sql: Queryable, id: Uuid): Promise<void> {
  await sql`UPDATE payment_claim SET final_at = now() WHERE id = ${id} AND final_at IS NULL`;
}

export async function watchNoLonger(sql: Sql, id: Uuid): Promise<void> {
  await sql`UPDATE payment_claim SET next_attempt_at = 'infinity' WHERE id = ${id}`;
}

/** Puts the next look at a claim off until then, and never brings it forward: who looks now leased it. */
export async function deferUntil(sql: Queryable, id: Uuid, at: Date): Promise<void> {
  await sql`UPDATE payment_claim SET next_attempt_at = greatest(next_attempt_at, ${at}::timestamptz) WHERE id = ${id}`;
}

/** Leaves a settlement to the request that is at it for so long; then it is the reconciler's. */
export async function deferSettlement(sql: Queryable, id: Uuid, byMs: number): Promise<void> {
  await sql`UPDATE payment_claim SET next_attempt_at = now() + ${byMs} * interval '1 millisecond' WHERE id = ${id}`;
}

/** Running claims whose gateway is gone, and those that take longer than any run may. */
export async function listOrphanedRuns(
  sql: Sql,
  input: { rowsMax: number; runMsMax: number },
): Promise<Uuid[]> {
  const rows = await sql<{ id: Uuid }[]>`SELECT c.id FROM payment_claim c
    LEFT JOIN payment_worker w ON w.id = c.worker
    WHERE c.state = 'running' AND (w.id IS NULL OR w.stopped_at IS NOT NULL
      OR c.created_at < now() - ${input.runMsMax} * interval '1 millisecond') LIMIT ${input.rowsMax}`;
  return rows.map(({ id }) => id);
}

/** Takes over the settlements of gateways that are gone: nobody is at them any more, so they are due. */
export async function adoptSettlements(sql: Sql, worker: string): Promise<void> {
  await sql`UPDATE payment_claim SET worker = ${worker}, next_attempt_at = now()
    WHERE state = 'settling' AND worker IN (SELECT id FROM payment_worker WHERE stopped_at IS NOT NULL)`;
}

/** The answers that gateways which are gone still owed to somebody. */
export async function loseAnswersOfStoppedWorkers(sql: Sql): Promise<void> {
  await sql`UPDATE payment_claim SET answer_state = 'lost'
    WHERE answer_state = 'waiting' AND created_at > now() - interval '25 hours'
      AND worker IN (SELECT id FROM payment_worker WHERE stopped_at IS NOT NULL)`;
}
