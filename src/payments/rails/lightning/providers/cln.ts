import { z } from 'zod';
import { newUuid } from '../../../../core/ids.ts';
import type { LightningNetwork } from '../../../rail.ts';
import { readInvoice } from '../bolt11.ts';
import { createHttp, HttpError } from '../http.ts';
import type { InvoiceChange, InvoiceStanding, LightningProvider, PaymentStanding } from '../provider.ts';
import { clnMsat, toPaymentStanding } from './fields.ts';
import { refuseHold, withoutHolds } from './no-hold.ts';

export type ClnOptions = {
  /** The address of the clnrest plugin. */
  url: string;
  rune: string;
  /** clnrest signs its own certificate: its `ca.pem`. */
  tlsCa?: string;
  network: LightningNetwork;
  timeoutMs?: number;
};

const TIMEOUT_MS = 10_000;
const WAIT_SECONDS = 30;
/** `waitanyinvoice` heard of nothing within its time. */
const TIMED_OUT = 904;
/** What `pay` says when nothing has left and nothing will; everything else may still be under way. */
const PAY_FAILED = new Set([-32_602, 203, 205, 206, 207, 210]);

type Rpc = <T>(method: string, params: object, schema: z.ZodType<T>, signal: AbortSignal) => Promise<T>;

/** Core Lightning over clnrest (23.08 and later). It has no hold invoices of its own. */
export function createClnProvider(options: ClnOptions): LightningProvider {
  const { url, rune, tlsCa, network, timeoutMs = TIMEOUT_MS } = options;
  const endpoint = { baseUrl: url, headers: { rune }, ...(tlsCa ? { tlsCa } : {}) };
  const rpc = createRpc(endpoint, timeoutMs);
  const patientRpc = createRpc(endpoint, timeoutMs + WAIT_SECONDS * 1000);
  const lookup = async (paymentHash: string, signal: AbortSignal): Promise<InvoiceStanding> => {
    const { invoices } = await rpc('listinvoices', { payment_hash: paymentHash }, invoicesSchema, signal);
    const [invoice] = invoices;
    return invoice ? toStanding(invoice) : { state: 'missing', receivedMsat: 0n };
  };
  return {
    name: 'cln',
    network,
    can: { hold: false, msat: true, payout: true, keysend: true },
    async createInvoice(input, signal) {
      refuseHold('cln', input);
      const { amountMsat, memo: description, expirySeconds: expiry } = input;
      // A label names an invoice for ever, so each has its own.
      const params = {
        amount_msat: Number(amountMsat),
        label: `millicent-${newUuid()}`,
        description,
        expiry,
      };
      const { bolt11: invoice } = await rpc('invoice', params, mintedSchema, signal);
      const { paymentHash, expiresAt } = readInvoice(invoice);
      return { invoice, paymentHash, expiresAt };
    },
    lookup,
    ...withoutHolds('cln', lookup),
    pay: (input, signal) => pay(rpc, createRpc(endpoint, timeoutMs + input.timeoutMs), input, signal),
    track: (paymentHash, signal) => track(rpc, paymentHash, signal),
    subscribe: (cursor, onChange, signal) => subscribe(patientRpc, cursor, onChange, signal),
    async balance(signal) {
      const { channels } = await rpc('listfunds', {}, fundsSchema, signal);
      const open = channels.filter(({ state }) => state === 'CHANNELD_NORMAL');
      return { msat: open.reduce((sum, { our_amount_msat }) => sum + our_amount_msat, 0n) };
    },
    async health(signal) {
      const info = await rpc('getinfo', {}, infoSchema, signal);
      const isSynced = !info.warning_bitcoind_sync && !info.warning_lightningd_sync;
      return isSynced && info.num_active_channels > 0;
    },
  };
}

const mintedSchema = z.object({ bolt11: z.string() });
const invoiceSchema = z.object({
  payment_hash: z.string(),
  status: z.enum(['unpaid', 'paid', 'expired']),
  amount_received_msat: clnMsat.default(0n),
  paid_at: z.number().optional(),
  pay_index: z.number().int().optional(),
});
const invoicesSchema = z.object({ invoices: z.array(invoiceSchema) });
const fundsSchema = z.object({
  channels: z.array(z.object({ state: z.string(), our_amount_msat: clnMsat })),
});
const infoSchema = z.object({
  num_active_channels: z.number(),
  warning_bitcoind_sync: z.string().optional(),
  warning_lightningd_sync: z.string().optional(),
});
/** clnrest passes lightningd's error on, older versions inside `error`. */
const errorSchema = z.union([
  z.object({ code: z.number() }),
  z.object({ error: z.object({ code: z.number() }) }).transform(({ error }) => error),
]);

function createRpc(
  endpoint: { baseUrl: string; headers: { rune: string }; tlsCa?: string },
  timeoutMs: number,
): Rpc {
  const http = createHttp({ ...endpoint, timeoutMs });
  return async (method, params, schema, signal) => {
    const call = { method: 'POST', path: `/v1/${method}`, json: params } as const;
    const answer = await http.send(call, signal);
    if (answer.status >= 300) throw new HttpError(call, answer);
    return schema.parse(answer.body);
  };
}

function codeOf(cause: unknown): number | undefined {
  if (!(cause instanceof HttpError)) return undefined;
  return errorSchema.safeParse(cause.answer.body).data?.code;
}

function toStanding(invoice: z.infer<typeof invoiceSchema>): InvoiceStanding {
  if (invoice.status === 'unpaid') return { state: 'open', receivedMsat: 0n };
  if (invoice.status === 'expired') return { state: 'expired', receivedMsat: 0n };
  const settledAt = invoice.paid_at === undefined ? {} : { settledAt: new Date(invoice.paid_at * 1000) };
  return { state: 'settled', receivedMsat: invoice.amount_received_msat, ...settledAt };
}

/** lightningd numbers what was paid, so that nothing is missed: the number is the cursor. */
async function subscribe(
  rpc: Rpc,
  cursor: string | undefined,
  onChange: (change: InvoiceChange) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  let lastIndex = Number(cursor ?? '0');
  while (!signal.aborted) {
    const params = { lastpay_index: lastIndex, timeout: WAIT_SECONDS };
    const invoice = await rpc('waitanyinvoice', params, invoiceSchema, signal).catch((cause) => {
      if (signal.aborted || codeOf(cause) === TIMED_OUT) return undefined;
      throw cause;
    });
    if (!invoice) continue;
    lastIndex = invoice.pay_index ?? lastIndex + 1;
    const standing = toStanding(invoice);
    await onChange({ paymentHash: invoice.payment_hash, standing, cursor: String(lastIndex) });
  }
}

const payStateSchema = z.enum(['complete', 'pending', 'failed']);
const payResultSchema = z.object({
  status: payStateSchema,
  payment_preimage: z.string().optional(),
  amount_msat: clnMsat,
  amount_sent_msat: clnMsat,
});
const paysSchema = z.object({
  pays: z.array(
    z.object({
      status: payStateSchema,
      preimage: z.string().optional(),
      amount_msat: clnMsat.optional(),
      amount_sent_msat: clnMsat.optional(),
    }),
  ),
});
const PAY_STATES = { complete: 'succeeded', pending: 'pending', failed: 'failed' } as const;

/** `pay` itself answers a repeated call with the first one's outcome. */
async function pay(
  rpc: Rpc,
  patientRpc: Rpc,
  input: Parameters<LightningProvider['pay']>[0],
  signal: AbortSignal,
): Promise<PaymentStanding> {
  const params = {
    bolt11: input.invoice,
    maxfee: Number(input.feeMaxMsat),
    retry_for: Math.ceil(input.timeoutMs / 1000),
    ...(input.amountMsat === undefined ? {} : { amount_msat: Number(input.amountMsat) }),
  };
  try {
    const paid = await patientRpc('pay', params, payResultSchema, signal);
    return toPaymentStanding({
      state: PAY_STATES[paid.status],
      preimage: paid.payment_preimage,
      feeMsat: paid.amount_sent_msat - paid.amount_msat,
    });
  } catch (cause) {
    const code = codeOf(cause);
    if (code === undefined || !PAY_FAILED.has(code)) return { kind: 'pending' };
    // An earlier attempt at the same invoice may have gone through, or be under way.
    const known = await track(rpc, readInvoice(input.invoice).paymentHash, signal).catch(() => undefined);
    if (known?.kind === 'succeeded' || known?.kind === 'pending') return known;
    return { kind: 'failed', reason: `lightningd refused to pay (${code})` };
  }
}

async function track(
  rpc: Rpc,
  paymentHash: string,
  signal: AbortSignal,
): Promise<PaymentStanding | { kind: 'missing' }> {
  const { pays } = await rpc('listpays', { payment_hash: paymentHash }, paysSchema, signal);
  const best =
    pays.find(({ status }) => status === 'complete') ?? pays.find(({ status }) => status === 'pending');
  const found = best ?? pays.at(-1);
  if (!found) return { kind: 'missing' };
  return toPaymentStanding({
    state: PAY_STATES[found.status],
    preimage: found.preimage,
    feeMsat: (found.amount_sent_msat ?? 0n) - (found.amount_msat ?? found.amount_sent_msat ?? 0n),
  });
}
