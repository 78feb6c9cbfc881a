import { setTimeout as sleep } from 'node:timers/promises';
import type { InvoiceChange, InvoiceStanding } from '../provider.ts';

export type PolledChange = { paymentHash: string; standing: InvoiceStanding; at: Date };

/**
 * The changes of a node that can only be asked: everything since the cursor, again and again. The cursor is a
 * time, and each round looks back a little further than that, because an invoice may be listed by when it was
 * minted and a clock may be behind.
 */
export async function pollChanges(
  options: {
    everyMs: number;
    /** Longer than an invoice lives. */
    overlapMs: number;
    list(since: Date, signal: AbortSignal): Promise<PolledChange[]>;
  },
  from: { cursor: string | undefined; onChange: (change: InvoiceChange) => Promise<void> },
  signal: AbortSignal,
): Promise<void> {
  let latest = from.cursor === undefined ? 0 : Number(from.cursor);
  // What was told within the overlap: one entry for each payment in it.
  let told = new Set<string>();
  while (!signal.aborted) {
    const since = new Date(Math.max(0, latest - options.overlapMs));
    try {
      const changes = await options.list(since, signal);
      changes.sort((a, b) => a.at.getTime() - b.at.getTime());
      const fresh = changes.filter((change) => !told.has(keyOf(change)));
      for (const { paymentHash, standing, at } of fresh) {
        signal.throwIfAborted();
        latest = Math.max(latest, at.getTime());
        await from.onChange({ paymentHash, standing, cursor: String(latest) });
      }
      told = new Set(changes.map(keyOf));
    } catch (cause) {
      if (!signal.aborted) throw cause;
    }
    await sleep(options.everyMs, undefined, { signal }).catch(() => {});
  }
}

function keyOf({ paymentHash, standing }: PolledChange): string {
  return `${paymentHash}:${standing.state}`;
}
