import type { Nip47Transaction, NWCClient } from '@getalby/sdk/nwc';
import { WebSocket } from 'undici';
import { z } from 'zod';
import type { Clock } from '../../../../core/clock.ts';
import { timeLimit } from '../../../../core/time-limit.ts';
import type { LightningNetwork } from '../../../rail.ts';
import { readInvoice } from '../bolt11.ts';
import type { InvoiceChange, InvoiceStanding, LightningProvider, PaymentStanding } from '../provider.ts';
import { createChangeQueue } from './change-queue.ts';
import { BLOCK_MS, int64, toPaymentStanding } from './fields.ts';
import { type PolledChange, pollChanges } from './polled-changes.ts';

export type NwcOptions = {
  /** `nostr+walletconnect://<pubkey>?relay=...&secret=...`. */
  url: string;
  network: LightningNetwork;
  clock: Clock;
  timeoutMs?: number;
  pollMs?: number;
};

const TIMEOUT_MS = 10_000;
const POLL_MS = 5_000;
const OVERLAP_MS = 15 * 60 * 1000;
const PAGE_ROWS = 50;
const PAGES_MAX = 40;
const HOLD_METHODS = ['make_hold_invoice', 'settle_hold_invoice', 'cancel_hold_invoice'];

/**
 * Any wallet that speaks Nostr Wallet Connect (NIP-47). Whether it has hold invoices is known from its first
 * answer to `health`: it must announce the methods, and that it tells of accepted payments.
 */
export function createNwcProvider(options: NwcOptions): LightningProvider {
  const { network, clock, pollMs = POLL_MS, timeoutMs = TIMEOUT_MS } = options;
  const wallet = createWallet(options.url, timeoutMs);
  let hasHolds = false;
  let blockHeight: number | undefined;
  const lookup = async (paymentHash: string, signal: AbortSignal): Promise<InvoiceStanding> => {
    const found = await find(wallet, paymentHash, signal);
    if (found?.type !== 'incoming') return { state: 'missing', receivedMsat: 0n };
    return toStanding(found, clock.now(), blockHeight);
  };
  return {
    name: 'nwc',
    network,
    can: {
      get hold() {
        return hasHolds;
      },
      msat: true,
      payout: true,
      keysend: true,
    },
    async createInvoice({ amountMsat, memo, expirySeconds: expiry, hold }, signal) {
      const terms = { amount: Number(amountMsat), description: memo, expiry };
      const minted = await wallet.ask(
        (client) =>
          hold
            ? client.makeHoldInvoice({ ...terms, payment_hash: hold.paymentHash })
            : client.makeInvoice(terms),
        signal,
      );
      const { invoice } = mintedSchema.parse(minted);
      const { paymentHash, expiresAt } = readInvoice(invoice);
      return { invoice, paymentHash, expiresAt };
    },
    lookup,
    async settle({ paymentHash, preimage }, signal) {
      try {
        await wallet.ask((client) => client.settleHoldInvoice({ preimage }), signal);
      } catch (cause) {
        if ((await lookup(paymentHash, signal)).state !== 'settled') throw cause;
      }
    },
    async cancel(paymentHash, signal) {
      const { state } = await lookup(paymentHash, signal);
      if (state === 'settled') throw new Error('the wallet has taken the payment already');
      if (!hasHolds || state === 'cancelled' || state === 'expired' || state === 'missing') return;
      await wallet.ask((client) => client.cancelHoldInvoice({ payment_hash: paymentHash }), signal);
    },
    pay: (input, signal) => pay(wallet, input, signal),
    track: (paymentHash, signal) => track(wallet, paymentHash, signal),
    subscribe: (cursor, onChange, signal) =>
      subscribe({ wallet, clock, pollMs, lookup }, { cursor, onChange }, signal),
    async balance(signal) {
      const { balance } = await wallet.ask((client) => client.getBalance(), signal);
      return { msat: BigInt(balance) };
    },
    async health(signal) {
      const info = infoSchema.parse(await wallet.ask((client) => client.getInfo(), signal));
      blockHeight = info.block_height;
      hasHolds =
        HOLD_METHODS.every((method) => info.methods.includes(method)) &&
        info.notifications.includes('hold_invoice_accepted');
      return info.methods.includes('make_invoice') && info.methods.includes('lookup_invoice');
    },
  };
}

const infoSchema = z.object({
  methods: z.array(z.string()),
  notifications: z.array(z.string()).default([]),
  block_height: z.number().optional(),
});
const mintedSchema = z.object({ invoice: z.string() });
const transactionSchema = z.object({
  type: z.enum(['incoming', 'outgoing']),
  /** Wallets from before hold invoices leave it out. */
  state: z.string().nullish(),
  invoice: z.string().nullish(),
  payment_hash: z.string(),
  preimage: z.string().nullish(),
  amount: int64,
  fees_paid: int64.nullish(),
  created_at: z.number(),
  settled_at: z.number().nullish(),
  expires_at: z.number().nullish(),
  settle_deadline: z.number().nullish(),
});
type Transaction = z.infer<typeof transactionSchema>;
const listSchema = z.object({ transactions: z.array(z.unknown()) });

type Wallet = {
  /** One request, bounded: the SDK itself waits for a minute and knows no signal. */
  ask<T>(send: (client: NWCClient) => Promise<T>, signal: AbortSignal, boundMs?: number): Promise<T>;
  client(): Promise<NWCClient>;
};

function createWallet(url: string, timeoutMs: number): Wallet {
  let opened: Promise<NWCClient> | undefined;
  const client = () => {
    opened ??= open(url);
    return opened;
  };
  return {
    client,
    async ask(send, signal, boundMs = timeoutMs) {
      const bound = timeLimit(signal, boundMs);
      bound.throwIfAborted();
      const answer = client().then(send);
      return Promise.race([answer, whenAborted(bound)]);
    },
  };
}

async function open(url: string): Promise<NWCClient> {
  // Node 20 has no WebSocket of its own, and the SDK takes the global one when it is loaded.
  if (!('WebSocket' in globalThis)) Object.assign(globalThis, { WebSocket });
  const { NWCClient } = await import('@getalby/sdk/nwc');
  return new NWCClient({ nostrWalletConnectUrl: url });
}

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** The code of NIP-47 with which a wallet refused; what the SDK adds for failures of its own are other codes. */
function codeOf(cause: unknown): string | undefined {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
}

async function find(
  wallet: Wallet,
  paymentHash: string,
  signal: AbortSignal,
): Promise<Transaction | undefined> {
  try {
    const found = await wallet.ask((client) => client.lookupInvoice({ payment_hash: paymentHash }), signal);
    const transaction = transactionSchema.parse(found);
    if (transaction.payment_hash !== paymentHash) throw new Error('the wallet answered for another payment');
    return transaction;
  } catch (cause) {
    if (codeOf(cause) === 'NOT_FOUND') return undefined;
    throw cause;
  }
}

function toStanding(transaction: Transaction, now: Date, blockHeight?: number): InvoiceStanding {
  const { state, amount, settled_at, expires_at, settle_deadline } = transaction;
  if (state === 'settled' || (!state && settled_at)) {
    return { state: 'settled', receivedMsat: amount, settledAt: new Date((settled_at ?? 0) * 1000) };
  }
  if (state === 'accepted') {
    if (!settle_deadline || blockHeight === undefined) return { state: 'held', receivedMsat: amount };
    // The deadline is a block height.
    const msLeft = Math.max(0, settle_deadline - blockHeight) * BLOCK_MS;
    return { state: 'held', receivedMsat: amount, holdDeadline: new Date(now.getTime() + msLeft) };
  }
  if (expires_at && expires_at * 1000 <= now.getTime()) return { state: 'expired', receivedMsat: 0n };
  return { state: state === 'failed' ? 'cancelled' : 'open', receivedMsat: 0n };
}

type Subscription = {
  wallet: Wallet;
  clock: Clock;
  pollMs: number;
  lookup: LightningProvider['lookup'];
};

/** Notifications for what is held and for speed; a list, again and again, because relays lose notifications. */
async function subscribe(
  deps: Subscription,
  from: { cursor: string | undefined; onChange: (change: InvoiceChange) => Promise<void> },
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) return;
  const stop = new AbortController();
  const bound = AbortSignal.any([signal, stop.signal]);
  const queue = createChangeQueue(from.onChange);
  let cursor = from.cursor ?? '0';
  const client = await deps.wallet.client();
  const unsubscribe = await client.subscribeNotifications(
    ({ notification }) => {
      void tell(deps, queue.push, { notification, cursor }, bound);
    },
    ['payment_received', 'hold_invoice_accepted'],
  );
  try {
    const list = (since: Date) => listSettled(deps, since, bound);
    const polling = pollChanges(
      { everyMs: deps.pollMs, overlapMs: OVERLAP_MS, list },
      {
        cursor: from.cursor,
        onChange: async (change) => {
          cursor = change.cursor;
          await queue.push(change);
        },
      },
      bound,
    );
    await Promise.race([polling, queue.failed]);
  } finally {
    unsubscribe();
    stop.abort();
    await queue.idle();
  }
}

/** A notification only points at an invoice: how that stands the wallet is asked itself. */
async function tell(
  deps: Subscription,
  push: (change: InvoiceChange) => Promise<void>,
  input: { notification: Nip47Transaction; cursor: string },
  signal: AbortSignal,
): Promise<void> {
  const { payment_hash: paymentHash, type } = input.notification;
  if (type !== 'incoming') return;
  try {
    const standing = await deps.lookup(paymentHash, signal);
    if (standing.state !== 'open') await push({ paymentHash, standing, cursor: input.cursor });
  } catch {
    // The list and the rail's sweep find what was not told.
  }
}

async function listSettled(deps: Subscription, since: Date, signal: AbortSignal): Promise<PolledChange[]> {
  const found: PolledChange[] = [];
  const now = deps.clock.now();
  const from = Math.floor(since.getTime() / 1000);
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const request = { from, type: 'incoming' as const, limit: PAGE_ROWS, offset: page * PAGE_ROWS };
    const answer = await deps.wallet.ask((client) => client.listTransactions(request), signal);
    const { transactions } = listSchema.parse(answer);
    for (const transaction of transactions.map((each) => transactionSchema.parse(each))) {
      const standing = toStanding(transaction, now);
      if (transaction.type !== 'incoming' || standing.state !== 'settled') continue;
      const at = new Date(transaction.created_at * 1000);
      found.push({ paymentHash: transaction.payment_hash, standing, at });
    }
    if (transactions.length < PAGE_ROWS) break;
  }
  return found;
}

/** Refusals after which nothing has left; any other answer, or none, leaves that open. */
const REFUSALS = new Set([
  'PAYMENT_FAILED',
  'INSUFFICIENT_BALANCE',
  'QUOTA_EXCEEDED',
  'RESTRICTED',
  'UNAUTHORIZED',
  'NOT_IMPLEMENTED',
]);

async function pay(
  wallet: Wallet,
  input: Parameters<LightningProvider['pay']>[0],
  signal: AbortSignal,
): Promise<PaymentStanding> {
  const { paymentHash } = readInvoice(input.invoice);
  const earlier = await track(wallet, paymentHash, signal);
  if (earlier.kind === 'succeeded' || earlier.kind === 'pending') return earlier;
  const amount = input.amountMsat === undefined ? {} : { amount: Number(input.amountMsat) };
  try {
    const request = { invoice: input.invoice, ...amount };
    const paid = await wallet.ask((client) => client.payInvoice(request), signal, input.timeoutMs);
    const feeMsat = BigInt(paid.fees_paid ?? 0);
    return toPaymentStanding({ state: 'succeeded', preimage: paid.preimage, feeMsat });
  } catch (cause) {
    const code = codeOf(cause);
    if (code === undefined || !REFUSALS.has(code)) return { kind: 'pending' };
    const known = await track(wallet, paymentHash, signal).catch(() => undefined);
    if (known?.kind === 'succeeded') return known;
    return { kind: 'failed', reason: `the wallet refused to pay (${code})` };
  }
}

async function track(
  wallet: Wallet,
  paymentHash: string,
  signal: AbortSignal,
): Promise<PaymentStanding | { kind: 'missing' }> {
  const found = await find(wallet, paymentHash, signal);
  if (found?.type !== 'outgoing') return { kind: 'missing' };
  const isSettled = found.state === 'settled' || (!found.state && found.settled_at);
  return toPaymentStanding({
    state: isSettled ? 'succeeded' : found.state === 'failed' ? 'failed' : 'pending',
    preimage: found.preimage ?? undefined,
    feeMsat: found.fees_paid ?? 0n,
  });
}
