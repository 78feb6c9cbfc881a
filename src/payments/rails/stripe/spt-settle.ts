import Stripe from 'stripe';
import { expectForm } from '../../form.ts';
import type { Holding, Settlement, SettlementIntent } from '../../rail.ts';
import type { StripeRailDeps } from './context.ts';
import {
  authorisedAt,
  cancelPayment,
  capturePayment,
  createPayment,
  findPayment,
  isCreatable,
  judgePayment,
  type PaymentIntent,
  retrievePayment,
} from './payment-intent.ts';
import { NEEDS_PERSON, NEVER_MADE, readRefusal } from './refusal.ts';

/** The payment as it stands, made if it was not there. */
type Standing =
  | { kind: 'payment'; payment: PaymentIntent }
  | { kind: 'refused'; reason: string }
  | { kind: 'unknown'; cause: unknown };

/** Sets the money aside on the payer's card: an authorisation that only `settleSpt` captures. */
export async function holdSpt(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Holding> {
  const standing = await reachPayment(deps, intent, signal);
  if (standing.kind !== 'payment') return standing;
  const { payment } = standing;
  switch (payment.status) {
    case 'requires_capture':
    case 'succeeded':
      return { kind: 'held' };
    case 'requires_action':
    case 'requires_confirmation':
      await dropPayment(deps, intent, payment, signal);
      return { kind: 'refused', reason: NEEDS_PERSON };
    default: {
      const verdict = judgePayment(deps, intent, payment);
      return verdict.kind === 'settled' ? { kind: 'held' } : toHolding(verdict);
    }
  }
}

function toHolding(verdict: Exclude<Settlement, { kind: 'settled' }>): Holding {
  return verdict.kind === 'refused' ? { kind: 'refused', reason: verdict.reason } : verdict;
}

/** Captures the payment, which it makes first where nobody held it. */
export async function settleSpt(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  const standing = await reachPayment(deps, intent, signal);
  if (standing.kind !== 'payment') return standing;
  const { payment } = standing;
  switch (payment.status) {
    case 'requires_capture':
      return capture(deps, intent, payment, signal);
    case 'requires_action':
    case 'requires_confirmation':
      await dropPayment(deps, intent, payment, signal);
      return { kind: 'refused', reason: NEEDS_PERSON };
    default:
      return decide(deps, intent, payment.id, signal);
  }
}

/** What became of it; makes nothing and captures nothing. */
export async function lookUpSpt(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  try {
    const { claimKey } = intent;
    const found = await findPayment(deps, { claimKey, since: authorisedAt(intent) }, signal);
    if (found.payment) return await decide(deps, intent, found.payment.id, signal);
    // While it may still be made, its absence says nothing.
    if (found.isSure && !isCreatable(deps, intent)) return { kind: 'refused', reason: NEVER_MADE };
    return { kind: 'unknown', cause: new Error(`${claimKey} has no payment yet`) };
  } catch (cause) {
    return { kind: 'unknown', cause };
  }
}

/**
 * Gives the authorisation back. Where nobody knows whether it was made, its creation is repeated by its key:
 * that settles what the first attempt came to, and what it made is then cancelled. Throws when it cannot tell.
 */
export async function cancelSpt(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<void> {
  const standing = await reachPayment(deps, intent, signal);
  switch (standing.kind) {
    case 'refused':
      return;
    case 'unknown':
      throw standing.cause;
    case 'payment':
      await cancelWhatIsOpen(deps, intent, standing.payment, signal);
      return;
    default:
      standing satisfies never;
  }
}

const OVER = ['canceled', 'succeeded'];

async function cancelWhatIsOpen(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  payment: PaymentIntent,
  signal: AbortSignal,
): Promise<void> {
  // Money that was taken is not given back here: a later look finds it, and it becomes its payer's credit.
  if (OVER.includes(payment.status)) return;
  try {
    await cancelPayment(deps, { id: payment.id, claimKey: intent.claimKey }, signal);
  } catch (error) {
    const current = await retrievePayment(deps, payment.id, signal);
    if (!OVER.includes(current.status)) throw error;
  }
}

/** For a payment that is refused anyway: left alone it ends by itself, as only we could capture it. */
async function dropPayment(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  payment: PaymentIntent,
  signal: AbortSignal,
): Promise<void> {
  try {
    await cancelWhatIsOpen(deps, intent, payment, signal);
  } catch (cause) {
    deps.log.warn({ err: cause, claimKey: intent.claimKey }, 'could not cancel a payment nobody completes');
  }
}

async function reachPayment(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Standing> {
  try {
    if (!isCreatable(deps, intent)) return await find(deps, intent, signal);
    const form = expectForm(intent.form, 'spt');
    const { payment, isReplay } = await createPayment(deps, { intent, form }, signal);
    // What is replayed is the answer of then.
    return admit(deps, intent, isReplay ? await retrievePayment(deps, payment.id, signal) : payment);
  } catch (error) {
    return explainFailure(deps, intent, error, signal);
  }
}

/** A payment of another sum under our name is nothing to capture before a person has looked at it. */
function admit(deps: StripeRailDeps, intent: SettlementIntent, payment: PaymentIntent): Standing {
  if (BigInt(payment.amount) === intent.units) return { kind: 'payment', payment };
  const { id, amount } = payment;
  deps.log.error(
    { id, amount, claimKey: intent.claimKey, asked: intent.units.toString() },
    'a payment of another sum',
  );
  return { kind: 'unknown', cause: new Error(`payment ${id} is of ${amount} cents`) };
}

/** A card's refusal is one. Any other may mean that the token is spent already, and by us. */
async function explainFailure(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  error: unknown,
  signal: AbortSignal,
): Promise<Standing> {
  const refusal = readRefusal(error);
  if (refusal?.isCard) return { kind: 'refused', reason: refusal.reason };
  const isMismatch = error instanceof Stripe.errors.StripeIdempotencyError && error.statusCode === 400;
  if (!refusal && !isMismatch) return { kind: 'unknown', cause: error };
  try {
    const found = await find(deps, intent, signal);
    return found.kind === 'refused' && refusal ? { kind: 'refused', reason: refusal.reason } : found;
  } catch (cause) {
    return { kind: 'unknown', cause };
  }
}

async function find(deps: StripeRailDeps, intent: SettlementIntent, signal: AbortSignal): Promise<Standing> {
  const { claimKey } = intent;
  const found = await findPayment(deps, { claimKey, since: authorisedAt(intent) }, signal);
  if (found.payment) {
    return admit(deps, intent, await retrievePayment(deps, found.payment.id, signal));
  }
  if (found.isSure) return { kind: 'refused', reason: NEVER_MADE };
  return { kind: 'unknown', cause: new Error(`cannot tell whether ${claimKey} was paid`) };
}

async function capture(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  payment: PaymentIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  const { id } = payment;
  try {
    const captured = await capturePayment(deps, { id, claimKey: intent.claimKey }, signal);
    return judgePayment(deps, intent, captured);
  } catch (cause) {
    // Somebody else was quicker, it expired, or the answer was lost: its state says which.
    deps.log.warn({ err: cause, claimKey: intent.claimKey, id }, 'a capture did not answer as it should');
    return decide(deps, intent, id, signal);
  }
}

async function decide(
  deps: StripeRailDeps,
  intent: SettlementIntent,
  id: string,
  signal: AbortSignal,
): Promise<Settlement> {
  try {
    return judgePayment(deps, intent, await retrievePayment(deps, id, signal));
  } catch (cause) {
    return { kind: 'unknown', cause };
  }
}
