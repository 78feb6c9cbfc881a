import type { Hex } from 'viem';
import { readFinality } from '../../../chain/index.ts';
import { addMs, toUnixSeconds } from '../../../core/clock.ts';
import { formatDollars, toTokenUnits } from '../../../core/money.ts';
import { type Eip3009Form, expectForm } from '../../form.ts';
import type { Quote } from '../../quote.ts';
import type { Authorization, Verification } from '../../rail.ts';
import { type EvmPartContext, SETTLE_MARGIN_MS } from './context.ts';
import { claimKeyOf, payerOf, unitOf } from './identity.ts';
import { findEnding } from './standing.ts';
import { isKeySignature } from './token.ts';
import { isAcceptedByWallet } from './wallet-signature.ts';

/**
 * How long beyond the run an authorization may stay valid. What outlives it is watched until then, which must
 * end within the look into the logs, and "forever" is a date that no database takes.
 */
const VALID_MS_MAX = 60 * 60 * 1000;

/** Checks an authorization against the quote: its terms, its signature, and how it stands on the chain. */
export async function verifyAuthorization(
  context: EvmPartContext,
  input: { form: Eip3009Form; quote: Quote },
  signal: AbortSignal,
): Promise<Verification> {
  const { form, quote } = input;
  const reason = findWrongTerm(context, form, quote);
  if (reason !== undefined) return { kind: 'refused', reason };
  try {
    const hash = context.signatures.hash(form);
    const isByKey = await context.signatures.isSignedByKey(form, hash);
    const { isUsed, balance, hasCode } = await context.readPayer(form, signal);
    const signer = await judgeSignature(context, { form, hash, isByKey, hasCode }, signal);
    if (signer.kind === 'refused') return signer;
    const authorization = toAuthorization(form, quote, { balance, mustSettleFirst: signer.mustSettleFirst });
    if (isUsed) return await judgeUsed(context, authorization, signal);
    if (balance < form.value) {
      const reason = `The payer owns ${balance} token units, this costs ${form.value}.`;
      return { kind: 'refused', reason, authorization };
    }
    // Asked last, so that a facilitator sees only what is good by our own look.
    if (await context.mover.accepts(form, context.token, signal))
      return { kind: 'authorised', authorization };
    return { kind: 'refused', reason: NOT_MOVED, authorization };
  } catch (cause) {
    context.log.warn({ cause, claimKey: claimKeyOf(form) }, 'an authorization could not be checked');
    return { kind: 'unavailable', cause };
  }
}

/** The first term of the authorization that does not fit the quote, in words for the client. */
function findWrongTerm(context: EvmPartContext, form: Eip3009Form, quote: Quote): string | undefined {
  const units = toTokenUnits(quote.amount);
  const now = context.clock.now();
  const leastValid = BigInt(toUnixSeconds(addMs(now, quote.runTimeoutMs + SETTLE_MARGIN_MS)));
  const mostValid = BigInt(toUnixSeconds(addMs(now, quote.runTimeoutMs + VALID_MS_MAX)));
  if (form.network !== context.network)
    return `Payments on ${form.network} are not taken, ${context.network} is.`;
  if (quote.amount < context.amountMin)
    return `Payments of less than ${formatDollars(context.amountMin)} are not taken on ${context.network}.`;
  if (form.asset !== context.asset) return 'The authorization is for another token.';
  if (form.to !== context.payTo) return 'The authorization pays somebody else.';
  if (form.from === form.to) return 'The payer and the payee are the same.';
  if (form.value !== units)
    return `The authorization is for ${form.value} token units, the price is ${units}.`;
  if (form.validAfter > BigInt(toUnixSeconds(now))) return 'The authorization is not valid yet.';
  if (form.validBefore < leastValid) {
    return `The authorization expires too soon: validBefore must be at least ${leastValid}.`;
  }
  if (form.validBefore > mostValid) {
    return 'The authorization expires too late: sign an authorization that is valid for at most an hour.';
  }
  return undefined;
}

type SignatureVerdict = { kind: 'good'; mustSettleFirst: boolean } | { kind: 'refused'; reason: string };

/** An account with code is asked by the token itself, so its code decides, not its key (ERC-1271, EIP-7702). */
async function judgeSignature(
  context: EvmPartContext,
  input: { form: Eip3009Form; hash: Hex; isByKey: boolean; hasCode: boolean },
  signal: AbortSignal,
): Promise<SignatureVerdict> {
  const { form, hash } = input;
  if (input.hasCode) {
    // A wallet can change its mind between now and the settlement.
    const isGood = await isAcceptedByWallet({ form, hash, client: context.client }, signal);
    return isGood ? { kind: 'good', mustSettleFirst: true } : { kind: 'refused', reason: BAD_SIGNATURE };
  }
  if (input.isByKey) return { kind: 'good', mustSettleFirst: false };
  return { kind: 'refused', reason: isKeySignature(form.signature) ? BAD_SIGNATURE : NO_WALLET };
}

const BAD_SIGNATURE = 'The signature is not a canonical one by the payer over these terms and this token.';
const NOT_MOVED = 'Whoever settles for us does not take this payment: pay from another wallet.';
const NO_WALLET = 'There is no contract wallet at the payer yet: deploy it, then pay.';

/** A used nonce: either it paid us already, or it can never do so. */
async function judgeUsed(
  context: EvmPartContext,
  authorization: Authorization,
  signal: AbortSignal,
): Promise<Verification> {
  const { latest, finalized } = await readFinality(context.client, signal);
  const blocks = { latest: latest.number, final: finalized.number };
  const ending = await findEnding(context, expectForm(authorization.form, 'eip3009'), blocks, signal);
  switch (ending.kind) {
    case 'paid':
      return {
        kind: 'spent',
        authorization: { ...authorization, state: 'paid', fundsAvailable: undefined },
        settlement: {
          kind: 'settled',
          reference: ending.reference,
          units: authorization.units,
          isFinal: ending.isFinal,
          costs: [],
        },
      };
    case 'voided':
      return { kind: 'refused', reason: 'The authorization was cancelled or used for something else.' };
    case 'unexplained':
    case 'expired':
    case 'unused':
      // A node that lags: a refusal here would make a payer who has paid pay again.
      return { kind: 'unavailable', cause: new Error('the nonce is used, and no event says by what') };
    default:
      return ending satisfies never;
  }
}

function toAuthorization(
  form: Eip3009Form,
  quote: Quote,
  facts: { balance: bigint; mustSettleFirst: boolean },
): Authorization {
  return {
    rail: 'evm',
    claimKey: claimKeyOf(form),
    payer: payerOf(form),
    unit: unitOf(form),
    units: form.value,
    amount: quote.amount,
    form,
    state: 'authorised',
    fundsAvailable: facts.balance,
    mustSettleFirst: facts.mustSettleFirst,
    // A term that was checked: not beyond an hour or so.
    validUntil: new Date(Number(form.validBefore) * 1000),
  };
}
