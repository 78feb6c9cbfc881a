import { sha256Hex, takeRandomBytes } from '../../../core/bytes.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Quote } from '../../quote.ts';
import { hashQuoteId } from '../../quote-seal.ts';
import type { Bolt11Offer, OfferInput } from '../../rail.ts';
import { readInvoice } from './bolt11.ts';
import type { LightningRailDeps } from './context.ts';
import { HttpError } from './http.ts';
import { type RateReading, toSatsRoundedUp } from './rate/index.ts';

/** A held payment holds a request with it: MONEY.md, rule 11. */
const HOLD_SECONDS_MAX = 120;
/** An invoice that expires sooner than this is not worth a payer's look. */
const EXPIRY_SECONDS_MIN = 10;
const MEMO_CHARS_MAX = 100;
const MSAT_PER_SAT = 1_000n;

/** What an invoice would say. */
export type InvoiceTerms = { quote: Quote; rate: RateReading; expirySeconds: number };

/** None while the node is down, the rate is unknown, or the amount too small. */
export function chooseTerms(deps: LightningRailDeps, { quote }: OfferInput): InvoiceTerms | undefined {
  const rate = deps.rate.current();
  if (!rate || quote.amount < deps.settings.amountMin || !deps.health.isUp()) return undefined;
  const expirySeconds = chooseExpiry(deps, quote);
  return expirySeconds < EXPIRY_SECONDS_MIN ? undefined : { quote, rate, expirySeconds };
}

/** Mints an invoice for a quote. A challenge never fails for it: the other rails are offered alone. */
export async function offerInvoice(
  deps: LightningRailDeps,
  terms: InvoiceTerms,
  signal: AbortSignal,
): Promise<Bolt11Offer[]> {
  try {
    return [await mint(deps, terms, signal)];
  } catch (cause) {
    if (!signal.aborted && !isRefusal(cause)) deps.health.noteDown();
    deps.log.warn({ err: cause, node: deps.provider.name }, 'an invoice could not be minted');
    return [];
  }
}

/** The node is there and does not want this invoice: anybody can ask for more than it may receive. */
function isRefusal(cause: unknown): boolean {
  return cause instanceof HttpError && cause.answer.status >= 400 && cause.answer.status < 500;
}

function isHoldFor(deps: LightningRailDeps, quote: Quote): boolean {
  return quote.purpose === 'call' && deps.provider.can.hold;
}

function chooseExpiry(deps: LightningRailDeps, quote: Quote): number {
  const left = Math.floor((quote.expiresAt.getTime() - deps.clock.now().getTime()) / 1000);
  return isHoldFor(deps, quote) ? Math.min(left, HOLD_SECONDS_MAX) : left;
}

async function mint(deps: LightningRailDeps, terms: InvoiceTerms, signal: AbortSignal): Promise<Bolt11Offer> {
  const { quote, rate, expirySeconds } = terms;
  const { provider } = deps;
  const isHold = isHoldFor(deps, quote);
  const preimage = isHold ? takeRandomBytes(32).toString('hex') : undefined;
  const hold = preimage && { paymentHash: sha256Hex(Buffer.from(preimage, 'hex')) };
  const sats = toSatsRoundedUp(quote.amount, rate);
  const msat = sats * MSAT_PER_SAT;
  const minted = await provider.createInvoice(
    { amountMsat: msat, memo: toMemo(quote), expirySeconds, ...(hold ? { hold } : {}) },
    signal,
  );
  const { invoice, paymentHash } = minted;
  const read = readInvoice(invoice);
  // The text is what the payer goes by: a node of another network or with another amount is a wrong one.
  invariant(read.network === provider.network, `an invoice of ${read.network} on ${provider.network}`);
  invariant(read.msat === msat && read.paymentHash === paymentHash, 'an invoice that was not asked for');
  invariant(!hold || hold.paymentHash === paymentHash, 'a hold invoice of another hash');
  const expiresAt = minted.expiresAt < quote.expiresAt ? minted.expiresAt : quote.expiresAt;
  const { price, quoteHash } = { price: quote.amount, quoteHash: hashQuoteId(quote) };
  await deps.invoices.insert({
    ...{ paymentHash, quoteHash, invoice, msat, price, rate, isHold, preimage, expiresAt },
  });
  return { kind: 'bolt11', invoice, paymentHash, sats, network: provider.network, isHold };
}

/** What is sold, in what every wallet shows: printable ASCII, as long as all of it fits. */
function toMemo(quote: Quote): string {
  return quote.resource.description.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, MEMO_CHARS_MAX);
}
