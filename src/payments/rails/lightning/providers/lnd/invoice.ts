import { z } from 'zod';
import type { Clock } from '../../../../../core/clock.ts';
import { type Http, type HttpCall, HttpError, readLines } from '../../http.ts';
import type { InvoiceStanding } from '../../provider.ts';
import { BLOCK_MS, base64ToHex, int64 } from '../fields.ts';

/** LND gives a held payment back this many blocks before it expires (`invoices.holdexpirydelta`). */
const HOLD_EXPIRY_DELTA_BLOCKS = 12;

export const invoiceSchema = z.object({
  r_hash: z.string().transform(base64ToHex),
  r_preimage: z.string().default(''),
  state: z.enum(['OPEN', 'ACCEPTED', 'SETTLED', 'CANCELED']),
  creation_date: int64,
  expiry: int64,
  amt_paid_msat: int64.default(0n),
  settle_date: int64.default(0n),
  settle_index: int64.default(0n),
  htlcs: z
    .array(
      z.object({
        amt_msat: int64,
        expiry_height: z.number(),
        state: z.enum(['ACCEPTED', 'SETTLED', 'CANCELED']),
      }),
    )
    .default([]),
});
export type LndInvoice = z.infer<typeof invoiceSchema>;

/** What lnd says of an invoice; `height` is its best block, which a held one is measured by. */
export function toStanding(deps: { clock: Clock }, invoice: LndInvoice, height?: number): InvoiceStanding {
  const now = deps.clock.now();
  const arrived = invoice.htlcs.filter(({ state }) => state !== 'CANCELED');
  // `amt_paid_msat` is only sure to be set once the invoice is settled.
  const inHtlcs = arrived.reduce((sum, { amt_msat }) => sum + amt_msat, 0n);
  const receivedMsat = invoice.amt_paid_msat > inHtlcs ? invoice.amt_paid_msat : inHtlcs;
  switch (invoice.state) {
    case 'OPEN':
      return { state: isExpired(invoice, now) ? 'expired' : 'open', receivedMsat: 0n };
    case 'CANCELED':
      // LND cancels what expires, too.
      return { state: isUnpaidAndExpired(invoice, now) ? 'expired' : 'cancelled', receivedMsat: 0n };
    case 'SETTLED':
      return { state: 'settled', receivedMsat, settledAt: new Date(Number(invoice.settle_date) * 1000) };
    case 'ACCEPTED': {
      if (height === undefined || arrived.length === 0) return { state: 'held', receivedMsat };
      const lastBlock =
        Math.min(...arrived.map(({ expiry_height }) => expiry_height)) - HOLD_EXPIRY_DELTA_BLOCKS;
      const holdDeadline = new Date(now.getTime() + Math.max(0, lastBlock - height) * BLOCK_MS);
      return { state: 'held', receivedMsat, holdDeadline };
    }
    default:
      return invoice.state satisfies never;
  }
}

function isExpired({ creation_date, expiry }: LndInvoice, now: Date): boolean {
  return Number(creation_date + expiry) * 1000 <= now.getTime();
}

function isUnpaidAndExpired(invoice: LndInvoice, now: Date): boolean {
  return invoice.htlcs.length === 0 && isExpired(invoice, now);
}

const lineSchema = z.object({ result: invoiceSchema });

/** Every invoice that a stream of lnd tells of. */
export async function* readInvoices(
  http: Http,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<LndInvoice> {
  const call: HttpCall = { method: 'GET', path };
  const response = await http.stream(call, signal);
  if (response.statusCode !== 200) {
    throw new HttpError(call, { status: response.statusCode, body: await response.body.text() });
  }
  for await (const line of readLines(response.body)) yield lineSchema.parse(JSON.parse(line)).result;
}
