import { z } from 'zod';
import type { Clock } from '../../../../core/clock.ts';
import type { LightningNetwork } from '../../../rail.ts';
import { readInvoice } from '../bolt11.ts';
import { createHttp, expectSuccess, type Http, type HttpCall } from '../http.ts';
import type { InvoiceStanding, LightningProvider, PaymentStanding } from '../provider.ts';
import { satsToMsat, toPaymentStanding, toWholeSats } from './fields.ts';
import { refuseHold, withoutHolds } from './no-hold.ts';
import { type PolledChange, pollChanges } from './polled-changes.ts';

export type PhoenixdOptions = {
  url: string;
  /** `http-password` of its configuration. */
  password: string;
  network: LightningNetwork;
  clock: Clock;
  timeoutMs?: number;
  pollMs?: number;
};

const TIMEOUT_MS = 10_000;
const POLL_MS = 2_000;
const OVERLAP_MS = 15 * 60 * 1000;
const PAGE_ROWS = 500;
const PAGES_MAX = 20;
const DESCRIPTION_CHARS_MAX = 128;

/** ACINQ's phoenixd. Whole satoshis, no hold invoices. */
export function createPhoenixdProvider(options: PhoenixdOptions): LightningProvider {
  const { url, password, network, clock, timeoutMs = TIMEOUT_MS, pollMs = POLL_MS } = options;
  const authorization = `Basic ${Buffer.from(`:${password}`).toString('base64')}`;
  const endpoint = { baseUrl: url, headers: { authorization } };
  const http = createHttp({ ...endpoint, timeoutMs });
  const lookup = async (paymentHash: string, signal: AbortSignal): Promise<InvoiceStanding> => {
    const call: HttpCall = { method: 'GET', path: `/payments/incoming/${paymentHash}` };
    const answer = await http.send(call, signal);
    if (answer.status === 404) return { state: 'missing', receivedMsat: 0n };
    return toStanding(incomingSchema.parse(expectSuccess(call, answer)), clock.now());
  };
  return {
    name: 'phoenixd',
    network,
    can: { hold: false, msat: false, payout: true, keysend: false },
    async createInvoice(input, signal) {
      refuseHold('phoenixd', input);
      const form = {
        amountSat: String(toWholeSats(input.amountMsat)),
        description: input.memo.slice(0, DESCRIPTION_CHARS_MAX),
        expirySeconds: String(input.expirySeconds),
      };
      const call: HttpCall = { method: 'POST', path: '/createinvoice', form };
      const { serialized: invoice } = mintedSchema.parse(expectSuccess(call, await http.send(call, signal)));
      const { paymentHash, expiresAt } = readInvoice(invoice);
      return { invoice, paymentHash, expiresAt };
    },
    lookup,
    ...withoutHolds('phoenixd', lookup),
    pay: (input, signal) =>
      pay(http, createHttp({ ...endpoint, timeoutMs: timeoutMs + input.timeoutMs }), input, signal),
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
      const call: HttpCall = { method: 'GET', path: '/getbalance' };
      const { balanceSat } = balanceSchema.parse(expectSuccess(call, await http.send(call, signal)));
      return { msat: satsToMsat(balanceSat) };
    },
    async health(signal) {
      const call: HttpCall = { method: 'GET', path: '/getinfo' };
      // Without any channel it opens one for the first payment, which may cost more than that brings.
      const info = infoSchema.parse(expectSuccess(call, await http.send(call, signal)));
      return info.channels.some(({ state }) => /^normal$/i.test(state));
    },
  };
}

const mintedSchema = z.object({ serialized: z.string() });
const balanceSchema = z.object({ balanceSat: z.number().int() });
const infoSchema = z.object({ channels: z.array(z.object({ state: z.string() })) });
const incomingSchema = z.object({
  paymentHash: z.string(),
  invoice: z.string().nullish(),
  isPaid: z.boolean(),
  isExpired: z.boolean().optional(),
  /** After the fees for liquidity, which are in `fees`, in millisatoshis. */
  receivedSat: z.number().int(),
  fees: z.number().int().default(0),
  completedAt: z.number().nullish(),
  createdAt: z.number(),
});
type Incoming = z.infer<typeof incomingSchema>;

/** What the payer paid: what liquidity cost us is no reason to call it underpaid. */
function toStanding(payment: Incoming, now: Date): InvoiceStanding {
  if (payment.isPaid) {
    const receivedMsat = satsToMsat(payment.receivedSat) + BigInt(payment.fees);
    return { state: 'settled', receivedMsat, settledAt: new Date(payment.completedAt ?? payment.createdAt) };
  }
  const isOver =
    payment.isExpired ?? (payment.invoice ? readInvoice(payment.invoice).expiresAt <= now : false);
  return { state: isOver ? 'expired' : 'open', receivedMsat: 0n };
}

async function list(http: Http, since: Date, now: Date, signal: AbortSignal): Promise<PolledChange[]> {
  const found: PolledChange[] = [];
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const query = `from=${since.getTime()}&limit=${PAGE_ROWS}&offset=${page * PAGE_ROWS}&all=false`;
    const call: HttpCall = { method: 'GET', path: `/payments/incoming?${query}` };
    const rows = z.array(incomingSchema).parse(expectSuccess(call, await http.send(call, signal)));
    for (const row of rows) {
      if (!row.isPaid) continue;
      const at = new Date(row.completedAt ?? row.createdAt);
      found.push({ paymentHash: row.paymentHash, standing: toStanding(row, now), at });
    }
    if (rows.length < PAGE_ROWS) break;
  }
  return found;
}

const paidSchema = z.object({ paymentPreimage: z.string(), routingFeeSat: z.number().int() });
const refusedSchema = z.object({ reason: z.string() });
const outgoingSchema = z.object({
  isPaid: z.boolean(),
  preimage: z.string().nullish(),
  /** Millisatoshis. */
  fees: z.number().int().default(0),
  completedAt: z.number().nullish(),
});

/** phoenixd takes no limit on fees: its trampoline has one of its own. */
async function pay(
  http: Http,
  patientHttp: Http,
  input: Parameters<LightningProvider['pay']>[0],
  signal: AbortSignal,
): Promise<PaymentStanding> {
  const { paymentHash } = readInvoice(input.invoice);
  const earlier = await track(http, paymentHash, signal);
  if (earlier.kind === 'succeeded' || earlier.kind === 'pending') return earlier;
  const amount = input.amountMsat === undefined ? {} : { amountSat: String(toWholeSats(input.amountMsat)) };
  const call: HttpCall = { method: 'POST', path: '/payinvoice', form: { invoice: input.invoice, ...amount } };
  try {
    const { body } = await patientHttp.send(call, signal);
    const paid = paidSchema.safeParse(body).data;
    if (paid) {
      return {
        kind: 'succeeded',
        preimage: paid.paymentPreimage,
        feeMsat: satsToMsat(paid.routingFeeSat),
      };
    }
    const refused = refusedSchema.safeParse(body).data;
    const known = await track(http, paymentHash, signal);
    if (known.kind === 'missing' || known.kind === 'failed')
      return { kind: 'failed', reason: refused?.reason ?? 'phoenixd refused to pay' };
    return known;
  } catch {
    // No answer: it may be under way.
    return { kind: 'pending' };
  }
}

async function track(
  http: Http,
  paymentHash: string,
  signal: AbortSignal,
): Promise<PaymentStanding | { kind: 'missing' }> {
  const call: HttpCall = { method: 'GET', path: `/payments/outgoingbyhash/${paymentHash}` };
  const answer = await http.send(call, signal);
  if (answer.status === 404) return { kind: 'missing' };
  const payment = outgoingSchema.parse(expectSuccess(call, answer));
  return toPaymentStanding({
    state: payment.isPaid ? 'succeeded' : payment.completedAt ? 'failed' : 'pending',
    preimage: payment.preimage ?? undefined,
    feeMsat: BigInt(payment.fees),
  });
}
