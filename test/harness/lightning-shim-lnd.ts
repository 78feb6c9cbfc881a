import type { z } from 'zod';
import { sha256Hex } from '../../src/core/bytes.ts';
import { readInvoice } from '../../src/payments/rails/lightning/bolt11.ts';
import { healthSchema } from '../../src/payments/rails/lightning/embedded/api.ts';
import { ask } from '../../src/payments/rails/lightning/embedded/request.ts';
import type { InvoiceStanding } from '../../src/payments/rails/lightning/provider.ts';
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

export type LndShim = Shim & { macaroonHex: string };

const MACAROON = '0201036c6e64';
const BLOCK_MS = 30_000;
/** LND's `invoices.holdexpirydelta`. */
const EXPIRY_DELTA = 12;
const FINAL = ['settled', 'cancelled', 'expired'];

const toHex = (base64: unknown) => Buffer.from(text(base64), 'base64').toString('hex');
const toBase64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64');
const refuse = (status: number, code: number, message: string): ShimAnswer => ({
  status,
  body: { code, message, details: [] },
});
/** Before the first line of a stream the error stands inside `error`. */
const refuseStream = (status: number, code: number, message: string): ShimAnswer => ({
  status,
  body: { error: { code, message, details: [] } },
});

/** lnd's REST gateway: invoices plain and held, their streams, and payments. */
export async function startLndShim(lightning: Pick<TestLightning, 'node' | 'provider'>): Promise<LndShim> {
  const ledger = openLedger(lightning.node);
  const readHealth = () =>
    ask(
      lightning.provider,
      { method: 'GET', path: '/health', answer: healthSchema, timeoutMs: 10_000 },
      AbortSignal.timeout(10_000),
    );
  const shim = await serveShim(ledger, async (request) => {
    const macaroon = request.headers['grpc-metadata-macaroon'];
    if (macaroon === undefined) return refuse(500, 2, 'expected 1 macaroon, got 0');
    if (macaroon !== MACAROON) return refuse(500, 2, 'verification failed: signature mismatch');
    const answer =
      (await answerInvoices(ledger, request, readHealth)) ?? (await answerPayments(ledger, request));
    if (answer !== undefined) return answer;
    if (request.path === '/v1/balance/channels') {
      const { msat } = await ledger.node.balance(request.signal);
      const local_balance = { sat: String(msat / 1000n), msat: String(msat) };
      return { status: 200, body: { balance: local_balance.sat, local_balance } };
    }
    if (request.path === '/v1/getinfo') {
      const { height, usableChannels } = await readHealth();
      const chain = { synced_to_chain: true, chains: [{ chain: 'bitcoin', network: 'regtest' }] };
      return { status: 200, body: { block_height: height, num_active_channels: usableChannels, ...chain } };
    }
    return refuse(404, 5, 'Not Found');
  });
  return { ...shim, macaroonHex: MACAROON };
}

type ReadHealth = () => Promise<z.output<typeof healthSchema>>;

async function answerInvoices(
  ledger: ShimLedger,
  request: ShimRequest,
  readHealth: ReadHealth,
): Promise<ShimAnswer | undefined> {
  const { method, path, body, query } = request;
  const show = async (minted: Minted, standing: InvoiceStanding) =>
    toLndInvoice(minted, standing, (await readHealth()).height);
  if (method === 'POST' && (path === '/v1/invoices' || path === '/v2/invoices/hodl'))
    return mint(ledger, request);
  if (method === 'GET' && path.startsWith('/v1/invoice/')) {
    const minted = ledger.minted.get(path.slice('/v1/invoice/'.length));
    if (minted === undefined) return refuse(404, 5, 'unable to locate invoice');
    return { status: 200, body: await show(minted, await ledger.standing(minted.paymentHash)) };
  }
  if (method === 'POST' && path === '/v2/invoices/settle') return settle(ledger, toHex(body.preimage));
  if (method === 'POST' && path === '/v2/invoices/cancel') return cancel(ledger, toHex(body.payment_hash));
  if (method === 'GET' && path === '/v1/invoices/subscribe') {
    return followAll(ledger, request, Number(query.get('settle_index') ?? '0'), show);
  }
  if (method === 'GET' && path.startsWith('/v2/invoices/subscribe/')) {
    const hash = Buffer.from(path.slice('/v2/invoices/subscribe/'.length), 'base64url').toString('hex');
    const minted = ledger.minted.get(hash);
    if (minted === undefined) return refuseStream(404, 5, 'unable to locate invoice');
    return followOne(ledger, request, minted, show);
  }
  return undefined;
}

async function mint(ledger: ShimLedger, { path, body }: ShimRequest): Promise<ShimAnswer> {
  const paymentHash = path.endsWith('hodl') ? toHex(body.hash) : undefined;
  if (paymentHash !== undefined && ledger.minted.has(paymentHash)) {
    return refuse(500, 2, 'invoice with payment hash already exists');
  }
  const minted = await ledger.mint({
    amountMsat: BigInt(text(body.value_msat, '0')),
    memo: text(body.memo),
    expirySeconds: Number(text(body.expiry, '86400')),
    ...(paymentHash === undefined ? {} : { hold: { paymentHash } }),
  });
  const add_index = String(minted.addIndex);
  const made = { payment_request: minted.invoice, add_index, payment_addr: '' };
  return { status: 200, body: paymentHash ? made : { r_hash: toBase64(minted.paymentHash), ...made } };
}

async function settle(ledger: ShimLedger, preimage: string): Promise<ShimAnswer> {
  const paymentHash = sha256Hex(Buffer.from(preimage, 'hex'));
  const minted = ledger.minted.get(paymentHash);
  if (minted === undefined) return refuse(404, 5, 'unable to locate invoice');
  const { state } = await ledger.standing(paymentHash);
  if (state === 'settled') return refuse(500, 2, 'invoice already settled');
  if (state === 'open') return refuse(500, 2, 'invoice still open');
  if (state !== 'held') return refuse(500, 2, 'invoice already canceled');
  minted.preimage = preimage;
  await ledger.node.settle({ paymentHash, preimage }, AbortSignal.timeout(15_000));
  return { status: 200, body: {} };
}

async function cancel(ledger: ShimLedger, paymentHash: string): Promise<ShimAnswer> {
  if (!ledger.minted.has(paymentHash)) return refuse(404, 5, 'unable to locate invoice');
  const { state } = await ledger.standing(paymentHash);
  if (state === 'settled') return refuse(500, 2, 'invoice already settled');
  await ledger.node.cancel(paymentHash, AbortSignal.timeout(15_000));
  return { status: 200, body: {} };
}

type Show = (minted: Minted, standing: InvoiceStanding) => Promise<object>;

/** Added and settled invoices; what was settled before only after an index that is not zero. */
function followAll(ledger: ShimLedger, { signal }: ShimRequest, settleIndex: number, show: Show): ShimAnswer {
  return {
    stream: async (write) => {
      const tell = async (minted: Minted, standing: InvoiceStanding) =>
        write({ result: await show(minted, standing) });
      let last = Promise.resolve();
      const queue = (minted: Minted, standing: InvoiceStanding) => {
        last = last.then(() => tell(minted, standing));
      };
      const isTold = (standing: InvoiceStanding) => standing.state === 'open' || standing.state === 'settled';
      const stop = ledger.onChange((minted, standing) => {
        if (isTold(standing)) queue(minted, standing);
      });
      const before = [...ledger.minted.values()]
        .filter((minted) => settleIndex > 0 && minted.settleIndex > settleIndex)
        .sort((a, b) => a.settleIndex - b.settleIndex);
      for (const minted of before) queue(minted, await ledger.standing(minted.paymentHash));
      await aborted(signal);
      stop();
    },
  };
}

/** One invoice as it stands and as it changes, until it is over. */
function followOne(ledger: ShimLedger, { signal }: ShimRequest, minted: Minted, show: Show): ShimAnswer {
  return {
    stream: async (write) => {
      const over = new AbortController();
      const tell = async (standing: InvoiceStanding) => {
        write({ result: await show(minted, standing) });
        if (FINAL.includes(standing.state)) over.abort();
      };
      const stop = ledger.onChange((other, standing) => {
        if (other === minted) void tell(standing);
      });
      await tell(await ledger.standing(minted.paymentHash));
      await aborted(AbortSignal.any([signal, over.signal]));
      stop();
    },
  };
}

async function answerPayments(ledger: ShimLedger, request: ShimRequest): Promise<ShimAnswer | undefined> {
  const { method, path, body } = request;
  if (method === 'POST' && path === '/v2/router/send') return send(ledger, body);
  if (method !== 'GET' || !path.startsWith('/v2/router/track/')) return undefined;
  const hash = Buffer.from(path.slice('/v2/router/track/'.length), 'base64url').toString('hex');
  const sent = await ledger.payment(hash);
  if (sent === undefined) return refuseStream(404, 5, "payment isn't initiated");
  return {
    stream: async (write) => {
      const isQuiet = request.query.get('no_inflight_updates') === 'true';
      if (sent.standing.kind !== 'pending' || !isQuiet) write({ result: toLndPayment(sent) });
      if (sent.standing.kind !== 'pending') return;
      await untilFinal(ledger, sent, request.signal);
      if (!request.signal.aborted) write({ result: toLndPayment(sent) });
    },
  };
}

async function send(ledger: ShimLedger, body: Record<string, unknown>): Promise<ShimAnswer> {
  const invoice = text(body.payment_request);
  const { paymentHash, msat = BigInt(text(body.amt_msat, '0')), expiresAt } = readInvoice(invoice);
  const earlier = (await ledger.payment(paymentHash))?.standing.kind;
  if (earlier === 'succeeded') return refuseStream(409, 6, 'invoice is already paid');
  if (earlier === 'pending') return refuseStream(409, 6, 'payment is in transition');
  if (expiresAt.getTime() <= Date.now())
    return refuseStream(500, 2, `invoice expired. Valid until ${expiresAt}`);
  const terms = {
    feeMaxMsat: BigInt(text(body.fee_limit_msat, '0')),
    timeoutMs: Number(text(body.timeout_seconds, '60')) * 1000,
  };
  const sending = ledger.send({ invoice, paymentHash, amountMsat: msat, ...terms });
  return {
    stream: async (write) => {
      if (body.no_inflight_updates !== true) write({ result: { status: 'IN_FLIGHT' } });
      const sent = await sending;
      if (sent.standing.kind !== 'pending') write({ result: toLndPayment(sent) });
    },
  };
}

function toLndPayment({ paymentHash, standing, amountMsat, invoice }: Sent): object {
  const common = { payment_hash: paymentHash, value_msat: String(amountMsat), payment_request: invoice };
  switch (standing.kind) {
    case 'succeeded':
      return {
        ...common,
        status: 'SUCCEEDED',
        payment_preimage: standing.preimage,
        fee_msat: String(standing.feeMsat),
        failure_reason: 'FAILURE_REASON_NONE',
      };
    case 'failed':
      return { ...common, status: 'FAILED', fee_msat: '0', failure_reason: 'FAILURE_REASON_NO_ROUTE' };
    case 'pending':
      return { ...common, status: 'IN_FLIGHT', fee_msat: '0', failure_reason: 'FAILURE_REASON_NONE' };
    default:
      return standing satisfies never;
  }
}

function toLndInvoice(minted: Minted, standing: InvoiceStanding, height: number): object {
  const states = { open: 'OPEN', held: 'ACCEPTED', settled: 'SETTLED' } as const;
  const { state, receivedMsat, settledAt, holdDeadline } = standing;
  const lndState = state === 'open' || state === 'held' || state === 'settled' ? states[state] : 'CANCELED';
  const blocks = holdDeadline ? Math.ceil((holdDeadline.getTime() - Date.now()) / BLOCK_MS) : 0;
  const htlc = {
    amt_msat: String(receivedMsat),
    expiry_height: height + blocks + EXPIRY_DELTA,
    state: state === 'held' ? 'ACCEPTED' : 'SETTLED',
  };
  return {
    memo: minted.memo,
    r_hash: toBase64(minted.paymentHash),
    r_preimage: state === 'settled' ? toBase64(minted.preimage) : '',
    value_msat: String(minted.amountMsat),
    creation_date: String(Math.floor(minted.createdAt.getTime() / 1000)),
    settle_date: settledAt ? String(Math.floor(settledAt.getTime() / 1000)) : '0',
    payment_request: minted.invoice,
    expiry: String(minted.expirySeconds),
    add_index: String(minted.addIndex),
    settle_index: String(minted.settleIndex),
    amt_paid_msat: state === 'settled' ? String(receivedMsat) : '0',
    state: lndState,
    htlcs: receivedMsat > 0n ? [htlc] : [],
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

const POLL_MS = 20;

async function untilFinal(ledger: ShimLedger, sent: Sent, signal: AbortSignal): Promise<void> {
  while ((await ledger.payment(sent.paymentHash))?.standing.kind === 'pending' && !signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
