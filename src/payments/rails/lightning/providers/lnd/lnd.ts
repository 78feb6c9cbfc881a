import { z } from 'zod';
import type { Clock } from '../../../../../core/clock.ts';
import type { LightningNetwork } from '../../../../rail.ts';
import { readInvoice } from '../../bolt11.ts';
import { createHttp, expectSuccess, type Http, type HttpCall, HttpError } from '../../http.ts';
import type { InvoiceStanding, LightningProvider } from '../../provider.ts';
import { hexToBase64, int64 } from '../fields.ts';
import { invoiceSchema, toStanding } from './invoice.ts';
import { payByRouter, track } from './pay.ts';
import { createMintedHolds, subscribe } from './subscribe.ts';

export type LndOptions = {
  /** The REST address, for example `https://127.0.0.1:8080`. */
  url: string;
  macaroonHex: string;
  /** LND signs its own certificate: its `tls.cert`. */
  tlsCa?: string;
  network: LightningNetwork;
  clock: Clock;
  timeoutMs?: number;
};

const TIMEOUT_MS = 10_000;
/** Lightning Labs' lnd over its REST gateway (lnd 0.15 and later). */
export function createLndProvider(options: LndOptions): LightningProvider {
  const { url, macaroonHex, tlsCa, network } = options;
  const http = createHttp({
    baseUrl: url,
    headers: { 'grpc-metadata-macaroon': macaroonHex },
    ...(tlsCa ? { tlsCa } : {}),
    timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
  });
  const ask = async (call: HttpCall, signal: AbortSignal) =>
    expectSuccess(call, await http.send(call, signal));
  const minted = createMintedHolds();
  const lookup = (paymentHash: string, signal: AbortSignal) =>
    lookUp({ ...options, ask }, paymentHash, signal);
  const holds = createHoldCalls(http, lookup);
  return {
    name: 'lnd',
    network,
    can: { hold: true, msat: true, payout: true, keysend: true },
    async createInvoice({ amountMsat, memo, expirySeconds, hold }, signal) {
      const terms = {
        value_msat: amountMsat.toString(),
        memo,
        expiry: expirySeconds.toString(),
        private: true,
      };
      const call: HttpCall = hold
        ? {
            method: 'POST',
            path: '/v2/invoices/hodl',
            json: { ...terms, hash: hexToBase64(hold.paymentHash) },
          }
        : { method: 'POST', path: '/v1/invoices', json: terms };
      const { payment_request: invoice } = mintedSchema.parse(await ask(call, signal));
      const { paymentHash, expiresAt } = readInvoice(invoice);
      if (hold) minted.add(paymentHash);
      return { invoice, paymentHash, expiresAt };
    },
    lookup,
    ...holds,
    pay: (input, signal) => payByRouter(http, input, signal),
    track: (paymentHash, signal) => track(http, paymentHash, signal),
    subscribe: (cursor, onChange, signal) =>
      subscribe({ ...options, http, lookup, minted }, { cursor, onChange }, signal),
    async balance(signal) {
      const body = await ask({ method: 'GET', path: '/v1/balance/channels' }, signal);
      return { msat: balanceSchema.parse(body).local_balance.msat };
    },
    async health(signal) {
      const info = infoSchema.parse(await ask({ method: 'GET', path: '/v1/getinfo' }, signal));
      return info.synced_to_chain && info.num_active_channels > 0;
    },
  };
}

/** Taking and giving back. Refused is no failure where it was done already: lnd tells that in words only. */
function createHoldCalls(
  http: Http,
  lookup: LightningProvider['lookup'],
): Pick<LightningProvider, 'settle' | 'cancel'> {
  async function act(
    verb: 'settle' | 'cancel',
    input: { paymentHash: string; json: object; done: InvoiceStanding['state'][] },
    signal: AbortSignal,
  ): Promise<void> {
    const call: HttpCall = { method: 'POST', path: `/v2/invoices/${verb}`, json: input.json };
    const answer = await http.send(call, signal);
    if (answer.status < 300) return;
    const { state } = await lookup(input.paymentHash, signal);
    if (!input.done.includes(state)) throw new HttpError(call, answer);
  }
  return {
    settle({ paymentHash, preimage }, signal) {
      const json = { preimage: hexToBase64(preimage) };
      return act('settle', { paymentHash, json, done: ['settled'] }, signal);
    },
    cancel(paymentHash, signal) {
      const json = { payment_hash: hexToBase64(paymentHash) };
      return act('cancel', { paymentHash, json, done: ['cancelled', 'expired'] }, signal);
    },
  };
}

const mintedSchema = z.object({ payment_request: z.string() });
const balanceSchema = z.object({ local_balance: z.object({ msat: int64 }) });
const infoSchema = z.object({
  block_height: z.number(),
  synced_to_chain: z.boolean(),
  num_active_channels: z.number(),
});
/** gRPC's NOT_FOUND; lnd before 0.17 spells it as an internal error with these words. */
const MISSING = /unable to locate invoice|no existing invoices|there are no existing/i;

type Asking = Pick<LndOptions, 'clock'> & { ask(call: HttpCall, signal: AbortSignal): Promise<unknown> };

async function lookUp(deps: Asking, paymentHash: string, signal: AbortSignal): Promise<InvoiceStanding> {
  try {
    const body = await deps.ask({ method: 'GET', path: `/v1/invoice/${paymentHash}` }, signal);
    const invoice = invoiceSchema.parse(body);
    if (invoice.state !== 'ACCEPTED') return toStanding(deps, invoice);
    const info = infoSchema.parse(await deps.ask({ method: 'GET', path: '/v1/getinfo' }, signal));
    return toStanding(deps, invoice, info.block_height);
  } catch (cause) {
    if (cause instanceof HttpError && MISSING.test(JSON.stringify(cause.answer.body))) {
      return { state: 'missing', receivedMsat: 0n };
    }
    throw cause;
  }
}
