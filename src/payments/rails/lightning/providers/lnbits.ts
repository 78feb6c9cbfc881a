import { z } from 'zod';
import type { Clock } from '../../../../core/clock.ts';
import type { LightningNetwork } from '../../../rail.ts';
import { readInvoice } from '../bolt11.ts';
import { createHttp, expectSuccess, type Http, type HttpCall, HttpError } from '../http.ts';
import type { InvoiceStanding, LightningProvider, PaymentStanding } from '../provider.ts';
import { int64, toPaymentStanding, toWholeSats } from './fields.ts';
import { refuseHold, withoutHolds } from './no-hold.ts';
import { type PolledChange, pollChanges } from './polled-changes.ts';

export type LnbitsOptions = {
  url: string;
  /** Mints and reads. */
  invoiceKey: string;
  /** Pays out; without it nothing is paid. */
  adminKey?: string;
  network: LightningNetwork;
  clock: Clock;
  timeoutMs?: number;
  pollMs?: number;
};

const TIMEOUT_MS = 10_000;
const POLL_MS = 3_000;
const OVERLAP_MS = 15 * 60 * 1000;
const PAGE_ROWS = 100;
const PAGES_MAX = 50;

/**
 * LNbits 1.x. Its status endpoint answers strangers too, and then may show the preimage of an invoice nobody has
 * paid: only an answer with the wallet's own details counts. What it calls hold invoices is not relied on.
 */
export function createLnbitsProvider(options: LnbitsOptions): LightningProvider {
  const { url, invoiceKey, adminKey, network, clock, pollMs = POLL_MS } = options;
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const http = createHttp({ baseUrl: url, headers: { 'x-api-key': invoiceKey }, timeoutMs });
  const lookup = async (paymentHash: string, signal: AbortSignal): Promise<InvoiceStanding> => {
    const payment = await find(http, paymentHash, signal);
    return payment ? toStanding(payment, clock.now()) : { state: 'missing', receivedMsat: 0n };
  };
  return {
    name: 'lnbits',
    network,
    can: { hold: false, msat: false, payout: adminKey !== undefined, keysend: false },
    async createInvoice(input, signal) {
      refuseHold('lnbits', input);
      const { amountMsat, memo, expirySeconds: expiry } = input;
      const json = { out: false, amount: toWholeSats(amountMsat), unit: 'sat', memo, expiry };
      const call: HttpCall = { method: 'POST', path: '/api/v1/payments', json };
      const minted = mintedSchema.parse(expectSuccess(call, await http.send(call, signal)));
      const { paymentHash, expiresAt } = readInvoice(minted.invoice);
      return { invoice: minted.invoice, paymentHash, expiresAt };
    },
    lookup,
    ...withoutHolds('lnbits', lookup),
    pay: (input, signal) => pay(http, adminKey, input, signal),
    track: (paymentHash, signal) => track(http, paymentHash, signal),
    subscribe: (cursor, onChange, signal) =>
      pollChanges(
        {
          everyMs: pollMs,
          overlapMs: OVERLAP_MS,
          list: (since, bound) => list(http, since, clock.now(), bound),
        },
        { cursor, onChange },
        signal,
      ),
    async balance(signal) {
      const call: HttpCall = { method: 'GET', path: '/api/v1/wallet' };
      return { msat: walletSchema.parse(expectSuccess(call, await http.send(call, signal))).balance };
    },
    async health(signal) {
      const call: HttpCall = { method: 'GET', path: '/api/v1/wallet' };
      return walletSchema.safeParse((await http.send(call, signal)).body).success;
    },
  };
}

/** Before 1.0 the invoice was called `payment_request`. */
const mintedSchema = z
  .object({ bolt11: z.string().optional(), payment_request: z.string().optional() })
  .transform(({ bolt11, payment_request }) => bolt11 ?? payment_request)
  .pipe(z.string())
  .transform((invoice) => ({ invoice }));
const walletSchema = z.object({ balance: int64 });
const paymentSchema = z.object({
  payment_hash: z.string(),
  /** Millisatoshis; negative for what was paid out. */
  amount: int64,
  fee: int64.default(0n),
  bolt11: z.string().nullish(),
  /** Before 1.0 there was only `pending`. */
  status: z.enum(['success', 'pending', 'failed']).optional(),
  pending: z.boolean().optional(),
  preimage: z.string().nullish(),
  /** An ISO time, before 1.0 Unix seconds. */
  time: z.union([z.number().transform((seconds) => new Date(seconds * 1000)), z.coerce.date()]),
});
type LnbitsPayment = z.infer<typeof paymentSchema>;
/** Strangers are answered without `details`. */
const statusSchema = z.object({ details: paymentSchema });

async function find(
  http: Http,
  paymentHash: string,
  signal: AbortSignal,
): Promise<LnbitsPayment | undefined> {
  const call: HttpCall = { method: 'GET', path: `/api/v1/payments/${paymentHash}` };
  const answer = await http.send(call, signal);
  if (answer.status === 404) return undefined;
  const { details } = statusSchema.parse(expectSuccess(call, answer));
  if (details.payment_hash !== paymentHash) throw new Error('lnbits answered for another payment');
  return details;
}

function isSettled({ status, pending }: LnbitsPayment): boolean {
  return status === undefined ? pending === false : status === 'success';
}

function toStanding(payment: LnbitsPayment, now: Date): InvoiceStanding {
  // An invoice that this wallet paid itself is no income.
  if (payment.amount <= 0n) return { state: 'missing', receivedMsat: 0n };
  if (isSettled(payment)) return { state: 'settled', receivedMsat: payment.amount };
  if (payment.status === 'failed') return { state: 'cancelled', receivedMsat: 0n };
  const isOver = payment.bolt11 ? readInvoice(payment.bolt11).expiresAt <= now : false;
  return { state: isOver ? 'expired' : 'open', receivedMsat: 0n };
}

/** What has arrived since then, newest first as LNbits lists it. */
async function list(http: Http, since: Date, now: Date, signal: AbortSignal): Promise<PolledChange[]> {
  const found: PolledChange[] = [];
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const query = `limit=${PAGE_ROWS}&offset=${page * PAGE_ROWS}&sortby=time&direction=desc`;
    const call: HttpCall = { method: 'GET', path: `/api/v1/payments?${query}` };
    const rows = z.array(paymentSchema).parse(expectSuccess(call, await http.send(call, signal)));
    for (const row of rows) {
      if (row.time < since || row.amount <= 0n || !isSettled(row)) continue;
      found.push({ paymentHash: row.payment_hash, standing: toStanding(row, now), at: row.time });
    }
    const oldest = rows.at(-1);
    if (rows.length < PAGE_ROWS || (oldest && oldest.time < since)) break;
  }
  return found;
}

/** LNbits takes no limit on fees: it has one of its own, and the wallet pays what routing costs. */
async function pay(
  http: Http,
  adminKey: string | undefined,
  input: Parameters<LightningProvider['pay']>[0],
  signal: AbortSignal,
): Promise<PaymentStanding> {
  if (adminKey === undefined) throw new Error('lnbits pays with its admin key only');
  const { paymentHash, msat } = readInvoice(input.invoice);
  if (msat === undefined) return { kind: 'failed', reason: 'lnbits pays no invoice without an amount' };
  const earlier = await track(http, paymentHash, signal);
  if (earlier.kind === 'succeeded' || earlier.kind === 'pending') return earlier;
  const call: HttpCall = {
    method: 'POST',
    path: '/api/v1/payments',
    json: { out: true, bolt11: input.invoice },
    headers: { 'x-api-key': adminKey },
  };
  try {
    expectSuccess(call, await http.send(call, signal));
  } catch (cause) {
    const known = await track(http, paymentHash, signal).catch(() => undefined);
    if (known && known.kind !== 'missing') return known;
    // Refused before there was a payment; without an answer there may be one.
    if (known && cause instanceof HttpError) return { kind: 'failed', reason: cause.message };
    return { kind: 'pending' };
  }
  const known = await track(http, paymentHash, signal).catch(() => undefined);
  return known && known.kind !== 'missing' ? known : { kind: 'pending' };
}

async function track(
  http: Http,
  paymentHash: string,
  signal: AbortSignal,
): Promise<PaymentStanding | { kind: 'missing' }> {
  const payment = await find(http, paymentHash, signal);
  if (!payment || payment.amount >= 0n) return { kind: 'missing' };
  const state = isSettled(payment) ? 'succeeded' : payment.status === 'failed' ? 'failed' : 'pending';
  const feeMsat = payment.fee < 0n ? -payment.fee : payment.fee;
  return toPaymentStanding({ state, preimage: payment.preimage ?? undefined, feeMsat });
}
