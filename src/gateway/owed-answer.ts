import { setTimeout as sleep } from 'node:timers/promises';
import { addMs } from '../core/clock.ts';
import type { Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import type { Tx } from '../db/index.ts';
import {
  type Authorization,
  type Claim,
  claimIdOf,
  type Failure,
  findUse,
  insertClaim,
  isAnswerInDoubt,
  lockOwed,
  markAnswer,
  toIntent,
  updateClaim,
  type WireName,
} from '../payments/index.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { type Opening, openHeard } from './lost-opening.ts';

/** Gateways are heard of every two seconds. */
const SILENCE_MS = 5_000;
/** Longer than a gateway that is gone goes on being believed alive, and its claims taking to be adopted. */
const DOUBT_MS_MAX = 20_000;
/** An answer that is just being written is there in a moment; a gateway that is gone takes seconds to be noticed. */
const POLL_MS = { first: 10, most: 250 };

/**
 * Waits until it is known whether an earlier payment of this payer for this very request was answered: where its gateway
 * is gone its answer is owed, and to sign again must not pay again.
 */
export async function awaitDoubtful(
  deps: Pick<GatewayDeps, 'sql' | 'clock'>,
  demand: Demand,
  payer: string,
): Promise<void> {
  const { requestDigest, purpose } = demand;
  const since = addMs(deps.clock.now(), -OWED_FOR_MS);
  const deadline = Date.now() + DOUBT_MS_MAX;
  const earlier = { payer, requestDigest, purpose, since, silenceMs: SILENCE_MS, doubtMs: DOUBT_MS_MAX };
  for (let pauseMs = POLL_MS.first; Date.now() < deadline; pauseMs = Math.min(2 * pauseMs, POLL_MS.most)) {
    if (!(await isAnswerInDoubt(deps.sql, earlier))) return;
    await sleep(pauseMs);
  }
}

const OWED_FOR_MS = 24 * 60 * 60 * 1000;

/** A payment that may stay unused, and by which challenge and wire it came. */
export type Unused = {
  authorization: Authorization;
  quoteHash: Buffer | null;
  wire: WireName | null;
} & Opening;

/** `owed`: the earlier claim, as this payment sees it. `taken`: another request used this payment an instant ago. */
export type Earlier = { kind: 'owed'; claim: Claim } | { kind: 'taken'; claimId: Uuid };

/**
 * An earlier payment of this payer for this very request whose answer was never received: whoever signs again
 * is given that one, and does not pay again (MONEY.md, rule 4). The new payment is used up by that. Where somebody else
 * brings it to us all the same, it is found as late as one of a call that was let go, and is credit.
 */
export async function takeOwed(
  deps: Pick<GatewayDeps, 'clock' | 'worker'>,
  tx: Tx,
  demand: Demand,
  { authorization, quoteHash, wire, opening }: Unused,
): Promise<Earlier | undefined> {
  const { claimKey, rail, payer, amount } = authorization;
  const { requestDigest, purpose } = demand;
  const since = addMs(deps.clock.now(), -OWED_FOR_MS);
  const owed = await lockOwed(tx, { payer, requestDigest, purpose, since });
  if (!owed) return undefined;
  const { claim, owedTo } = owed;
  const own = {
    ...{ claimKey, rail, wire, payer, amount, requestDigest, purpose, quoteHash, worker: deps.worker.id },
    accountId: claim.accountId,
    mode: 'before-run' as const,
    state: 'settling' as const,
    intent: toIntent(authorization),
    context: { purpose: 'credit', failure: UNUSED, opening },
    attachedTo: claim.id,
    createdAt: claim.createdAt,
  };
  const claimId = claimIdOf(claimKey);
  if (!(await insertClaim(tx, own))) return { kind: 'taken', claimId };
  await updateClaim(tx, claimId, { state: 'failed', failure: UNUSED, isClosed: true });
  await markAnswer(tx, owedTo, 'answered');
  const used = await findUse(tx, claimKey);
  invariant(used, `claim ${claimId} was just made`);
  return { kind: 'owed', claim: used };
}

/** The same in a transaction of its own. */
export function takeOwedAlone(
  deps: GatewayDeps,
  demand: Demand,
  unused: Omit<Unused, 'opening'>,
): Promise<Earlier | undefined> {
  return openHeard(deps, unused.authorization.claimKey, (tx, opening) =>
    takeOwed(deps, tx, demand, { ...unused, ...opening }),
  );
}

const UNUSED: Failure = {
  problem: 'credential-used',
  detail:
    'This payment was left unused, as an earlier one bought the same. Make a new payment to buy it again.',
};
