import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Event } from './objects.ts';

const TIMEOUT_MS = 10_000;
/** Stripe tries for three days; here the waits are short, and there are as many. */
const RETRY_MS = [100, 300, 1_000, 3_000, 10_000];

export type Delivery = { eventId: string; status: number | undefined };

export type Webhooks = {
  /** Signs and sends an event until the address answers 2xx. */
  send(event: Event): void;
  /** Sends it once more, or for the first time, and answers what the address said. */
  deliver(event: Event): Promise<number>;
  setUrl(url: string | undefined): void;
  deliveries: Delivery[];
  close(): Promise<void>;
};

/** `Stripe-Signature` for a payload (Verify webhook signatures manually). */
export function signPayload(secret: string, payload: string, seconds: number): string {
  const signature = createHmac('sha256', secret).update(`${seconds}.${payload}`).digest('hex');
  return `t=${seconds},v1=${signature}`;
}

export function createWebhooks(input: {
  secret: string;
  url: string | undefined;
  nowMs: () => number;
}): Webhooks {
  let { url } = input;
  const stop = new AbortController();
  const underWay = new Set<Promise<void>>();
  const deliveries: Delivery[] = [];

  async function post(event: Event): Promise<number> {
    if (url === undefined) throw new Error('no webhook address is set');
    const payload = JSON.stringify(event, undefined, 2);
    const signature = signPayload(input.secret, payload, Math.floor(input.nowMs() / 1_000));
    const headers = {
      'content-type': 'application/json; charset=utf-8',
      'user-agent': 'Stripe/1.0 (+https://stripe.com/docs/webhooks)',
      'stripe-signature': signature,
    };
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const answer = await fetch(url, { method: 'POST', headers, body: payload, signal });
    await answer.arrayBuffer();
    deliveries.push({ eventId: event.id, status: answer.status });
    return answer.status;
  }

  async function sendUntilTaken(event: Event): Promise<void> {
    for (const waitMs of [...RETRY_MS, undefined]) {
      try {
        const status = await post(event);
        if (status >= 200 && status < 300) return;
      } catch {
        // The address does not answer: that is what the next try is for.
        deliveries.push({ eventId: event.id, status: undefined });
      }
      if (waitMs === undefined || stop.signal.aborted) return;
      await sleep(waitMs, undefined, { signal: stop.signal }).catch(() => {});
    }
  }

  return {
    deliveries,
    deliver: post,
    setUrl(next) {
      url = next;
    },
    send(event) {
      if (url === undefined) return;
      const sending = sendUntilTaken(event).finally(() => underWay.delete(sending));
      underWay.add(sending);
    },
    async close() {
      stop.abort();
      await Promise.allSettled(underWay);
    },
  };
}
