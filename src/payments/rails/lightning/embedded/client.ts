import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { InvoiceStanding, LightningProvider } from '../provider.ts';
import {
  balanceSchema,
  changesSchema,
  healthSchema,
  mintedSchema,
  paymentSchema,
  standingSchema,
} from './api.ts';
import { Refusal } from './refusal.ts';
import { ask, type ServiceRequest } from './request.ts';

export type EmbeddedProviderDeps = {
  /** Where the service listens, for example `http://127.0.0.1:41000`. */
  url: string;
  /** The bearer token that it wrote to its folder. */
  token: string;
};

const TIMEOUT_MS = 10_000;
/** A claim needs the peer; it is back by then if it only restarts. */
const SETTLE_TIMEOUT_MS = 20_000;
const POLL_WAIT_MS = 20_000;
const RETRY_MS = 200;
const doneSchema = z.object({});

/** The development node behind its service: real Lightning payments, on regtest only. */
export function createEmbeddedProvider(deps: EmbeddedProviderDeps): LightningProvider {
  const service = { url: deps.url.replace(/\/$/, ''), token: deps.token };
  const get = <T extends z.ZodType>(path: string, answer: T, signal: AbortSignal) =>
    ask(service, { method: 'GET', path, answer, timeoutMs: TIMEOUT_MS }, signal);
  const post = <T extends z.ZodType>(request: Omit<ServiceRequest<T>, 'method'>, signal: AbortSignal) =>
    ask(service, { method: 'POST', ...request }, signal);

  return {
    name: 'embedded',
    network: 'regtest',
    can: { hold: true, msat: true, payout: true, keysend: false },
    createInvoice: ({ hold, ...input }, signal) => {
      const body = { ...input, ...(hold ? { paymentHash: hold.paymentHash } : {}) };
      return post({ path: '/invoices', body, answer: mintedSchema, timeoutMs: TIMEOUT_MS }, signal);
    },
    lookup: async (paymentHash, signal) =>
      toStanding(await get(`/invoices/${paymentHash}`, standingSchema, signal)),
    settle: async ({ paymentHash, preimage }, signal) => {
      const path = `/invoices/${paymentHash}/settle`;
      await post({ path, body: { preimage }, answer: doneSchema, timeoutMs: SETTLE_TIMEOUT_MS }, signal);
    },
    cancel: async (paymentHash, signal) => {
      const path = `/invoices/${paymentHash}/cancel`;
      await post({ path, body: {}, answer: doneSchema, timeoutMs: TIMEOUT_MS }, signal);
    },
    pay: async (input, signal) => {
      const timeoutMs = input.timeoutMs + TIMEOUT_MS;
      const request = { path: '/payments', body: input, answer: paymentSchema, timeoutMs };
      try {
        const payment = await post(request, signal);
        return payment.kind === 'missing' ? { kind: 'pending' } : payment;
      } catch (error) {
        // The service refuses before anything leaves; after any other error it may have paid.
        if (error instanceof Refusal) return { kind: 'failed', reason: error.message };
        throw error;
      }
    },
    track: (paymentHash, signal) => get(`/payments/${paymentHash}`, paymentSchema, signal),
    subscribe: async (cursor, onChange, signal) => {
      let last = cursor;
      while (!signal.aborted) {
        const changes = await readChanges(service, last, signal);
        for (const { paymentHash, standing, cursor: next } of changes) {
          if (signal.aborted) return;
          await onChange({ paymentHash, standing: toStanding(standing), cursor: next });
          last = next;
        }
      }
    },
    balance: (signal) => get('/balance', balanceSchema, signal),
    health: async (signal) => {
      try {
        return (await get('/health', healthSchema, signal)).isReady;
      } catch {
        // Whatever keeps it from answering keeps it from being paid.
        return false;
      }
    },
  };
}

/** Waits for changes; none when the service is away, which is asked again after a pause. */
async function readChanges(
  service: { url: string; token: string },
  cursor: string | undefined,
  signal: AbortSignal,
): Promise<z.output<typeof changesSchema>['changes']> {
  const query = new URLSearchParams({ waitMs: String(POLL_WAIT_MS), ...(cursor ? { after: cursor } : {}) });
  const request = { method: 'GET', path: `/changes?${query}`, answer: changesSchema } as const;
  try {
    return (await ask(service, { ...request, timeoutMs: POLL_WAIT_MS + TIMEOUT_MS }, signal)).changes;
  } catch {
    await sleep(RETRY_MS, undefined, { signal }).catch(() => {});
    return [];
  }
}

/** The optional dates are absent, not undefined. */
function toStanding(standing: z.output<typeof standingSchema>): InvoiceStanding {
  const { state, receivedMsat, settledAt, holdDeadline } = standing;
  return {
    state,
    receivedMsat,
    ...(settledAt === undefined ? {} : { settledAt }),
    ...(holdDeadline === undefined ? {} : { holdDeadline }),
  };
}
