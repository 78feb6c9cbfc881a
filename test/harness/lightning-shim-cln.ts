import { readInvoice } from '../../src/payments/rails/lightning/bolt11.ts';
import type { TestLightning } from './lightning.ts';
import {
  type Minted,
  openLedger,
  type Shim,
  type ShimAnswer,
  type ShimLedger,
  type ShimRequest,
  serveShim,
  text,
} from './lightning-shim-server.ts';

export type ClnShim = Shim & { rune: string };

const RUNE = 'b3VyLXJ1bmU9MQ==';
const refuse = (code: number, message: string, status = 500): ShimAnswer => ({
  status,
  body: { code, message },
});
const done = (body: unknown): ShimAnswer => ({ status: 201, body });

/** Core Lightning's clnrest: every method is a POST. */
export async function startClnShim({ node }: Pick<TestLightning, 'node'>): Promise<ClnShim> {
  const ledger = openLedger(node);
  const labels = new Set<string>();
  const shim = await serveShim(ledger, async (request) => {
    if (request.headers.rune !== RUNE) return refuse(1501, 'Not authorized: Invalid rune', 401);
    const method = /^\/v1\/([a-z]+)$/.exec(request.path)?.[1];
    if (request.method !== 'POST' || method === undefined) return refuse(-32601, 'Unknown command', 404);
    const answer = await METHODS[method]?.({ ledger, labels, request });
    return answer ?? refuse(-32601, `Unknown command '${method}'`, 404);
  });
  return { ...shim, rune: RUNE };
}

type Context = { ledger: ShimLedger; labels: Set<string>; request: ShimRequest };

const METHODS: Record<string, (context: Context) => Promise<ShimAnswer>> = {
  invoice: async ({ ledger, labels, request: { body } }) => {
    const label = text(body.label);
    if (label === '') return refuse(-32602, 'missing required parameter: label');
    if (labels.has(label)) return refuse(900, `Duplicate label '${label}'`);
    labels.add(label);
    const minted = await ledger.mint({
      amountMsat: BigInt(text(body.amount_msat)),
      memo: text(body.description),
      expirySeconds: Number(text(body.expiry, '604800')),
    });
    const expires_at = Math.floor(minted.expiresAt.getTime() / 1000);
    return done({ payment_hash: minted.paymentHash, expires_at, bolt11: minted.invoice });
  },
  listinvoices: async ({ ledger, request: { body } }) => {
    const minted = ledger.minted.get(text(body.payment_hash));
    return done({ invoices: minted ? [await toClnInvoice(ledger, minted)] : [] });
  },
  waitanyinvoice: waitAnyInvoice,
  pay,
  listpays: async ({ ledger, request: { body } }) => {
    const sent = await ledger.payment(text(body.payment_hash));
    if (sent === undefined) return done({ pays: [] });
    const { standing, paymentHash, amountMsat, invoice } = sent;
    const status = { succeeded: 'complete', failed: 'failed', pending: 'pending' }[standing.kind];
    const paid =
      standing.kind === 'succeeded'
        ? { preimage: standing.preimage, amount_sent_msat: Number(amountMsat + standing.feeMsat) }
        : {};
    const pay = {
      payment_hash: paymentHash,
      bolt11: invoice,
      status,
      amount_msat: Number(amountMsat),
      ...paid,
    };
    return done({ pays: [pay] });
  },
  listfunds: async ({ ledger, request }) => {
    const { msat } = await ledger.node.balance(request.signal);
    const channel = { state: 'CHANNELD_NORMAL', connected: true, our_amount_msat: Number(msat) };
    return done({ outputs: [], channels: [channel] });
  },
  getinfo: async ({ ledger, request }) => {
    const num_active_channels = (await ledger.node.health(request.signal)) ? 1 : 0;
    return done({ network: 'regtest', num_active_channels, version: 'v24.11' });
  },
};

async function toClnInvoice(ledger: ShimLedger, minted: Minted): Promise<object> {
  const { state, receivedMsat, settledAt } = await ledger.standing(minted.paymentHash);
  const common = {
    payment_hash: minted.paymentHash,
    bolt11: minted.invoice,
    amount_msat: Number(minted.amountMsat),
    expires_at: Math.floor(minted.expiresAt.getTime() / 1000),
  };
  if (state !== 'settled') return { ...common, status: state === 'open' ? 'unpaid' : 'expired' };
  return {
    ...common,
    status: 'paid',
    pay_index: minted.settleIndex,
    amount_received_msat: Number(receivedMsat),
    paid_at: Math.floor((settledAt ?? new Date()).getTime() / 1000),
  };
}

async function waitAnyInvoice({ ledger, request }: Context): Promise<ShimAnswer> {
  const after = Number(text(request.body.lastpay_index, '0'));
  const seconds = Number(text(request.body.timeout, '60'));
  const next = () =>
    [...ledger.minted.values()]
      .filter(({ settleIndex }) => settleIndex > after)
      .sort((a, b) => a.settleIndex - b.settleIndex)[0];
  const found = next() ?? (await waitForChange(ledger, next, request.signal, seconds * 1000));
  return found
    ? done(await toClnInvoice(ledger, found))
    : refuse(904, 'Timed out while waiting for invoice to be paid');
}

function waitForChange(
  ledger: ShimLedger,
  find: () => Minted | undefined,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<Minted | undefined> {
  return new Promise((resolve) => {
    const end = (found: Minted | undefined) => {
      stop();
      clearTimeout(timer);
      resolve(found);
    };
    const timer = setTimeout(() => end(undefined), timeoutMs);
    const stop = ledger.onChange(() => {
      const found = find();
      if (found) end(found);
    });
    signal.addEventListener('abort', () => end(undefined), { once: true });
  });
}

async function pay({ ledger, request: { body } }: Context): Promise<ShimAnswer> {
  const invoice = text(body.bolt11);
  const { paymentHash, msat, expiresAt } = readInvoice(invoice);
  const amountMsat = msat ?? BigInt(text(body.amount_msat, '0'));
  const earlier = await ledger.payment(paymentHash);
  if (earlier?.standing.kind === 'pending') return refuse(200, 'Payment is in progress');
  if (earlier === undefined && expiresAt.getTime() <= Date.now()) return refuse(207, 'Invoice expired');
  const terms = {
    feeMaxMsat: BigInt(text(body.maxfee, '0')),
    timeoutMs: Number(text(body.retry_for, '60')) * 1000,
  };
  const isPaid = earlier?.standing.kind === 'succeeded';
  const sent = isPaid ? earlier : await ledger.send({ invoice, paymentHash, amountMsat, ...terms });
  const { standing } = sent;
  if (standing.kind === 'failed') return refuse(210, `Ran out of routes to try: ${standing.reason}`);
  if (standing.kind === 'pending') return refuse(200, 'Timed out, payment is in progress');
  return done({
    payment_hash: paymentHash,
    status: 'complete',
    amount_msat: Number(amountMsat),
    amount_sent_msat: Number(amountMsat + standing.feeMsat),
    payment_preimage: standing.preimage,
  });
}
