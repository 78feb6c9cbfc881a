import { sha256Hex } from '../core/bytes.ts';
import { newUuid } from '../core/ids.ts';
import type { Millicents } from '../core/money.ts';
import { Problem } from '../core/problem.ts';
import { withTransaction } from '../db/index.ts';
import { type Principal, takeFromWindow } from '../keys/index.ts';
import { openExposure } from '../ledger/index.ts';
import {
  type Checkout,
  type CheckoutOpening,
  claimIdOf,
  deferSettlement,
  insertClaim,
} from '../payments/index.ts';
import { PLATFORM_PUBLISHER } from './built-in.ts';
import type { GatewayDeps } from './deps.ts';

export type CheckoutDeps = Pick<GatewayDeps, 'sql' | 'ledger' | 'settings' | 'worker'> & {
  checkout: Checkout;
};

/** A payment page for one top-up, as its buyer is told of it. */
export type OpenedCheckout = { checkoutUrl: string; sessionId: string; expiresAt: Date };

const SESSIONS_PER_HOUR = 30;
const HOUR_MS = 60 * 60 * 1000;
/** Nobody has typed in a card before. */
const FIRST_LOOK_MS = 15_000;

/**
 * Opens a page on which a person fills the account of a key. The claim stands before its address is given
 * out, so the reconciler funds it once, whether the provider ever tells us that it was paid or not.
 */
export async function openCheckout(
  deps: CheckoutDeps,
  principal: Pick<Principal, 'accountId'>,
  amount: Millicents,
): Promise<OpenedCheckout> {
  const { accountId } = principal;
  await limitSessions(deps, accountId);
  const { publicUrl } = deps.settings;
  const input = {
    reference: newUuid(),
    ...{ accountId, amount, description: 'More balance on a Millicent key' },
    paidUrl: `${publicUrl}/?checkout=paid`,
    leftUrl: `${publicUrl}/?checkout=left`,
  };
  const opening = await deps.checkout.open(input, AbortSignal.timeout(deps.settings.settleTimeoutMs));
  if (opening.kind !== 'open') throw toProblem(opening);
  await enterClaim(deps, { ...input, intent: opening.intent });
  return { checkoutUrl: opening.url, sessionId: opening.sessionId, expiresAt: opening.expiresAt };
}

async function enterClaim(
  deps: CheckoutDeps,
  input: {
    accountId: string;
    amount: Millicents;
    reference: string;
    intent: Extract<CheckoutOpening, { kind: 'open' }>['intent'];
  },
): Promise<void> {
  const { accountId, amount, intent } = input;
  const { claimKey, payer, unit, units } = intent;
  const claimId = claimIdOf(claimKey);
  await withTransaction(deps.sql, async (tx) => {
    await insertClaim(tx, {
      ...{ claimKey, payer, accountId, amount, intent, rail: 'stripe', wire: null, purpose: 'topup' },
      requestDigest: sha256Hex('checkout', input.reference),
      quoteHash: null,
      mode: 'before-run',
      state: 'settling',
      worker: deps.worker.id,
      context: { purpose: 'topup' },
    });
    await deferSettlement(tx, claimId, FIRST_LOOK_MS);
    await deps.ledger.openPayer(tx, accountId);
    await openExposure(tx, {
      ...{ id: claimId, rail: 'stripe', payer, payeeId: PLATFORM_PUBLISHER, unit, units, amount },
      state: 'settling',
    });
  });
}

async function limitSessions(deps: CheckoutDeps, accountId: string): Promise<void> {
  const window = { name: `checkout:${accountId}`, max: SESSIONS_PER_HOUR, windowMs: HOUR_MS };
  const take = await takeFromWindow(deps.sql, window);
  if (take.kind === 'taken') return;
  throw new Problem('too-many-requests', {
    detail: `An account may open ${SESSIONS_PER_HOUR} payment pages an hour.`,
    retryAfterSeconds: take.retryAfterSeconds,
    isUncharged: true,
  });
}

function toProblem(opening: Exclude<CheckoutOpening, { kind: 'open' }>): Problem {
  if (opening.kind === 'refused') {
    return new Problem('malformed-request', { detail: opening.reason, isUncharged: true });
  }
  return new Problem('unavailable', {
    detail: 'No payment page can be opened right now. Try again shortly.',
    cause: opening.cause,
    retryAfterSeconds: 10,
    isUncharged: true,
  });
}
