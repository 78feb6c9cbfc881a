import { setTimeout as sleep } from 'node:timers/promises';
import Stripe from 'stripe';
import type { Clock } from '../../../core/clock.ts';
import { createHealth, type Health } from './health.ts';

/**
 * The API version that knows shared payment tokens; it stands in the header of the calls that carry one, all
 * others speak the version of the SDK.
 */
export const SPT_VERSION = '2026-07-29.preview';

export type StripeClientDeps = {
  secretKey: string;
  /** Another server that speaks the API, in development. */
  apiBase: string | undefined;
  clock: Clock;
  timeouts: {
    /** The longest one HTTP exchange may take. */
    requestMs: number;
    /** The first wait before the same request is sent again; each further one is twice as long. */
    retryMs: number;
  };
};

/** Stripe's API, bounded: every call ends with `signal`, and what may be sent again is, a few times. */
export type StripeClient = {
  call<T>(signal: AbortSignal, request: (stripe: Stripe) => Promise<T>): Promise<T>;
  health: Health;
};

const ATTEMPTS_MAX = 6;
const RETRY_MS_MAX = 1_000;

/**
 * The SDK sends nothing twice by itself: every POST of ours has an idempotency key, and `call` repeats it.
 * Through `fetch` a signal reaches the socket, and a broken connection is not retried behind our back.
 */
export function createStripeClient(deps: StripeClientDeps): StripeClient {
  const health = createHealth(deps.clock);

  async function attempt<T>(signal: AbortSignal, request: (stripe: Stripe) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    try {
      const answer = await request(openSdk(deps, signal));
      health.note('answered');
      return answer;
    } catch (error) {
      if (!signal.aborted) health.note(isOutage(error) ? 'failed' : 'answered');
      throw error;
    }
  }

  return {
    health,
    async call(signal, request) {
      for (let tries = 1; ; tries++) {
        try {
          return await attempt(signal, request);
        } catch (error) {
          if (signal.aborted || tries === ATTEMPTS_MAX || !isRepeatable(error)) throw error;
          const waitMs = Math.min(deps.timeouts.retryMs * 2 ** (tries - 1), RETRY_MS_MAX);
          await sleep(waitMs * (0.5 + Math.random() / 2), undefined, { signal });
        }
      }
    },
  };
}

/**
 * An SDK for one call, as that has no other way to hand its signal on. Made in a fifth of a millisecond; an
 * `AsyncLocalStorage` would make every promise of the process dearer from the first call on.
 */
function openSdk(deps: StripeClientDeps, caller: AbortSignal): Stripe {
  return new Stripe(deps.secretKey, {
    ...toAddress(deps.apiBase),
    maxNetworkRetries: 0,
    timeout: deps.timeouts.requestMs,
    telemetry: false,
    httpClient: Stripe.createFetchHttpClient((url, init) => {
      const signal = init?.signal ? AbortSignal.any([caller, init.signal]) : caller;
      const headers = new Headers(init?.headers);
      // `fetch` says it itself. The dispatcher of a newer undici, where one is loaded first, refuses to hear it twice.
      headers.delete('content-length');
      return fetch(url, { ...init, headers, signal });
    }),
  });
}

function toAddress(apiBase: string | undefined): Pick<Stripe.StripeConfig, 'host' | 'port' | 'protocol'> {
  if (apiBase === undefined) return {};
  const url = new URL(apiBase);
  const isPlain = url.protocol === 'http:';
  return {
    host: url.hostname,
    port: url.port === '' ? (isPlain ? 80 : 443) : Number(url.port),
    protocol: isPlain ? 'http' : 'https',
  };
}

/** Nothing was heard from Stripe, or only that it cannot serve us: a wrong key is an outage too. */
function isOutage(error: unknown): boolean {
  if (!(error instanceof Stripe.errors.StripeError)) return true;
  const { statusCode } = error;
  return statusCode === undefined || statusCode >= 500 || statusCode === 401 || statusCode === 403;
}

/** The same request may fare better: no answer, overload, or the same key being worked on at this moment. */
function isRepeatable(error: unknown): boolean {
  if (!(error instanceof Stripe.errors.StripeError)) return false;
  const { statusCode } = error;
  return statusCode === undefined || statusCode === 409 || statusCode === 429 || statusCode >= 500;
}
