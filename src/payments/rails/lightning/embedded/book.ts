import { z } from 'zod';
import type { InvoiceStanding, PaymentStanding } from '../provider.ts';

const msat = z
  .union([z.bigint(), z.stringFormat('msat', /^[0-9]{1,19}$/).transform((digits) => BigInt(digits))])
  .transform((value): bigint => value);

const invoiceSchema = z.object({
  kind: z.literal('invoice'),
  paymentHash: z.string(),
  invoice: z.string(),
  amountMsat: msat,
  isHold: z.boolean(),
  /** Milliseconds since 1970. */
  expiresAt: z.number(),
  /** `settling`: we hold the preimage and have told LDK; only its claim is missing. */
  state: z.enum(['open', 'held', 'settling', 'settled', 'cancelled']),
  receivedMsat: msat,
  preimage: z.string().optional(),
  channelId: z.string().optional(),
  /** LDK fails the payment at this height by itself. */
  deadlineHeight: z.number().optional(),
  settledAt: z.number().optional(),
  /** Counts every change of every invoice: the cursor of who follows. */
  change: z.number(),
});
export type InvoiceRecord = z.infer<typeof invoiceSchema>;

const paymentSchema = z.object({
  kind: z.literal('payment'),
  paymentHash: z.string(),
  amountMsat: msat,
  state: z.enum(['pending', 'succeeded', 'failed']),
  preimage: z.string().optional(),
  feeMsat: msat.optional(),
  reason: z.string().optional(),
  /** Milliseconds since 1970. */
  startedAt: z.number(),
});
export type PaymentRecord = z.infer<typeof paymentSchema>;

/** The count itself, which must not fall when the last invoice is forgotten. */
const countSchema = z.object({ kind: z.literal('count'), change: z.number() });

const entrySchema = z.discriminatedUnion('kind', [invoiceSchema, paymentSchema, countSchema]);

/** What the node knows of its invoices and payments beyond LDK: the two are committed together. */
export type Book = {
  invoice(paymentHash: string): InvoiceRecord | undefined;
  payment(paymentHash: string): PaymentRecord | undefined;
  putInvoice(record: Omit<InvoiceRecord, 'kind' | 'change'>): void;
  putPayment(record: Omit<PaymentRecord, 'kind'>): void;
  /** Invoices that changed after a cursor, each once as it now stands, in the order of their last change. */
  changesAfter(change: number, rowsMax: number): InvoiceRecord[];
  unfinished(): InvoiceRecord[];
  /** The lines of what changed since this was last asked. */
  takeEntries(): string[];
  /** Every line that is worth keeping. */
  allEntries(nowMs: number): string[];
};

/** Long after the last request that could ask for it; a payment to a forgotten hash is refused. */
const KEPT_MS = 30 * 24 * 3_600_000;

export function readBook(lines: readonly string[]): Book {
  const invoices = new Map<string, InvoiceRecord>();
  const payments = new Map<string, PaymentRecord>();
  let lastChange = 0;
  let entries: string[] = [];
  const place = (record: InvoiceRecord) => {
    // Removed first, because a map keeps the place of a key: its order is the order of changes.
    invoices.delete(record.paymentHash);
    invoices.set(record.paymentHash, record);
    lastChange = Math.max(lastChange, record.change);
  };
  for (const line of lines) {
    const entry = entrySchema.parse(JSON.parse(line));
    if (entry.kind === 'invoice') place(entry);
    else if (entry.kind === 'payment') payments.set(entry.paymentHash, entry);
    else lastChange = Math.max(lastChange, entry.change);
  }
  return {
    invoice: (paymentHash) => invoices.get(paymentHash),
    payment: (paymentHash) => payments.get(paymentHash),
    putInvoice: (input) => {
      const record: InvoiceRecord = { ...input, kind: 'invoice', change: lastChange + 1 };
      place(record);
      entries.push(toLine(record));
    },
    putPayment: (input) => {
      const record: PaymentRecord = { ...input, kind: 'payment' };
      payments.set(record.paymentHash, record);
      entries.push(toLine(record));
    },
    changesAfter: (change, rowsMax) => {
      if (change >= lastChange) return [];
      return [...invoices.values()].filter((record) => record.change > change).slice(0, rowsMax);
    },
    unfinished: () => [...invoices.values()].filter(({ state }) => state === 'held' || state === 'settling'),
    takeEntries: () => {
      const taken = entries;
      entries = [];
      return taken;
    },
    allEntries: (nowMs) => {
      const oldest = nowMs - KEPT_MS;
      for (const [hash, { state, expiresAt }] of invoices) {
        if (state !== 'held' && state !== 'settling' && expiresAt < oldest) invoices.delete(hash);
      }
      for (const [hash, { state, startedAt }] of payments) {
        if (state !== 'pending' && startedAt < oldest) payments.delete(hash);
      }
      entries = [];
      return [...invoices.values(), ...payments.values(), { kind: 'count', change: lastChange }].map(toLine);
    },
  };
}

/** How the outside sees an invoice. */
export function toInvoiceStanding(
  record: InvoiceRecord | undefined,
  at: { nowMs: number; height: number; marginBlocks: number; blockMs: number },
): InvoiceStanding {
  if (record === undefined) return { state: 'missing', receivedMsat: 0n };
  const { receivedMsat, settledAt, deadlineHeight } = record;
  switch (record.state) {
    case 'open':
      return { state: record.expiresAt <= at.nowMs ? 'expired' : 'open', receivedMsat: 0n };
    case 'held':
    case 'settling': {
      if (deadlineHeight === undefined) return { state: 'held', receivedMsat };
      const blocks = Math.max(0, deadlineHeight - at.marginBlocks - at.height);
      return { state: 'held', receivedMsat, holdDeadline: new Date(at.nowMs + blocks * at.blockMs) };
    }
    case 'settled':
      return {
        state: 'settled',
        receivedMsat,
        ...(settledAt === undefined ? {} : { settledAt: new Date(settledAt) }),
      };
    case 'cancelled':
      return { state: 'cancelled', receivedMsat: 0n };
    default:
      throw record.state satisfies never;
  }
}

/** How the outside sees a payment of ours. */
export function toPaymentStanding(record: PaymentRecord): PaymentStanding {
  const { state, preimage, feeMsat = 0n, reason = 'the payment failed' } = record;
  switch (state) {
    case 'pending':
      return { kind: 'pending' };
    case 'failed':
      return { kind: 'failed', reason };
    case 'succeeded':
      // A payment succeeds by its preimage, and is recorded with it.
      return preimage === undefined ? { kind: 'pending' } : { kind: 'succeeded', preimage, feeMsat };
    default:
      throw state satisfies never;
  }
}

function toLine(record: object): string {
  return JSON.stringify(record, (_, value) => (typeof value === 'bigint' ? String(value) : value));
}
