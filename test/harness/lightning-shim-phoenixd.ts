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

export type PhoenixdShim = Shim & { password: string };

const PASSWORD = 'c3'.repeat(32);
const DESCRIPTION_MAX = 128;
const PAY_TIMEOUT_MS = 3_000;
const FEE_MAX_MSAT = 10_000n;
const INCOMING = '/payments/incoming';
const OUTGOING = '/payments/outgoingbyhash/';

const show = (body: unknown): ShimAnswer => ({ status: 200, body });
const refuse = (status: number, body: string): ShimAnswer => ({ status, body });

/** ACINQ's phoenixd: forms in, JSON out, whole satoshis. */
export async function startPhoenixdShim({ node }: Pick<TestLightning, 'node'>): Promise<PhoenixdShim> {
  const ledger = openLedger(node);
  const expected = `Basic ${Buffer.from(`:${PASSWORD}`).toString('base64')}`;
  const shim = await serveShim(ledger, async (request) => {
    if (request.headers.authorization !== expected) return refuse(401, '');
    const { method, path } = request;
    if (method === 'POST' && path === '/createinvoice') return mint(ledger, request);
    if (method === 'POST' && path === '/payinvoice') return pay(ledger, request);
    if (method === 'GET' && path === INCOMING) return list(ledger, request);
    if (method === 'GET' && path.startsWith(`${INCOMING}/`)) {
      const minted = ledger.minted.get(path.slice(INCOMING.length + 1));
      return minted ? show(await showMinted(ledger, minted)) : refuse(404, 'Not found');
    }
    if (method === 'GET' && path.startsWith(OUTGOING)) {
      const sent = await ledger.payment(path.slice(OUTGOING.length));
      return sent ? show(showSent(sent)) : refuse(404, 'Not found');
    }
    if (method === 'GET' && path === '/getbalance') {
      const { msat } = await node.balance(request.signal);
      return show({ balanceSat: Number(msat / 1000n), feeCreditSat: 0 });
    }
    if (method === 'GET' && path === '/getinfo') {
      const channels = (await node.health(request.signal)) ? [{ state: 'Normal', channelId: '' }] : [];
      return show({ channels, chain: 'regtest', version: '0.5.1' });
    }
    return refuse(404, 'Unknown endpoint (check api doc)');
  });
  return { ...shim, password: PASSWORD };
}

async function mint(ledger: ShimLedger, { body }: ShimRequest): Promise<ShimAnswer> {
  const amountSat = text(body.amountSat);
  const memo = text(body.description);
  if (!/^[1-9][0-9]*$/.test(amountSat)) return refuse(400, 'Invalid parameter: amountSat');
  if (memo.length > DESCRIPTION_MAX) return refuse(400, 'Request parameter description is too long');
  const expirySeconds = Number(text(body.expirySeconds, '3600'));
  const { paymentHash, invoice } = await ledger.mint({
    ...{ memo, expirySeconds },
    amountMsat: BigInt(amountSat) * 1000n,
  });
  return show({ amountSat: Number(amountSat), paymentHash, serialized: invoice });
}

/** Newest first; without `all` only what was paid. */
async function list(ledger: ShimLedger, { query }: ShimRequest): Promise<ShimAnswer> {
  const from = Number(query.get('from') ?? '0');
  const offset = Number(query.get('offset') ?? '0');
  const rows = await Promise.all([...ledger.minted.values()].map((minted) => showMinted(ledger, minted)));
  const isAll = query.get('all') === 'true';
  const found = rows
    .filter((row) => (isAll || row.isPaid) && (row.completedAt ?? row.createdAt) >= from)
    .sort((a, b) => (b.completedAt ?? b.createdAt) - (a.completedAt ?? a.createdAt));
  return show(found.slice(offset, offset + Number(query.get('limit') ?? '20')));
}

async function pay(ledger: ShimLedger, { body }: ShimRequest): Promise<ShimAnswer> {
  const invoice = text(body.invoice);
  const { paymentHash, msat, expiresAt } = readInvoice(invoice);
  const refusePayment = (reason: string) => show({ paymentHash, reason });
  const earlier = (await ledger.payment(paymentHash))?.standing.kind;
  if (earlier === 'succeeded') return refusePayment('this invoice has already been paid');
  if (earlier === 'pending') return refusePayment('another payment is in progress for that invoice');
  if (expiresAt.getTime() <= Date.now()) return refusePayment('this invoice has expired');
  const amountMsat = msat ?? BigInt(text(body.amountSat, '0')) * 1000n;
  const terms = { feeMaxMsat: FEE_MAX_MSAT, timeoutMs: PAY_TIMEOUT_MS };
  const { standing } = await ledger.send({ invoice, paymentHash, amountMsat, ...terms });
  if (standing.kind === 'failed') return refusePayment(standing.reason);
  if (standing.kind === 'pending') return refuse(500, 'the payment timed out');
  return show({
    recipientAmountSat: Number(amountMsat / 1000n),
    routingFeeSat: Number(standing.feeMsat / 1000n),
    paymentId: paymentHash.slice(0, 32),
    paymentHash,
    paymentPreimage: standing.preimage,
  });
}

async function showMinted(ledger: ShimLedger, minted: Minted) {
  const { state, receivedMsat, settledAt } = await ledger.standing(minted.paymentHash);
  return {
    type: 'incoming_payment',
    subType: 'lightning',
    paymentHash: minted.paymentHash,
    preimage: minted.preimage,
    description: minted.memo,
    invoice: minted.invoice,
    isPaid: state === 'settled',
    isExpired: state === 'expired' || state === 'cancelled',
    requestedSat: Number(minted.amountMsat / 1000n),
    receivedSat: Number(receivedMsat / 1000n),
    fees: 0,
    completedAt: settledAt ? settledAt.getTime() : null,
    createdAt: minted.createdAt.getTime(),
  };
}

function showSent({ paymentHash, invoice, amountMsat, standing, createdAt, finishedAt }: Sent) {
  const isPaid = standing.kind === 'succeeded';
  return {
    type: 'outgoing_payment',
    subType: 'lightning',
    paymentHash,
    preimage: isPaid ? standing.preimage : '',
    isPaid,
    sent: Number(amountMsat / 1000n),
    fees: isPaid ? Number(standing.feeMsat) : 0,
    invoice,
    completedAt: finishedAt ? finishedAt.getTime() : null,
    createdAt: createdAt.getTime(),
  };
}
