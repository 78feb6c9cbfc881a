import { setTimeout as sleep } from 'node:timers/promises';
import { addMs } from '../../../core/clock.ts';
import { timeLimit } from '../../../core/time-limit.ts';
import type { Invoice } from '../../invoice/invoice.ts';
import type { Arrival } from '../../rail.ts';
import type { LightningRailDeps } from './context.ts';
import { ARRIVAL_GRACE_MS, toAuthorization } from './identity.ts';
import type { InvoiceChange, InvoiceStanding } from './provider.ts';
import { giveBack } from './settle.ts';

/** A held payment that the node gives back sooner than this is not begun with: a run and its settlement. */
const HOLD_MARGIN_MS = 3 * 60 * 1000;
const RESUBSCRIBE_MS = 2_000;
const SWEEP_ROWS_MAX = 200;
const LOOKS_AT_ONCE = 4;
/** A node closes what expires by itself, a little later. */
const EXPIRY_SLACK_MS = 15_000;
const YEAR_MS = 365 * 24 * 60 * 60 * 1000;
const UNPAID_KEPT_MS = 7 * 24 * 60 * 60 * 1000;
const PRUNE_ROWS_MAX = 5_000;

type OnArrival = (arrival: Arrival) => Promise<void>;

/**
 * Hands every payment over that came by itself. What the node tells is noted in the database first, and what is
 * noted there is handed over until a claim has settled or cancelled it: by the subscription at once, and by a
 * sweep where that failed, was lost, or was another gateway's. Several gateways may watch one node.
 */
export async function watchInvoices(
  deps: LightningRailDeps,
  onArrival: OnArrival,
  signal: AbortSignal,
): Promise<void> {
  const delivery = createDelivery(deps, onArrival, signal);
  await Promise.all([follow(deps, delivery, signal), sweepOverAndOver(deps, delivery, signal)]);
  await delivery.idle();
}

type Delivery = {
  /** Notes how an invoice stands, and begins to hand its payment over. */
  take(invoice: Invoice, standing: InvoiceStanding): Promise<void>;
  /** Whether this process has handed it over, or is at it. */
  has(paymentHash: string): boolean;
  forget(known: ReadonlySet<string>): void;
  idle(): Promise<void>;
};

function createDelivery(deps: LightningRailDeps, onArrival: OnArrival, signal: AbortSignal): Delivery {
  // One entry for each invoice that is held or paid and not settled yet: the sweep forgets the others.
  const handed = new Set<string>();
  const underWay = new Set<Promise<void>>();
  function handOver(invoice: Invoice, state: 'held' | 'paid'): void {
    const { paymentHash, quoteHash } = invoice;
    if (handed.has(`${paymentHash}:${state}`)) return;
    handed.add(`${paymentHash}:${state}`);
    const authorization = toAuthorization(invoice, { state, preimage: '', now: deps.clock.now() });
    // Not awaited: a call may take its time, and the next payment is not to wait for it.
    const work = onArrival({ quoteHash, authorization }).catch((cause) => {
      handed.delete(`${paymentHash}:${state}`);
      if (!signal.aborted)
        deps.log.error({ err: cause, paymentHash }, 'a payment could not be handed over yet');
    });
    underWay.add(work);
    void work.finally(() => underWay.delete(work));
  }
  return {
    async take(invoice, standing) {
      const state = await note(deps, invoice, standing, signal);
      if (state !== undefined) handOver(invoice, state);
    },
    has: (key) => handed.has(key),
    forget(known) {
      for (const key of handed) if (!known.has(key)) handed.delete(key);
    },
    async idle() {
      await Promise.all(underWay);
    },
  };
}

/** Writes down how an invoice stands; what is to be handed over, if anything is. */
async function note(
  deps: LightningRailDeps,
  invoice: Invoice,
  standing: InvoiceStanding,
  signal: AbortSignal,
): Promise<'held' | 'paid' | undefined> {
  const { paymentHash, msat } = invoice;
  const { state, receivedMsat } = standing;
  switch (state) {
    case 'held': {
      const heldMax = deps.settings.heldMax;
      const isGood = receivedMsat >= msat && hasTimeLeft(deps, standing);
      if (isGood && (await deps.invoices.noteHeld(paymentHash, { receivedMsat, heldMax }))) return 'held';
      // Too little, too late or too many at once. One that a claim is at is never given back here.
      if (invoice.state === 'open' || invoice.state === 'expired') await giveBack(deps, paymentHash, signal);
      return undefined;
    }
    case 'settled':
      if (invoice.state === 'settled') return undefined;
      if (receivedMsat < msat) {
        deps.log.error(
          { paymentHash, receivedMsat, msat },
          'the node settled an invoice for less than it asks',
        );
        return undefined;
      }
      await deps.invoices.note(paymentHash, { state: 'paid', receivedMsat });
      return 'paid';
    case 'cancelled':
    case 'expired':
      await deps.invoices.note(paymentHash, { state, receivedMsat: 0n });
      return undefined;
    case 'open':
    case 'missing':
      return undefined;
    default:
      return state satisfies never;
  }
}

function hasTimeLeft(deps: LightningRailDeps, { holdDeadline }: InvoiceStanding): boolean {
  return holdDeadline === undefined || holdDeadline >= addMs(deps.clock.now(), HOLD_MARGIN_MS);
}

/** The node's own account of its invoices, from where any gateway of ours left off. */
async function follow(deps: LightningRailDeps, delivery: Delivery, signal: AbortSignal): Promise<void> {
  const { provider, invoices, log } = deps;
  const node = `${provider.name}:${provider.network}`;
  while (!signal.aborted) {
    try {
      const cursor = await invoices.loadCursor(node);
      await provider.subscribe(
        cursor,
        async (change) => {
          const invoice = await invoices.find(change.paymentHash);
          // Others may use the node too: what we did not mint is none of ours.
          if (invoice) await delivery.take(invoice, await confirm(deps, change, signal));
          if (change.cursor !== cursor) await invoices.saveCursor(node, change.cursor);
        },
        signal,
      );
    } catch (cause) {
      if (!signal.aborted) log.warn({ err: cause, node }, 'the subscription to the lightning node ended');
    }
    await sleep(RESUBSCRIBE_MS, undefined, { signal }).catch(() => {});
  }
}

/** A held payment is begun with: what is told may be older than what is so. */
async function confirm(
  deps: LightningRailDeps,
  { paymentHash, standing }: InvoiceChange,
  signal: AbortSignal,
): Promise<InvoiceStanding> {
  if (standing.state !== 'held') return standing;
  const bound = timeLimit(signal, deps.timeouts.lookMs);
  return deps.provider.lookup(paymentHash, bound);
}

async function sweepOverAndOver(
  deps: LightningRailDeps,
  delivery: Delivery,
  signal: AbortSignal,
): Promise<void> {
  // What became of open invoices while nobody watched, however old or new they are.
  let isFirst = true;
  while (!signal.aborted) {
    try {
      await sweepArrived(deps, delivery, { isFirst }, signal);
      await sweepOpen(deps, delivery, { isFirst }, signal);
      const expiredBefore = addMs(deps.clock.now(), -UNPAID_KEPT_MS);
      await deps.invoices.prune({ expiredBefore, rowsMax: PRUNE_ROWS_MAX });
      isFirst = false;
    } catch (cause) {
      if (!signal.aborted) deps.log.warn({ err: cause }, 'open invoices could not be looked at');
    }
    await sleep(deps.timeouts.sweepMs, undefined, { signal }).catch(() => {});
  }
}

/** Held and paid ones that no claim has ended: handed over again where this process has not done so. */
async function sweepArrived(
  deps: LightningRailDeps,
  delivery: Delivery,
  { isFirst }: { isFirst: boolean },
  signal: AbortSignal,
): Promise<void> {
  const now = deps.clock.now();
  // A younger one is in the hands of the gateway that noted it.
  const changedBefore = isFirst ? now : addMs(now, -deps.timeouts.sweepMs);
  const arrived = await deps.invoices.listArrived({ changedBefore, rowsMax: SWEEP_ROWS_MAX });
  const waiting = arrived.filter(
    ({ paymentHash, state }) => state === 'held' || !delivery.has(`${paymentHash}:${state}`),
  );
  await lookAt(deps, delivery, waiting, signal);
  if (arrived.length < SWEEP_ROWS_MAX) {
    const all = await deps.invoices.listArrived({
      changedBefore: addMs(now, 60_000),
      rowsMax: SWEEP_ROWS_MAX,
    });
    delivery.forget(
      new Set(all.flatMap(({ paymentHash }) => [`${paymentHash}:held`, `${paymentHash}:paid`])),
    );
  }
}

/** Open ones: all of them at first, and then those whose time is over. */
async function sweepOpen(
  deps: LightningRailDeps,
  delivery: Delivery,
  { isFirst }: { isFirst: boolean },
  signal: AbortSignal,
): Promise<void> {
  const now = deps.clock.now();
  const expiredBefore = addMs(now, isFirst ? YEAR_MS : -EXPIRY_SLACK_MS);
  let after: Invoice | undefined;
  do {
    const page = await deps.invoices.listOpen({
      ...{ expiredBefore, rowsMax: SWEEP_ROWS_MAX },
      ...(after ? { after } : {}),
    });
    await lookAt(deps, delivery, page, signal);
    after = page.length === SWEEP_ROWS_MAX ? page.at(-1) : undefined;
  } while (after && !signal.aborted);
}

async function lookAt(
  deps: LightningRailDeps,
  delivery: Delivery,
  found: readonly Invoice[],
  signal: AbortSignal,
): Promise<void> {
  for (let first = 0; first < found.length && !signal.aborted; first += LOOKS_AT_ONCE) {
    const few = found.slice(first, first + LOOKS_AT_ONCE);
    await Promise.all(few.map((invoice) => look(deps, delivery, invoice, signal)));
  }
}

async function look(
  deps: LightningRailDeps,
  delivery: Delivery,
  invoice: Invoice,
  signal: AbortSignal,
): Promise<void> {
  const bound = timeLimit(signal, deps.timeouts.lookMs);
  const standing = await deps.provider.lookup(invoice.paymentHash, bound);
  const isGone = standing.state === 'open' && addMs(invoice.expiresAt, ARRIVAL_GRACE_MS) <= deps.clock.now();
  await delivery.take(invoice, isGone ? { state: 'expired', receivedMsat: 0n } : standing);
}
