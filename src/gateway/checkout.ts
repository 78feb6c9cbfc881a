import { sha256Hex } from '../core/bytes.ts';
import { newUuid, type Uuid } from '../core/ids.ts';
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
  findClaim,
  hastenSettlement,
  insertClaim,
} from '../payments/index.ts';
import { balanceOf } from './account.ts';
import { PLATFORM_PUBLISHER } from './built-in.ts';
import type { ClaimContext } from './claim-context.ts';
import type { GatewayDeps } from './deps.ts';
import { findIssuedKey } from './issued-key.ts';

export type CheckoutDeps = Pick<GatewayDeps, 'sql' | 'ledger' | 'settings' | 'worker'> & {
  checkout: Checkout;
};

/** A payment page for one top-up, as its buyer is told of it. */
export type OpenedCheckout = { checkoutUrl: string; sessionId: string; expiresAt: Date };

const SESSIONS_PER_HOUR = 30;
const HOUR_MS = 60 * 60 * 1000;
/** Nobody has typed in a card before. */
const FIRST_LOOK_MS = 15_000;

/** Where the browser of a person goes when it has paid, and when it has not. */
export type CheckoutReturn = { paidUrl: string; leftUrl: string };

/**
 * Opens a page on which a person fills the account of a key. The claim stands before its address is given
 * out, so the reconciler funds it once, whether the provider ever tells us that it was paid or not.
 */
export async function openCheckout(
  deps: CheckoutDeps,
  { accountId }: Pick<Principal, 'accountId'>,
  amount: Millicents,
  back: CheckoutReturn = toStart(deps),
): Promise<OpenedCheckout> {
  await limitSessions(deps, accountId);
  const sold = { accountId, amount, description: 'More balance on a Millicent key' };
  return open(deps, { ...sold, context: { purpose: 'topup' } }, back);
}

/**
 * The same for a person who has no key: what is paid opens one on this account, new with its first payment,
 * which `findCheckoutKey` gives out.
 */
export async function openKeyCheckout(
  deps: CheckoutDeps,
  input: { accountId: Uuid; amount: Millicents; address: string | undefined },
  back: CheckoutReturn,
): Promise<OpenedCheckout> {
  const { accountId, amount, address = 'unknown' } = input;
  await limitSessions(deps, address);
  const context: ClaimContext = { purpose: 'signup', scopes: ['example', 'invoke'], bonusMcents: '0' };
  const sold = { accountId, amount, description: 'A Millicent key with prepaid balance' };
  return open(deps, { ...sold, context }, back);
}

/** What became of a session that sells a key. */
export type CheckoutKey =
  | { kind: 'issued'; keyText: string; balance: bigint }
  | { kind: 'waiting' }
  | { kind: 'filled' }
  /** It was not paid, or there is no such session; or its key was revoked. */
  | { kind: 'none' };

/** What a session of this account bought: its id is known to whoever opened it, and to nobody else. */
export async function findCheckoutKey(
  deps: Pick<GatewayDeps, 'sql' | 'rails' | 'ledger' | 'keys' | 'keySecrets'>,
  { session, accountId }: { session: string; accountId: Uuid },
): Promise<CheckoutKey> {
  const rail = deps.rails.find(({ forms }) => forms.includes('checkout'));
  if (!rail) return { kind: 'none' };
  const { claimKey } = rail.identify({ kind: 'checkout', session });
  const claim = await findClaim(deps.sql, claimIdOf(claimKey));
  if (claim?.accountId !== accountId) return { kind: 'none' };
  if (claim.state === 'settling') {
    await withTransaction(deps.sql, (tx) => hastenSettlement(tx, claimKey));
    return { kind: 'waiting' };
  }
  if (claim.state !== 'delivered') return { kind: 'none' };
  if (claim.purpose !== 'signup') return { kind: 'filled' };
  const keyText = await findIssuedKey(deps, claim, 'signup');
  if (keyText === undefined) return { kind: 'none' };
  return { kind: 'issued', keyText, balance: await balanceOf(deps, claim.accountId) };
}

type Sold = { accountId: string; amount: Millicents; description: string; context: ClaimContext };

async function open(
  deps: CheckoutDeps,
  { context, ...sold }: Sold,
  back: CheckoutReturn,
): Promise<OpenedCheckout> {
  const input = { reference: newUuid(), ...sold, ...back };
  const opening = await deps.checkout.open(input, AbortSignal.timeout(deps.settings.settleTimeoutMs));
  if (opening.kind !== 'open') throw toProblem(opening);
  await enterClaim(deps, { ...input, context, intent: opening.intent });
  return { checkoutUrl: opening.url, sessionId: opening.sessionId, expiresAt: opening.expiresAt };
}

function toStart({ settings: { publicUrl } }: CheckoutDeps): CheckoutReturn {
  return { paidUrl: `${publicUrl}/?checkout=paid`, leftUrl: `${publicUrl}/?checkout=left` };
}

async function enterClaim(
  deps: CheckoutDeps,
  input: {
    accountId: string;
    amount: Millicents;
    reference: string;
    context: ClaimContext;
    intent: Extract<CheckoutOpening, { kind: 'open' }>['intent'];
  },
): Promise<void> {
  const { accountId, amount, intent, context } = input;
  const { claimKey, payer, unit, units } = intent;
  const purpose = context.purpose === 'signup' ? 'signup' : 'topup';
  const claimId = claimIdOf(claimKey);
  await withTransaction(deps.sql, async (tx) => {
    await insertClaim(tx, {
      ...{ claimKey, payer, accountId, amount, intent, rail: 'stripe', wire: null, purpose, context },
      requestDigest: sha256Hex('checkout', input.reference),
      quoteHash: null,
      mode: 'before-run',
      state: 'settling',
      worker: deps.worker.id,
    });
    await deferSettlement(tx, claimId, FIRST_LOOK_MS);
    await deps.ledger.openPayer(tx, accountId);
    await openExposure(tx, {
      ...{ id: claimId, rail: 'stripe', payer, payeeId: PLATFORM_PUBLISHER, unit, units, amount },
      state: 'settling',
    });
  });
}

async function limitSessions(deps: CheckoutDeps, whose: string): Promise<void> {
  const window = { name: `checkout:${whose}`, max: SESSIONS_PER_HOUR, windowMs: HOUR_MS };
  const take = await takeFromWindow(deps.sql, window);
  if (take.kind === 'taken') return;
  throw new Problem('too-many-requests', {
    detail: `At most ${SESSIONS_PER_HOUR} payment pages are opened an hour for one account or address.`,
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
