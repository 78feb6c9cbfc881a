import type { Hex } from 'viem';
import { call, estimateGas, getCode } from 'viem/actions';
import type { WriteOutcome } from '../../../chain/index.ts';
import { toUnixSeconds } from '../../../core/clock.ts';
import { type Eip3009Form, expectForm } from '../../form.ts';
import type { Settlement, SettlementCost, SettlementIntent } from '../../rail.ts';
import type { EvmRailContext } from './context.ts';
import { findPayment, referenceOf } from './payment-event.ts';
import { isRevert } from './signature.ts';
import { readStanding, type Standing } from './standing.ts';
import { encodeTransfer } from './token.ts';

/** Estimates are made on the last block; the next one may find storage colder. */
const GAS_HEADROOM_PERCENT = 130n;
/** A transfer by key takes 60,000 to 110,000, by proxy and to a new holder: more of it buys nobody anything. */
const KEY_GAS_MAX = 150_000n;
/** A contract wallet runs code of its payer's choice at our cost: room for passkeys and multisigs, no more. */
const WALLET_GAS_MAX = 400_000n;

/** Moves the money, or continues with the transaction that an earlier attempt signed. */
export async function settleIntent(
  context: EvmRailContext,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  const { claimKey } = intent;
  const form = expectForm(intent.form, 'eip3009');
  return decided(context, claimKey, async () => {
    const followed = await context.writer.follow(claimKey, signal);
    const { sent, isTooDear } = followed ? { sent: followed } : await attempt(context, intent, signal);
    if (sent?.kind === 'unknown') return { kind: 'unknown', cause: sent.cause };
    const standing = readReceipt(sent, form) ?? (await readStanding(context, form, signal));
    // Nobody but the payer's own purse or the token stood in the way: it is not tried again.
    if (standing.kind === 'unused' && isInWindow(form, standing.latest.timestamp)) {
      const whyNot = standing.balance < form.value ? PAYER_DRAINED : TOKEN_REFUSES;
      return { kind: 'refused', reason: isTooDear ? TOO_DEAR : whyNot, costs: costsOf(context, sent) };
    }
    return toSettlement(context, { standing, form, sent });
  });
}

/** What became of an intent; moves nothing, and says `refused` only when it can never be mined any more. */
export async function lookUpIntent(
  context: EvmRailContext,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  const { claimKey } = intent;
  const form = expectForm(intent.form, 'eip3009');
  return decided(context, claimKey, async () => {
    const sent = await context.writer.find(claimKey, signal);
    const standing = readReceipt(sent, form) ?? (await readStanding(context, form, signal));
    return toSettlement(context, { standing, form, sent });
  });
}

const PAYER_DRAINED = 'The payer no longer owns what the authorization promises.';
const TOKEN_REFUSES = 'The token refuses the transfer.';
const TOO_DEAR = "The payer's wallet is too expensive to settle.";
const VOIDED = 'The authorization was cancelled or used for something else.';
const EXPIRED = 'The authorization expired before it was settled.';

/** An error on the way decides nothing: money may have moved, and a later look will tell. */
async function decided(
  context: EvmRailContext,
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

type Attempt = { sent: WriteOutcome | undefined; isTooDear?: boolean };

/**
 * Sends the transfer unless the token refuses it in a trial or it burns too much gas; then `sent` is undefined.
 * Another gateway may have settled it during the trial, so our own transactions are looked through once more.
 */
async function attempt(
  context: EvmRailContext,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Attempt> {
  const { writer } = context;
  const form = expectForm(intent.form, 'eip3009');
  const transfer = { to: form.asset, data: encodeTransfer(form) };
  const rpc = context.client.within(signal);
  try {
    const [gas] = await Promise.all([
      estimateGas(rpc, { ...transfer, account: writer.address }),
      call(rpc, { ...transfer, account: writer.address }),
    ]);
    if (await isTooMuchGas(context, { gas, payer: form.from }, signal)) {
      return { sent: await writer.find(intent.claimKey, signal), isTooDear: true };
    }
    const gasLimit = (gas * GAS_HEADROOM_PERCENT) / 100n;
    return { sent: await writer.send({ ref: intent.claimKey, ...transfer, gasLimit }, signal) };
  } catch (error) {
    if (!isRevert(error)) throw error;
    return { sent: await writer.find(intent.claimKey, signal) };
  }
}

/** The code at the payer decides, not the signature's shape: wallets take signatures of 65 bytes too. */
async function isTooMuchGas(
  context: EvmRailContext,
  input: { gas: bigint; payer: Hex },
  signal: AbortSignal,
): Promise<boolean> {
  if (input.gas <= KEY_GAS_MAX) return false;
  if (input.gas > WALLET_GAS_MAX) return true;
  return (await getCode(context.client.within(signal), { address: input.payer })) === undefined;
}

/** The payment in our own transaction's receipt, if that is where it is. */
function readReceipt(sent: WriteOutcome | undefined, form: Eip3009Form): Standing | undefined {
  if (sent?.kind !== 'mined') return undefined;
  const payment = findPayment(sent.logs, form);
  return payment && { kind: 'paid', reference: referenceOf(sent.hash, payment.ordinal) };
}

function toSettlement(
  context: EvmRailContext,
  input: { standing: Standing; form: Eip3009Form; sent: WriteOutcome | undefined },
): Settlement {
  const { standing, form } = input;
  const costs = costsOf(context, input.sent);
  switch (standing.kind) {
    case 'paid':
      return { kind: 'settled', reference: standing.reference, units: form.value, isFinal: false, costs };
    case 'voided':
      return { kind: 'refused', reason: VOIDED, costs };
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

/** Gas is spent on a reverted transaction too. */
function costsOf(context: EvmRailContext, sent: WriteOutcome | undefined): SettlementCost[] {
  if (sent === undefined || sent.kind === 'unknown') return [];
  const { network } = context;
  return [
    { account: `A.gas:${network}`, expense: `E.gas:${network}`, unit: `${network}/wei`, units: sent.feeWei },
  ];
}
