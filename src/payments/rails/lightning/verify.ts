import { setTimeout as sleep } from 'node:timers/promises';
import { equalConstantTime, sha256Hex } from '../../../core/bytes.ts';
import type { PreimageForm } from '../../form.ts';
import type { Invoice } from '../../invoice/invoice.ts';
import type { Quote } from '../../quote.ts';
import { hashQuoteId } from '../../quote-seal.ts';
import type { Verification } from '../../rail.ts';
import type { LightningRailDeps } from './context.ts';
import { ARRIVAL_GRACE_MS, toAuthorization } from './identity.ts';
import type { InvoiceStanding } from './provider.ts';

const CONFIRM_EVERY_MS = 200;

/**
 * Checks a preimage against the invoice minted for this quote, and then asks the node: a preimage proves nothing
 * by itself, because routing nodes and careless servers know preimages too.
 */
export async function verifyPreimage(
  deps: LightningRailDeps,
  input: { form: PreimageForm; quote: Quote },
  signal: AbortSignal,
): Promise<Verification> {
  const { form, quote } = input;
  try {
    signal.throwIfAborted();
    const invoice = await deps.invoices.find(form.paymentHash);
    if (!invoice?.quoteHash.equals(hashQuoteId(quote))) return refuse(UNKNOWN);
    // The price lock: a quote has one price, and its invoice was minted for it.
    if (invoice.price !== quote.amount) return refuse(UNKNOWN);
    if (form.preimage === '') return await explainMissing(deps, invoice, signal);
    if (!isPreimageOf(form)) return refuse(WRONG_PREIMAGE);
    const standing = await confirm(deps, invoice, signal);
    return judge(deps, { invoice, standing, preimage: form.preimage });
  } catch (cause) {
    deps.log.warn({ err: cause, paymentHash: form.paymentHash }, 'a preimage could not be checked');
    return { kind: 'unavailable', cause };
  }
}

const UNKNOWN = 'The payment is not for this challenge.';
const NOT_PAID = 'The invoice is not paid yet: pay it, then show its preimage.';
const WRONG_PREIMAGE = 'The preimage is not that of the invoice.';
const EXPIRED = 'The invoice expired before it was paid. Pay the one in this answer.';
const GIVEN_BACK = 'The payment was given back. Pay the invoice in this answer.';

function isPreimageOf({ preimage, paymentHash }: PreimageForm): boolean {
  return equalConstantTime(sha256Hex(Buffer.from(preimage, 'hex')), paymentHash);
}

/** Without a preimage nobody is served; but who has paid is not told to pay again. */
async function explainMissing(
  deps: LightningRailDeps,
  invoice: Invoice,
  signal: AbortSignal,
): Promise<Verification> {
  const standing = await deps.provider.lookup(invoice.paymentHash, signal);
  switch (standing.state) {
    case 'open':
      return refuse(NOT_PAID);
    case 'expired':
      return refuse(EXPIRED);
    case 'cancelled':
      return refuse(GIVEN_BACK);
    case 'held':
    case 'settled':
    case 'missing':
      return { kind: 'unavailable', cause: new Error(`without a preimage, and ${standing.state}`) };
    default:
      return standing.state satisfies never;
  }
}

/** How the invoice stands; a node may learn of a payment a moment after its payer does. */
async function confirm(
  deps: LightningRailDeps,
  invoice: Invoice,
  signal: AbortSignal,
): Promise<InvoiceStanding> {
  const until = performance.now() + deps.timeouts.confirmMs;
  for (;;) {
    const standing = await deps.provider.lookup(invoice.paymentHash, signal);
    if (standing.state !== 'open' || performance.now() >= until) return standing;
    await sleep(CONFIRM_EVERY_MS, undefined, { signal });
  }
}

function judge(
  deps: LightningRailDeps,
  facts: { invoice: Invoice; standing: InvoiceStanding; preimage: string },
): Verification {
  const { invoice, standing, preimage } = facts;
  const { state, receivedMsat } = standing;
  const now = deps.clock.now();
  switch (state) {
    case 'settled':
    case 'held':
      if (receivedMsat < invoice.msat) {
        return refuse(`The payment brought ${receivedMsat} msat, this costs ${invoice.msat}.`);
      }
      return {
        kind: 'authorised',
        authorization: toAuthorization(invoice, {
          ...{ preimage, now },
          state: state === 'held' ? 'held' : 'paid',
        }),
      };
    case 'open':
      if (isOver(invoice, now)) return refuse(EXPIRED);
      // Whoever has the preimage may have paid and be a moment ahead of the node: to ask again costs nothing.
      return {
        kind: 'unavailable',
        cause: new Error('the preimage is right and the node knows of no payment'),
      };
    case 'expired':
      return refuse(EXPIRED);
    case 'cancelled':
      return refuse(GIVEN_BACK);
    case 'missing':
      // Our node minted it: one that does not know it is another one, or was restored from a backup.
      return { kind: 'unavailable', cause: new Error('the node does not know an invoice of ours') };
    default:
      return state satisfies never;
  }
}

/** No payment of it can be under way any more. */
export function isOver(invoice: Pick<Invoice, 'expiresAt'>, now: Date): boolean {
  return invoice.expiresAt.getTime() + ARRIVAL_GRACE_MS <= now.getTime();
}

function refuse(reason: string): Verification {
  return { kind: 'refused', reason };
}
