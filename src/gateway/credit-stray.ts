import { uuidFrom } from '../core/ids.ts';
import { timeLimit } from '../core/time-limit.ts';
import { withTransaction } from '../db/index.ts';
import {
  claimIdOf,
  type Failure,
  findClaimed,
  findStrayCursor,
  insertClaim,
  type NewClaim,
  type Settled,
  type StraySource,
  saveStrayCursor,
  updateClaim,
} from '../payments/index.ts';
import { bookFunds } from './book-funds.ts';
import type { GatewayDeps } from './deps.ts';
import { UNKNOWN_REQUEST } from './let-go.ts';

export const STRAY: Failure = {
  problem: 'credential-used',
  detail:
    'This payment reached us before its request did, so it bought nothing. It is kept as credit of its payer.',
};

export type Stray = Pick<NewClaim, 'claimKey' | 'payer' | 'amount' | 'wire' | 'purpose' | 'requestDigest'> & {
  rail: NonNullable<NewClaim['rail']>;
  /** What a later look at it needs, until it is final. */
  intent: NewClaim['intent'];
  unit: string;
  units: bigint;
};

const PAGES_MAX = 20;

/**
 * Claims a payment that came by itself, so that it is booked once and never serves a call. False when it has a
 * claim already.
 */
export async function creditStray(
  deps: Pick<GatewayDeps, 'sql' | 'ledger' | 'worker'>,
  stray: Stray,
  settlement: Settled,
): Promise<boolean> {
  const { unit, units, ...claim } = stray;
  const { claimKey, rail, amount } = claim;
  const accountId = uuidFrom('payer', stray.payer);
  return withTransaction(deps.sql, async (tx) => {
    const isOurs = await insertClaim(tx, {
      ...claim,
      ...{ accountId, quoteHash: null, mode: 'before-run', state: 'running' },
      ...{ worker: deps.worker.id, context: { purpose: 'topup' } },
    });
    if (!isOurs) return false;
    await deps.ledger.openPayer(tx, accountId);
    await bookFunds(deps, tx, { claimKey, rail, unit, units, amount, accountId }, settlement);
    const { reference, isFinal } = settlement;
    await updateClaim(tx, claimIdOf(claimKey), {
      ...{ state: 'failed', reference, failure: STRAY, isClosed: true, isFinal },
    });
    return true;
  });
}

/** Looks through what arrived on rails without anybody showing it to us, and credits it to who paid. */
export async function creditStrays(deps: GatewayDeps, signal: AbortSignal): Promise<void> {
  for (const source of deps.straySources) {
    try {
      await creditFrom(deps, source, signal);
    } catch (cause) {
      // A node that is down must not keep the others from being looked at.
      if (!signal.aborted) deps.log.warn({ err: cause, source: source.name }, 'could not look for strays');
    }
  }
}

async function creditFrom(deps: GatewayDeps, source: StraySource, signal: AbortSignal): Promise<void> {
  for (let page = 0; page < PAGES_MAX && !signal.aborted; page += 1) {
    const bound = timeLimit(signal, deps.settings.settleTimeoutMs);
    const sinceBlock = await findStrayCursor(deps.sql, source.name);
    const found = await source.findStrayPayments(
      { sinceBlock, isClaimed: (claimKeys) => findClaimed(deps.sql, claimKeys) },
      bound,
    );
    for (const { reference, claimKey, payer, unit, units, amount } of found.payments) {
      const stray: Stray = {
        ...{ claimKey, payer, unit, units, amount, rail: 'evm', wire: null, intent: null },
        ...{ purpose: 'call', requestDigest: UNKNOWN_REQUEST },
      };
      await creditStray(deps, stray, { kind: 'settled', reference, units, isFinal: true, costs: [] });
      deps.log.warn({ claimKey, reference }, 'credited a payment that nobody showed us');
    }
    await saveStrayCursor(deps.sql, source.name, found.cursor);
    if (found.isCaughtUp) return;
  }
}
