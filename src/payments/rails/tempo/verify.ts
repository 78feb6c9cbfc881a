import { addMs } from '../../../core/clock.ts';
import { toTokenUnits } from '../../../core/money.ts';
import type { TempoForm } from '../../form.ts';
import type { Quote } from '../../quote.ts';
import type { Authorization, Verification } from '../../rail.ts';
import type { TempoRailContext } from './context.ts';
import { identityOf, readShown, type Shown, unitOf } from './identity.ts';
import { type Prospect, readProspect } from './prospect.ts';
import { toSettled } from './settle.ts';
import { readStanding } from './standing.ts';
import { findWrongOffer, findWrongTerm, findWrongValidity, outlivesRun } from './terms.ts';
import type { SignedTransaction } from './transaction.ts';

/** Checks what a payer shows against the quote; changes nothing. */
export async function verifyPayment(
  context: TempoRailContext,
  { form, quote }: { form: TempoForm; quote: Quote },
  signal: AbortSignal,
): Promise<Verification> {
  const reason = findWrongOffer(context, form, quote);
  if (reason !== undefined) return { kind: 'refused', reason };
  const shown = readShown(form);
  try {
    return form.shows === 'hash'
      ? await verifySent(context, { shown, quote }, signal)
      : await verifySigned(context, { shown, quote }, signal);
  } catch (cause) {
    context.log.warn({ cause, claimKey: identityOf(shown).claimKey }, 'a payment could not be checked');
    return { kind: 'unavailable', cause };
  }
}

type Input = { shown: Shown; quote: Quote };

/** Pull: the payer hands us a signed transaction, and could still spend the money elsewhere. */
async function verifySigned(
  context: TempoRailContext,
  { shown, quote }: Input,
  signal: AbortSignal,
): Promise<Verification> {
  const { form, transaction } = shown;
  if (transaction === undefined) return { kind: 'refused', reason: UNREADABLE };
  const wrongTerm = findWrongTerm(context, { transaction, form, quote });
  if (wrongTerm !== undefined) return { kind: 'refused', reason: wrongTerm };
  const units = toTokenUnits(quote.amount);
  const wrongValidity = findWrongValidity(context, { transaction, quote });
  const [standing, prospect] = await Promise.all([
    readStanding(context, { shown, units }, signal),
    wrongValidity === undefined
      ? readProspect(context, { transaction, units }, signal)
      : ({ kind: 'blocked', reason: wrongValidity } as const),
  ]);
  switch (standing.kind) {
    case 'paid': {
      const authorization = toPaid(context, { shown, quote });
      return { kind: 'spent', authorization, settlement: toSettled(shown.hash, standing) };
    }
    case 'void':
      return { kind: 'refused', reason: FAILED };
    case 'expired':
    case 'displaced':
    case 'open':
      return judgeProspect(context, { shown, quote, transaction }, prospect);
    default:
      return standing satisfies never;
  }
}

function judgeProspect(
  context: TempoRailContext,
  { shown, quote, transaction }: Input & { transaction: SignedTransaction },
  prospect: Prospect,
): Verification {
  const toSigned = (fundsAvailable: bigint): Authorization => ({
    ...toPaid(context, { shown, quote }),
    state: 'authorised',
    fundsAvailable,
    // A lent key can be taken back, or be out of its limit, by the time of the settlement.
    mustSettleFirst: transaction.accessKey !== undefined || !outlivesRun(context, transaction, quote),
    // A term that was checked: not beyond an hour or so.
    validUntil: new Date((transaction.terms.validBefore ?? 0) * 1000),
  });
  switch (prospect.kind) {
    case 'poor':
      return { kind: 'refused', reason: prospect.reason, authorization: toSigned(0n) };
    case 'untimely':
    case 'blocked':
      return { kind: 'refused', reason: prospect.reason };
    case 'clear':
      return { kind: 'authorised', authorization: toSigned(prospect.fundsAvailable) };
    default:
      return prospect satisfies never;
  }
}

/** Push: the payer has sent the transaction and shows its hash; its event is the proof. */
async function verifySent(
  context: TempoRailContext,
  { shown, quote }: Input,
  signal: AbortSignal,
): Promise<Verification> {
  const { form } = shown;
  if (form.value.length !== HASH_CHARACTERS) return { kind: 'refused', reason: NO_HASH };
  if (form.payer === context.recipient) return { kind: 'refused', reason: SELF_PAID };
  const standing = await readStanding(context, { shown, units: toTokenUnits(quote.amount) }, signal);
  switch (standing.kind) {
    case 'paid':
      return { kind: 'authorised', authorization: toPaid(context, { shown, quote }) };
    case 'void':
      if (!standing.hasFailed) return { kind: 'refused', reason: NOT_OURS };
      if (standing.isFinal) return { kind: 'refused', reason: FAILED };
      return { kind: 'unavailable', cause: new Error('the transaction failed in a block that is not final') };
    case 'expired':
    case 'displaced':
    case 'open':
      // It may be mined yet, or this node is behind: a refusal would make a payer who has paid pay again.
      return { kind: 'unavailable', cause: new Error('the transaction is not mined, as far as we see') };
    default:
      return standing satisfies never;
  }
}

const UNREADABLE = 'This is not a Tempo transaction (type 0x76) with the signature of its account.';
const FAILED = 'The transaction was mined and did not pay: make another payment.';
const NO_HASH = 'A transaction hash has 32 bytes.';
const SELF_PAID = 'The payer and the payee are the same.';
const NOT_OURS =
  'The transaction does not pay this challenge: it needs this token, payee, amount and memo, from this payer.';
const HASH_CHARACTERS = 66;
/** What is paid needs no date; it has the one that an authorization could have at most. */
const PAID_VALID_MS = 60 * 60 * 1000;

function toPaid(context: TempoRailContext, { shown, quote }: Input): Authorization {
  return {
    rail: 'tempo',
    ...identityOf(shown),
    unit: unitOf(context),
    units: toTokenUnits(quote.amount),
    amount: quote.amount,
    form: shown.form,
    state: 'paid',
    fundsAvailable: undefined,
    mustSettleFirst: true,
    validUntil: addMs(context.clock.now(), quote.runTimeoutMs + PAID_VALID_MS),
  };
}
