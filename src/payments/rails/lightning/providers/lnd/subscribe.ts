import { setMaxListeners } from 'node:events';
import type { Clock } from '../../../../../core/clock.ts';
import type { Http } from '../../http.ts';
import type { InvoiceChange, InvoiceStanding, LightningProvider } from '../../provider.ts';
import { createChangeQueue } from '../change-queue.ts';
import { hexToBase64Url } from '../fields.ts';
import { readInvoices, toStanding } from './invoice.ts';

/** Held invoices followed one by one; further ones are found by the rail's sweep. */
const FOLLOWED_MAX = 400;

export type MintedHolds = {
  add(hash: string): void;
  onAdd(follow: ((hash: string) => void) | undefined): void;
};

/** The hold invoices of this process: LND tells of an accepted payment only who asks for that very invoice. */
export function createMintedHolds(): MintedHolds {
  let recent: string[] = [];
  let follower: ((hash: string) => void) | undefined;
  return {
    add(hash) {
      recent = [...recent.slice(-FOLLOWED_MAX + 1), hash];
      follower?.(hash);
    },
    onAdd(follow) {
      follower = follow;
      if (follow) for (const hash of recent) follow(hash);
    },
  };
}

type Subscription = {
  clock: Clock;
  http: Http;
  lookup: LightningProvider['lookup'];
  minted: MintedHolds;
};

/**
 * Settlements by LND's own index, which survives restarts and is the cursor; and, for hold invoices, a stream
 * each, because the common one is silent about accepted and cancelled payments.
 */
export async function subscribe(
  deps: Subscription,
  from: { cursor: string | undefined; onChange: (change: InvoiceChange) => Promise<void> },
  signal: AbortSignal,
): Promise<void> {
  const stop = new AbortController();
  const bound = AbortSignal.any([signal, stop.signal]);
  setMaxListeners(0, bound);
  let cursor = from.cursor ?? '0';
  const queue = createChangeQueue(from.onChange);
  const tell = (paymentHash: string, standing: InvoiceStanding) =>
    queue.push({ paymentHash, standing, cursor });
  const followed = new Set<string>();
  deps.minted.onAdd((hash) => {
    if (followed.size >= FOLLOWED_MAX || followed.has(hash)) return;
    followed.add(hash);
    void followOne(deps, hash, tell, bound).finally(() => followed.delete(hash));
  });
  try {
    const path = `/v1/invoices/subscribe?settle_index=${cursor}`;
    const follow = (async () => {
      for await (const invoice of readInvoices(deps.http, path, bound)) {
        if (invoice.state !== 'SETTLED') continue;
        cursor = invoice.settle_index.toString();
        await tell(invoice.r_hash, toStanding(deps, invoice));
      }
      if (!signal.aborted) throw new Error('lnd ended its stream of invoices');
    })();
    await Promise.race([follow, queue.failed]);
  } catch (cause) {
    if (!signal.aborted) throw cause;
  } finally {
    deps.minted.onAdd(undefined);
    stop.abort();
    await queue.idle();
  }
}

/** One hold invoice until it is over. What the stream misses, the rail's sweep finds. */
async function followOne(
  deps: Subscription,
  paymentHash: string,
  tell: (paymentHash: string, standing: InvoiceStanding) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  try {
    const path = `/v2/invoices/subscribe/${hexToBase64Url(paymentHash)}`;
    for await (const invoice of readInvoices(deps.http, path, signal)) {
      if (invoice.state === 'OPEN') continue;
      // The common stream tells of settlements, in their order.
      if (invoice.state === 'SETTLED') return;
      await tell(paymentHash, await deps.lookup(paymentHash, signal));
      if (invoice.state === 'CANCELED') return;
    }
  } catch {
    // The connection broke or the subscription ended: the sweep looks at what was not told.
  }
}
