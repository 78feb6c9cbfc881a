import { deriveKey } from '../../core/bytes.ts';
import { type Millicents, millicents } from '../../core/money.ts';
import { seal, unseal } from '../../core/seal.ts';
import type { Sql } from '../../db/index.ts';
import {
  deleteUnpaid,
  findInvoice,
  findInvoiceCursor,
  type InvoiceRow,
  insertInvoice,
  listArrived,
  listOpen,
  saveInvoiceCursor,
  updateInvoice,
} from './store.ts';

/**
 * Where an invoice stands, as far as we noted it. `held`: the payment waits for us. `paid`: it has arrived and
 * no claim has taken it yet. `settled`: a claim has. The node knows better; this says what is left to do.
 */
export type InvoiceState = 'open' | 'held' | 'paid' | 'settled' | 'cancelled' | 'expired';

/** The price lock of one Lightning payment. */
export type NewInvoice = {
  /** 32 bytes, lower-case hex. */
  paymentHash: string;
  quoteHash: Buffer;
  invoice: string;
  msat: bigint;
  price: Millicents;
  rate: { millicentsPerBtc: bigint; source: string; at: Date; spreadBps: bigint };
  isHold: boolean;
  /** Lower-case hex; undefined when the node made it. */
  preimage: string | undefined;
  expiresAt: Date;
};

export type Invoice = NewInvoice & { state: InvoiceState; receivedMsat: bigint };

/** The invoices that all gateways have minted. */
export type Invoices = {
  insert(invoice: NewInvoice): Promise<void>;
  find(paymentHash: string): Promise<Invoice | undefined>;
  /** Notes what became of it; a state that comes late changes nothing. */
  note(paymentHash: string, change: { state: InvoiceState; receivedMsat: bigint }): Promise<void>;
  /** Notes a held payment, unless so many are held already. */
  noteHeld(paymentHash: string, held: { receivedMsat: bigint; heldMax: number }): Promise<boolean>;
  /** Open ones, the earliest expiry first. */
  listOpen(page: { expiredBefore: Date; after?: Invoice; rowsMax: number }): Promise<Invoice[]>;
  /** Held and paid ones that have been so since before `changedBefore`. */
  listArrived(page: { changedBefore: Date; rowsMax: number }): Promise<Invoice[]>;
  loadCursor(node: string): Promise<string | undefined>;
  saveCursor(node: string, cursor: string): Promise<void>;
  /** Forgets those that expired or were cancelled before `expiredBefore`. */
  prune(page: { expiredBefore: Date; rowsMax: number }): Promise<number>;
};

const CONTEXT = 'invoice';

/** The first secret seals preimages, every one opens them. */
export function createInvoices(deps: { sql: Sql; secrets: readonly Buffer[] }): Invoices {
  const { sql } = deps;
  const keys = deps.secrets.map((secret) => deriveKey(secret, CONTEXT));
  const [sealingKey] = keys;
  if (!sealingKey) throw new RangeError('invoices need a secret');
  const read = (row: InvoiceRow) => toInvoice(row, keys);
  return {
    insert: ({ rate, preimage, ...invoice }) =>
      insertInvoice(sql, {
        ...invoice,
        rate: rate.millicentsPerBtc,
        rateSource: rate.source,
        rateAt: rate.at,
        spread: rate.spreadBps,
        preimage: preimage
          ? seal(sealingKey, Buffer.from(preimage, 'hex'), contextOf(invoice.paymentHash))
          : null,
      }),
    async find(paymentHash) {
      const row = await findInvoice(sql, paymentHash);
      return row && read(row);
    },
    async note(paymentHash, change) {
      await updateInvoice(sql, paymentHash, { ...change, from: COMES_FROM[change.state] });
    },
    noteHeld: (paymentHash, { receivedMsat, heldMax }) =>
      updateInvoice(sql, paymentHash, { state: 'held', receivedMsat, from: COMES_FROM.held, heldMax }),
    listOpen: async (page) => (await listOpen(sql, page)).map(read),
    listArrived: async (page) => (await listArrived(sql, page)).map(read),
    loadCursor: (node) => findInvoiceCursor(sql, node),
    saveCursor: (node, cursor) => saveInvoiceCursor(sql, node, cursor),
    prune: (page) => deleteUnpaid(sql, page),
  };
}

/** What a state may follow. Money that arrived outdoes everything but its own claim. */
const COMES_FROM: Record<InvoiceState, readonly InvoiceState[]> = {
  open: [],
  held: ['open', 'held', 'expired'],
  paid: ['open', 'held', 'paid', 'cancelled', 'expired'],
  settled: ['open', 'held', 'paid', 'cancelled', 'expired', 'settled'],
  cancelled: ['open', 'held', 'expired'],
  expired: ['open'],
};

function toInvoice(row: InvoiceRow, keys: readonly Buffer[]): Invoice {
  const { paymentHash, quoteHash, invoice, msat, isHold, expiresAt, state, receivedMsat } = row;
  const preimage = row.preimage && unseal(keys, row.preimage, contextOf(paymentHash));
  return {
    ...{ paymentHash, quoteHash, invoice, msat, isHold, expiresAt, state, receivedMsat },
    price: millicents(row.price),
    rate: { millicentsPerBtc: row.rate, source: row.rateSource, at: row.rateAt, spreadBps: row.spread },
    preimage: preimage ? preimage.toString('hex') : undefined,
  };
}

function contextOf(paymentHash: string): string {
  return `${CONTEXT}:${paymentHash}`;
}
