import { readInvoice } from '../../src/payments/rails/lightning/bolt11.ts';
import type { TestLightning } from './lightning.ts';
import {
  type Minted,
  openLedger,
  type Sent,
  type Shim,
  type ShimAnswer,
  type ShimLedger,
  type ShimRequest,
  serveShim,
  text,
} from './lightning-shim-server.ts';

export type LnbitsShim = Shim & { invoiceKey: string; adminKey: string };

const INVOICE_KEY = 'a1'.repeat(16);
const ADMIN_KEY = 'b2'.repeat(16);
/** What LNbits may show of an invoice that nobody has paid. */
const EARLY_PREIMAGE = '00'.repeat(32);
const PAYMENTS = '/api/v1/payments';
const FEE_MAX_MSAT = 10_000n;
const PAY_TIMEOUT_MS = 3_000;

const refuse = (status: number, detail: string, more: object = {}): ShimAnswer => ({
  status,
  body: { detail, ...more },
});

/** LNbits 1.5: whole satoshis, keys for reading and for paying, and a status that strangers may read. */
export async function startLnbitsShim({ node }: Pick<TestLightning, 'node'>): Promise<LnbitsShim> {
  const ledger = openLedger(node);
  const shim = await serveShim(ledger, async (request) => {
    const { method, path } = request;
    const key = request.headers['x-api-key'];
    const isKnown = key === INVOICE_KEY || key === ADMIN_KEY;
    if (method === 'GET' && path.startsWith(`${PAYMENTS}/`)) {
      return showPayment(ledger, path.slice(PAYMENTS.length + 1), isKnown);
    }
    if (!isKnown) return refuse(401, 'Invalid key or wallet.');
    if (method === 'GET' && path === '/api/v1/wallet') {
      const { msat } = await node.balance(request.signal);
      return { status: 200, body: { name: 'gateway', balance: Number(msat) } };
    }
    if (method === 'GET' && path === PAYMENTS) return list(ledger, request);
    if (method !== 'POST' || path !== PAYMENTS) return refuse(404, 'Not Found');
    if (request.body.out !== true) return mint(ledger, request);
    return key === ADMIN_KEY ? pay(ledger, request) : refuse(403, 'Invalid adminkey.');
  });
  return { ...shim, invoiceKey: INVOICE_KEY, adminKey: ADMIN_KEY };
}

async function mint(ledger: ShimLedger, { body }: ShimRequest): Promise<ShimAnswer> {
  const sats = Number(body.amount);
  if (body.unit !== 'sat' || !Number.isInteger(sats) || sats < 1)
    return refuse(400, 'Amount must be positive.');
  const minted = await ledger.mint({
    amountMsat: BigInt(sats) * 1000n,
    memo: text(body.memo),
    expirySeconds: Number(text(body.expiry, '3600')),
  });
  const details = await showMinted(ledger, minted);
  return { status: 201, body: { ...details, checking_id: minted.paymentHash } };
}

async function showPayment(ledger: ShimLedger, hash: string, isKnown: boolean): Promise<ShimAnswer> {
  const [minted, sent] = [ledger.minted.get(hash), await ledger.payment(hash)];
  const details = minted ? await showMinted(ledger, minted) : sent && showSent(sent);
  if (details === undefined) return refuse(404, 'Payment does not exist.');
  const paid = details.status === 'success';
  const preimage = details.preimage || EARLY_PREIMAGE;
  return { status: 200, body: { paid, preimage, ...(isKnown ? { status: details.status, details } : {}) } };
}

async function list(ledger: ShimLedger, { query }: ShimRequest): Promise<ShimAnswer> {
  const rows = [
    ...(await Promise.all([...ledger.minted.values()].map((minted) => showMinted(ledger, minted)))),
    ...[...ledger.sent.values()].map(showSent),
  ].sort((a, b) => b.time.localeCompare(a.time));
  const offset = Number(query.get('offset') ?? '0');
  return { status: 200, body: rows.slice(offset, offset + Number(query.get('limit') ?? '10')) };
}

async function pay(ledger: ShimLedger, { body }: ShimRequest): Promise<ShimAnswer> {
  const invoice = text(body.bolt11);
  const { paymentHash, msat } = readInvoice(invoice);
  if (msat === undefined) return refuse(520, 'Amountless invoices not supported.', { status: 'failed' });
  const earlier = (await ledger.payment(paymentHash))?.standing.kind;
  if (earlier === 'succeeded') return refuse(520, 'Internal invoice already paid.', { status: 'failed' });
  if (earlier === 'pending') return refuse(520, 'Payment is still pending.', { status: 'pending' });
  const terms = { feeMaxMsat: FEE_MAX_MSAT, timeoutMs: PAY_TIMEOUT_MS };
  const sent = await ledger.send({ invoice, paymentHash, amountMsat: msat, ...terms });
  const { standing } = sent;
  if (standing.kind === 'failed') {
    return refuse(520, `Payment failed: ${standing.reason}`, { status: 'failed' });
  }
  return { status: 201, body: { ...showSent(sent), checking_id: paymentHash } };
}

async function showMinted(ledger: ShimLedger, minted: Minted) {
  const { state } = await ledger.standing(minted.paymentHash);
  // An invoice that expired stays pending until LNbits sweeps it.
  const status = state === 'settled' ? 'success' : state === 'cancelled' ? 'failed' : 'pending';
  return {
    payment_hash: minted.paymentHash,
    bolt11: minted.invoice,
    amount: Number(minted.amountMsat),
    fee: 0,
    memo: minted.memo,
    status,
    preimage: minted.preimage,
    time: minted.createdAt.toISOString(),
  };
}

function showSent({ paymentHash, invoice, amountMsat, standing, createdAt }: Sent) {
  const status = { succeeded: 'success', failed: 'failed', pending: 'pending' }[standing.kind];
  const fee = standing.kind === 'succeeded' ? -Number(standing.feeMsat) : 0;
  return {
    payment_hash: paymentHash,
    bolt11: invoice,
    amount: -Number(amountMsat),
    fee,
    memo: '',
    status,
    preimage: standing.kind === 'succeeded' ? standing.preimage : '',
    time: createdAt.toISOString(),
  };
}
