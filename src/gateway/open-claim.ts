import type { Uuid } from '../core/ids.ts';
import type { Millicents } from '../core/money.ts';
import type { Tx } from '../db/index.ts';
import { assessRisk, openExposure } from '../ledger/index.ts';
import {
  type Authorization,
  type Claim,
  type ClaimMode,
  type Credential,
  claimIdOf,
  findUse,
  hashQuoteId,
  insertClaim,
  type Quote,
  toIntent,
  type WireName,
} from '../payments/index.ts';
import type { ClaimContext } from './claim-context.ts';
import type { Demand } from './demand.ts';
import type { GatewayDeps } from './deps.ts';
import { refuseIfBlocked } from './failure.ts';
import { type Opening, openHeard } from './lost-opening.ts';
import { takeOwed } from './owed-answer.ts';
import type { Purchase } from './purchase.ts';
import { hashRequest, type Sale, toHoldRequest } from './sale.ts';
import { keepSettlement } from './settle-claim.ts';

export type OpenedClaim =
  /** Ours: run now, settle after. */
  | { kind: 'after-run'; claimId: Uuid }
  /** Ours: the money has to arrive before the run. */
  | { kind: 'before-run'; claimId: Uuid }
  /** An earlier payment of this payer for this very request is still owed its answer; this one stays unused. */
  | { kind: 'owed'; claim: Claim }
  /** Another request used the same credential an instant ago. */
  | { kind: 'taken'; claimId: Uuid }
  | { kind: 'insufficient-funds' };

export type NewPayment = {
  authorization: Authorization;
  quote: Quote;
  /** Null for a payment that came by itself. */
  wire: WireName | null;
  /** It came with our challenge for it, so whoever shows that again is who paid. */
  isEcho: boolean;
  /** Nobody waits for the answer yet: whoever shows the payment may ask for it. */
  isUnattended?: boolean;
};

/** A credential's payment, as its claim needs it. */
export function toPayment(input: {
  authorization: Authorization;
  quote: Quote;
  credential: Credential;
}): NewPayment {
  const { authorization, quote, credential } = input;
  return { authorization, quote, wire: credential.wire, isEcho: credential.quoteToken !== undefined };
}

/** Commit A of a call paid by credential: the claim, the exposure and the hold, or none of them. */
export async function openCallClaim(
  deps: GatewayDeps,
  sale: Sale,
  demand: Demand,
  payment: NewPayment,
): Promise<OpenedClaim> {
  const { authorization, quote } = payment;
  const claimId = claimIdOf(authorization.claimKey);
  return openHeard(deps, authorization.claimKey, async (tx, opening): Promise<OpenedClaim> => {
    const earlier = await findEarlier(deps, tx, demand, { ...payment, ...opening });
    if (earlier) return earlier;
    // Money that has arrived is not sent away: what its call does not deliver is credit.
    if (authorization.state !== 'paid' && !payment.isUnattended) {
      refuseIfBlocked(deps, sale, authorization.payer);
    }
    const mode = await decideMode(deps, tx, sale, authorization);
    if (mode === 'insufficient-funds') return unlessUsed(tx, authorization);
    const context: ClaimContext = {
      ...opening,
      purpose: 'call',
      toolId: sale.toolId,
      versionId: sale.versionId,
      toolName: sale.request.tool,
      payeeId: sale.payeeId,
      requestHash: hashRequest(sale.request).toString('hex'),
    };
    if (!(await enterClaim(deps, tx, { demand, payment, mode, accountId: claimId, context }))) {
      return { kind: 'taken', claimId };
    }
    await deps.ledger.openPayer(tx, claimId);
    await enterExposure(tx, {
      claimId,
      payment,
      payeeId: sale.payeeId,
      state: mode === 'after-run' ? 'authorised' : 'settling',
    });
    if (mode === 'after-run') {
      const hold = { id: claimId, accountId: claimId, keyId: undefined, price: quote.amount, hasClaim: true };
      await deps.ledger.holdExposure(tx, toHoldRequest(sale, hold));
    }
    return { kind: mode, claimId };
  });
}

/** Commit A of a purchase with nothing to run (a key, more balance): the claim and its settlement intent. */
export async function openPurchaseClaim(
  deps: GatewayDeps,
  demand: Demand,
  payment: NewPayment,
  input: Purchase,
): Promise<OpenedClaim> {
  const claimId = claimIdOf(payment.authorization.claimKey);
  return openHeard(deps, payment.authorization.claimKey, async (tx, opening): Promise<OpenedClaim> => {
    const earlier = await findEarlier(deps, tx, demand, { ...payment, ...opening });
    if (earlier) return earlier;
    const { authorization } = payment;
    const verdict = await assessRisk(tx, { ...authorization, payeeId: input.payeeId }, deps.risk);
    if (verdict.kind === 'insufficient-funds') return unlessUsed(tx, authorization);
    const { limit, accountId } = input;
    const context = { ...input.context, ...opening };
    if (!(await enterClaim(deps, tx, { demand, payment, mode: 'before-run', accountId, context }))) {
      return { kind: 'taken', claimId };
    }
    // Money that has arrived is not sent away.
    if (authorization.state !== 'paid') await limit?.(tx);
    await deps.ledger.openPayer(tx, input.accountId);
    await enterExposure(tx, { claimId, payment, payeeId: input.payeeId, state: 'settling' });
    return { kind: 'before-run', claimId };
  });
}

/** What another request has used an instant ago is no money that is missing. */
async function unlessUsed(tx: Tx, { claimKey }: Authorization): Promise<OpenedClaim> {
  const isUsed = (await findUse(tx, claimKey)) !== undefined;
  return isUsed ? { kind: 'taken', claimId: claimIdOf(claimKey) } : { kind: 'insufficient-funds' };
}

/**
 * The earlier payment that a new one is attached to, where that can be left unused. Money that has arrived, or is held
 * for us, buys what it was sent for: nobody would give it back.
 */
async function findEarlier(
  deps: GatewayDeps,
  tx: Tx,
  demand: Demand,
  { authorization, quote, isEcho, wire, opening }: NewPayment & Opening,
): Promise<OpenedClaim | undefined> {
  if (authorization.state !== 'authorised') return undefined;
  const quoteHash = isEcho ? hashQuoteId(quote) : null;
  return takeOwed(deps, tx, demand, { authorization, wire, quoteHash, opening });
}

async function decideMode(
  deps: GatewayDeps,
  tx: Tx,
  sale: Sale,
  authorization: Authorization,
): Promise<ClaimMode | 'insufficient-funds'> {
  const verdict = await assessRisk(tx, { ...authorization, payeeId: sale.payeeId }, deps.risk);
  if (verdict.kind === 'insufficient-funds') return verdict.kind;
  // Money that is held for us, or will be before the run, cannot get away: the tool is not at risk.
  const isHeld = authorization.state !== 'authorised' || canHold(deps, authorization);
  const isWished = sale.settle === 'before-run' && !isHeld;
  const isFirst = verdict.kind === 'settle-first' || authorization.mustSettleFirst || isWished;
  return isFirst ? 'before-run' : 'after-run';
}

function canHold({ rails }: GatewayDeps, { rail }: Authorization): boolean {
  return rails.some(({ name, hold }) => name === rail && hold !== undefined);
}

async function enterClaim(
  deps: GatewayDeps,
  tx: Tx,
  input: { demand: Demand; payment: NewPayment; mode: ClaimMode; accountId: Uuid; context: ClaimContext },
): Promise<boolean> {
  const { authorization, quote, wire, isEcho, isUnattended } = input.payment;
  const isOurs = await insertClaim(tx, {
    claimKey: authorization.claimKey,
    purpose: input.demand.purpose,
    rail: authorization.rail,
    wire,
    payer: authorization.payer,
    accountId: input.accountId,
    amount: quote.amount,
    requestDigest: input.demand.requestDigest,
    quoteHash: isEcho ? hashQuoteId(quote) : null,
    mode: input.mode,
    state: input.mode === 'after-run' ? 'running' : 'settling',
    answerState: isUnattended ? 'lost' : 'waiting',
    worker: deps.worker.id,
    context: { ...input.context, resourceUrl: input.demand.resource.url },
    intent: toIntent(authorization),
  });
  if (isOurs && input.mode === 'before-run')
    await keepSettlement(deps, tx, claimIdOf(authorization.claimKey));
  return isOurs;
}

function enterExposure(
  tx: Tx,
  input: { claimId: Uuid; payment: NewPayment; payeeId: Uuid; state: 'authorised' | 'settling' },
): Promise<void> {
  const { rail, payer, unit, units, amount } = input.payment.authorization;
  return openExposure(tx, {
    id: input.claimId,
    rail,
    payer,
    payeeId: input.payeeId,
    unit,
    units,
    amount: amount as Millicents,
    state: input.state,
  });
}
