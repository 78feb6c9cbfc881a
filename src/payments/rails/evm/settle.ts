import { readFinalNumber } from '../../../chain/index.ts';
import { toUnixSeconds } from '../../../core/clock.ts';
import { type Eip3009Form, expectForm } from '../../form.ts';
import type { Settlement, SettlementCost, SettlementIntent } from '../../rail.ts';
import type { EvmPartContext } from './context.ts';
import type { Mined } from './mover.ts';
import { findPayment, referenceOf } from './payment-event.ts';
import { readStanding, type Standing } from './standing.ts';
import { isRefusedByToken } from './trial.ts';

/** Moves the money, or continues with what an earlier attempt began. */
export async function settleIntent(
  context: EvmPartContext,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  const form = expectForm(intent.form, 'eip3009');
  return decided(context, intent.claimKey, async () => {
    const attempt = await context.mover.move(intent, context.token, signal);
    if (attempt.kind === 'pending') return { kind: 'unknown', cause: attempt.cause };
    if (attempt.kind === 'unsure') {
      const settlement = toSettlement({
        standing: await readStanding(context, form, signal),
        form,
        costs: [],
      });
      return settlement.kind === 'unknown' ? { kind: 'unknown', cause: attempt.cause } : settlement;
    }
    const { mined, costs, isTooDear } = attempt;
    const standing =
      (await readMined(context, { mined, form }, signal)) ?? (await readStanding(context, form, signal));
    if (standing.kind === 'unused' && isInWindow(form, standing.latest.timestamp)) {
      const reason = isTooDear ? TOO_DEAR : await findObstacle(context, { standing, form, costs }, signal);
      if (reason !== undefined) return { kind: 'refused', reason, costs };
    }
    if (standing.kind === 'voided') return { kind: 'refused', reason: VOIDED, costs };
    return toSettlement({ standing, form, costs });
  });
}

/**
 * What stood in the way, when it is the payer's purse or the token itself: then it is not tried again. A trial
 * that failed on one node and a nonce that is unused on another are no refusal: the second may lag behind a
 * payment. So the token is asked again, at the block at which the nonce is unused.
 */
async function findObstacle(
  context: EvmPartContext,
  input: { standing: Extract<Standing, { kind: 'unused' }>; form: Eip3009Form; costs: SettlementCost[] },
  signal: AbortSignal,
): Promise<string | undefined> {
  const { standing, form, costs } = input;
  if (standing.balance < form.value) return PAYER_DRAINED;
  // A transaction of ours was mined and reverted.
  if (costs.length > 0) return TOKEN_REFUSES;
  const at = { blockNumber: standing.latest.number };
  return (await isRefusedByToken(context.client, { form, at }, signal)) ? TOKEN_REFUSES : undefined;
}

/** What became of an intent; moves nothing, and says `refused` only when it can never be mined any more. */
export async function lookUpIntent(
  context: EvmPartContext,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  const form = expectForm(intent.form, 'eip3009');
  return decided(context, intent.claimKey, async () => {
    const found = await context.mover.find(intent, signal);
    const { mined, costs } = found.kind === 'over' ? found : { mined: undefined, costs: [] };
    const standing =
      (await readMined(context, { mined, form }, signal)) ?? (await readStanding(context, form, signal));
    return toSettlement({ standing, form, costs });
  });
}

const PAYER_DRAINED = 'The payer no longer owns what the authorization promises.';
const TOKEN_REFUSES = 'The token refuses the transfer.';
const TOO_DEAR = "The payer's wallet is too expensive to settle.";
const VOIDED = 'The authorization was cancelled or used for something else.';
const EXPIRED = 'The authorization expired before it was settled.';

/** An error on the way decides nothing: money may have moved, and a later look will tell. */
async function decided(
  context: EvmPartContext,
  claimKey: string,
  work: () => Promise<Settlement>,
): Promise<Settlement> {
  try {
    return await work();
  } catch (cause) {
    context.log.warn({ cause, claimKey }, 'a settlement is not decided');
    return { kind: 'unknown', cause };
  }
}

/** The payment in a receipt that we have read, if that is where it is. */
async function readMined(
  context: EvmPartContext,
  input: { mined: Mined | undefined; form: Eip3009Form },
  signal: AbortSignal,
): Promise<Standing | undefined> {
  const { mined, form } = input;
  const payment = mined && findPayment(mined.logs, form);
  if (mined === undefined || payment === undefined) return undefined;
  // The payment is there, whether or not the chain says now how final it is.
  const final = await readFinalNumber(context.client, signal).catch(() => -1n);
  const reference = referenceOf(mined.hash, payment.ordinal);
  return { kind: 'paid', reference, isFinal: mined.blockNumber <= final };
}

function toSettlement(input: { standing: Standing; form: Eip3009Form; costs: SettlementCost[] }): Settlement {
  const { standing, form, costs } = input;
  switch (standing.kind) {
    case 'paid': {
      const { reference, isFinal } = standing;
      return { kind: 'settled', reference, units: form.value, isFinal, costs };
    }
    case 'voided':
      if (standing.isFinal) return { kind: 'refused', reason: VOIDED, costs };
      return { kind: 'unknown', cause: new Error('what voided the authorization can still be undone') };
    case 'expired':
      return { kind: 'refused', reason: EXPIRED, costs };
    case 'unexplained':
      return { kind: 'unknown', cause: new Error('the nonce is used, and no event says by what') };
    case 'unused':
      return { kind: 'unknown', cause: new Error('the authorization is unused and can still be mined') };
    default:
      return standing satisfies never;
  }
}

function isInWindow(form: Eip3009Form, blockTime: Date): boolean {
  const seconds = BigInt(toUnixSeconds(blockTime));
  return seconds > form.validAfter && seconds < form.validBefore;
}
