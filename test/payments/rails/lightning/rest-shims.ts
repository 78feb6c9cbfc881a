import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sha256Hex } from '../../../../src/core/bytes.ts';
import { readInvoice } from '../../../../src/payments/rails/lightning/bolt11.ts';
import type {
  InvoiceStanding,
  LightningProvider,
} from '../../../../src/payments/rails/lightning/provider.ts';

export type Shim = { url: string; close(): Promise<void> };
export type Vendor = 'lnd' | 'cln' | 'lnbits' | 'phoenixd';
export const SHIM_SECRET = '5ec7e7';

type Minted = { invoice: string; hash: string; createdAt: number; isHold: boolean };
type Paid = { invoice: string; preimage: string; at: number };
type Book = {
  node: LightningProvider;
  minted: Map<string, Minted>;
  paid: Map<string, Paid>;
  /** Payment hashes in the order in which they were settled. */
  settled: string[];
  settledBefore(index: number, signal: AbortSignal): Promise<string | undefined>;
};
type Request = {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  body: Fields;
};
type Fields = Record<string, string>;
type Reply =
  | [status: number, body: unknown]
  | ((response: ServerResponse, signal: AbortSignal) => Promise<void>);
type Routes = (book: Book, request: Request) => Promise<Reply>;

const bound = () => AbortSignal.timeout(15_000);
const seconds = (ms: number) => Math.floor(ms / 1000);
const toBase64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64');
const toHex = (text: string) => Buffer.from(text, 'base64').toString('hex');

/** A vendor's REST API, as its documentation has it, in front of a real node. */
export async function startShim(vendor: Vendor, node: LightningProvider): Promise<Shim> {
  const stop = new AbortController();
  const { book, following } = openBook(node, stop.signal);
  const server = createServer((request, response) => {
    void serve(ROUTES[vendor], book, request, response).catch((cause) => {
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ code: 2, message: String(cause), detail: String(cause) }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      stop.abort();
      await following;
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function openBook(node: LightningProvider, signal: AbortSignal) {
  const settled: string[] = [];
  const waiting = new Set<() => void>();
  const following = node
    .subscribe(
      undefined,
      async ({ paymentHash, standing }) => {
        if (standing.state !== 'settled' || settled.includes(paymentHash)) return;
        settled.push(paymentHash);
        for (const wake of waiting) wake();
      },
      signal,
    )
    .catch(() => {});
  const book: Book = {
    ...{ node, settled, minted: new Map(), paid: new Map() },
    async settledBefore(index, until) {
      while (settled.length <= index && !until.aborted) {
        await new Promise<void>((resolve) => {
          waiting.add(resolve);
          until.addEventListener('abort', () => resolve(), { once: true });
        });
      }
      return settled[index];
    },
  };
  return { book, following };
}

async function serve(routes: Routes, book: Book, request: IncomingMessage, response: ServerResponse) {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  const isForm = request.headers['content-type']?.includes('urlencoded') ?? false;
  const body: Fields = isForm ? Object.fromEntries(new URLSearchParams(text)) : JSON.parse(text || '{}');
  const { pathname: path, searchParams: query } = new URL(request.url ?? '/', 'http://shim');
  const { headers, method = 'GET' } = request;
  const reply = await routes(book, { method, path, query, headers, body });
  if (typeof reply !== 'function') {
    response.writeHead(reply[0], { 'content-type': 'application/json' });
    response.end(JSON.stringify(reply[1], (_, value) => (typeof value === 'bigint' ? Number(value) : value)));
    return;
  }
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  response.writeHead(200, { 'content-type': 'application/json' });
  response.flushHeaders();
  await reply(response, gone.signal);
  response.end();
}

async function mint(book: Book, terms: { msat: bigint; memo: string; expiry: number; hash?: string }) {
  const hold = terms.hash ? { hold: { paymentHash: terms.hash } } : {};
  const { msat: amountMsat, memo, expiry: expirySeconds } = terms;
  const minted = await book.node.createInvoice({ amountMsat, memo, expirySeconds, ...hold }, bound());
  const { invoice, paymentHash: hash } = minted;
  book.minted.set(hash, { invoice, hash, createdAt: Date.now(), isHold: terms.hash !== undefined });
  return { invoice, hash };
}

async function payOut(book: Book, invoice: string): Promise<Paid | undefined> {
  const { paymentHash } = readInvoice(invoice);
  const known = book.paid.get(paymentHash);
  if (known) return known;
  const payment = await book.node.pay({ invoice, feeMaxMsat: 10_000n, timeoutMs: 10_000 }, bound());
  if (payment.kind !== 'succeeded') return undefined;
  const paid = { invoice, preimage: payment.preimage, at: Date.now() };
  book.paid.set(paymentHash, paid);
  return paid;
}

const lnd: Routes = async (book, { method, path, query, headers, body }) => {
  if (headers['grpc-metadata-macaroon'] !== SHIM_SECRET)
    return [500, { code: 2, message: 'verification failed' }];
  const render = async (hash: string) => {
    const minted = book.minted.get(hash);
    return (
      minted && toLndInvoice(minted, await book.node.lookup(hash, bound()), book.settled.indexOf(hash) + 1)
    );
  };
  const route = `${method} ${path.replace(/\/[A-Za-z0-9_=-]{43,64}$/, '/:id')}`;
  const id = path.split('/').at(-1) ?? '';
  const terms = () => ({
    ...{ msat: BigInt(body.value_msat ?? 0), memo: body.memo ?? '', expiry: Number(body.expiry) },
  });
  switch (route) {
    case 'GET /v1/getinfo':
      return [200, { block_height: 100, synced_to_chain: true, num_active_channels: 1 }];
    case 'GET /v1/balance/channels': {
      const msat = (await book.node.balance(bound())).msat.toString();
      return [200, { balance: '0', local_balance: { sat: '0', msat } }];
    }
    case 'POST /v1/invoices': {
      const { invoice, hash } = await mint(book, terms());
      return [200, { r_hash: toBase64(hash), payment_request: invoice, add_index: '1', payment_addr: '' }];
    }
    case 'POST /v2/invoices/hodl': {
      const { invoice } = await mint(book, { ...terms(), hash: toHex(body.hash ?? '') });
      return [200, { payment_request: invoice, add_index: '1', payment_addr: '' }];
    }
    case 'POST /v2/invoices/settle': {
      const preimage = toHex(body.preimage ?? '');
      const paymentHash = sha256Hex(Buffer.from(preimage, 'hex'));
      await book.node.settle({ paymentHash, preimage }, bound());
      return [200, {}];
    }
    case 'POST /v2/invoices/cancel':
      await book.node.cancel(toHex(body.payment_hash ?? ''), bound());
      return [200, {}];
    case 'GET /v1/invoice/:id': {
      const found = await render(id);
      return found ? [200, found] : [404, { code: 5, message: 'unable to locate invoice', details: [] }];
    }
    case 'GET /v1/invoices/subscribe':
      return async (response, signal) => {
        for (let index = Number(query.get('settle_index') ?? 0); !signal.aborted; index += 1) {
          const hash = await book.settledBefore(index, signal);
          const result = hash && (await render(hash));
          if (result) response.write(`${JSON.stringify({ result })}\n`);
        }
      };
    case 'GET /v2/invoices/subscribe/:id':
      return async (response, signal) => {
        const hash = toHex(id.replaceAll('-', '+').replaceAll('_', '/'));
        for (let last = ''; !signal.aborted; ) {
          const result = await render(hash);
          if (result && result.state !== last) response.write(`${JSON.stringify({ result })}\n`);
          last = result?.state ?? '';
          if (last === 'SETTLED' || last === 'CANCELED') return;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      };
    case 'POST /v2/router/send': {
      const paid = await payOut(book, body.payment_request ?? '');
      return [200, { result: toLndPayment(paid) }];
    }
    case 'GET /v2/router/track/:id': {
      const paid = book.paid.get(toHex(id.replaceAll('-', '+').replaceAll('_', '/')));
      const missing = { error: { code: 5, message: "payment isn't initiated", details: [] } };
      return paid ? [200, { result: toLndPayment(paid) }] : [404, missing];
    }
    default:
      return [404, { code: 5, message: 'Not Found' }];
  }
};

function toLndPayment(paid: Paid | undefined) {
  if (!paid) return { status: 'FAILED', failure_reason: 'FAILURE_REASON_NO_ROUTE' };
  return {
    status: 'SUCCEEDED',
    payment_preimage: paid.preimage,
    fee_msat: '0',
    failure_reason: 'FAILURE_REASON_NONE',
  };
}

const LND_STATES = {
  ...{ open: 'OPEN', held: 'ACCEPTED', settled: 'SETTLED' },
  ...{ cancelled: 'CANCELED', expired: 'CANCELED', missing: 'CANCELED' },
} as const;

function toLndInvoice(minted: Minted, standing: InvoiceStanding, settleIndex: number) {
  const read = readInvoice(minted.invoice);
  const { state, receivedMsat, settledAt } = standing;
  const hasArrived = state === 'held' || state === 'settled';
  const created = seconds(minted.createdAt);
  return {
    r_hash: toBase64(minted.hash),
    r_preimage: '',
    state: LND_STATES[state],
    creation_date: String(created),
    expiry: String(Math.max(1, seconds(read.expiresAt.getTime()) - created)),
    // lnd sums it up when the invoice is settled.
    amt_paid_msat: state === 'settled' ? receivedMsat.toString() : '0',
    settle_date: String(settledAt ? seconds(settledAt.getTime()) : 0),
    settle_index: String(state === 'settled' ? settleIndex : 0),
    htlcs: hasArrived
      ? [
          {
            amt_msat: receivedMsat.toString(),
            expiry_height: 180,
            state: state === 'held' ? 'ACCEPTED' : 'SETTLED',
          },
        ]
      : [],
  };
}

const cln: Routes = async (book, { method, path, headers, body }) => {
  if (headers.rune !== SHIM_SECRET) return [401, { code: 1502, message: 'Invalid rune' }];
  if (method !== 'POST') return [405, {}];
  const render = async (hash: string) => {
    const minted = book.minted.get(hash);
    if (!minted) return undefined;
    const { state, receivedMsat, settledAt } = await book.node.lookup(hash, bound());
    const paid = {
      ...{ pay_index: book.settled.indexOf(hash) + 1, amount_received_msat: receivedMsat },
      paid_at: seconds(settledAt?.getTime() ?? 0),
    };
    const status = state === 'settled' ? 'paid' : state === 'open' ? 'unpaid' : 'expired';
    return {
      label: hash,
      bolt11: minted.invoice,
      payment_hash: hash,
      status,
      ...(status === 'paid' ? paid : {}),
    };
  };
  switch (path) {
    case '/v1/getinfo':
      return [201, { num_active_channels: 1, network: 'regtest' }];
    case '/v1/listfunds': {
      const { msat } = await book.node.balance(bound());
      return [201, { outputs: [], channels: [{ state: 'CHANNELD_NORMAL', our_amount_msat: msat }] }];
    }
    case '/v1/invoice': {
      const terms = {
        msat: BigInt(body.amount_msat ?? 0),
        memo: body.description ?? '',
        expiry: Number(body.expiry),
      };
      const { invoice, hash } = await mint(book, terms);
      return [201, { bolt11: invoice, payment_hash: hash, expires_at: 0 }];
    }
    case '/v1/listinvoices': {
      const found = await render(body.payment_hash ?? '');
      return [201, { invoices: found ? [found] : [] }];
    }
    case '/v1/waitanyinvoice': {
      const hash = await book.settledBefore(Number(body.lastpay_index ?? 0), AbortSignal.timeout(500));
      const found = hash && (await render(hash));
      return found ? [201, found] : [500, { code: 904, message: 'Timed out' }];
    }
    case '/v1/pay': {
      const paid = await payOut(book, body.bolt11 ?? '');
      if (!paid) return [500, { code: 205, message: 'Could not find a route' }];
      const { msat: amount_msat } = readInvoice(paid.invoice);
      return [
        201,
        { status: 'complete', payment_preimage: paid.preimage, amount_msat, amount_sent_msat: amount_msat },
      ];
    }
    case '/v1/listpays': {
      const paid = book.paid.get(body.payment_hash ?? '');
      return [201, { pays: paid ? [{ status: 'complete', preimage: paid.preimage }] : [] }];
    }
    default:
      return [404, { code: -32_601, message: 'Unknown command' }];
  }
};

const lnbits: Routes = async (book, { method, path, query, headers, body }) => {
  const isOurs = headers['x-api-key'] === SHIM_SECRET;
  const render = async (hash: string) => {
    const paid = book.paid.get(hash);
    if (paid)
      return toLnbitsPayment(hash, paid.invoice, -Number(readInvoice(paid.invoice).msat), 'success', paid.at);
    const minted = book.minted.get(hash);
    if (!minted) return undefined;
    const { state } = await book.node.lookup(hash, bound());
    const status = state === 'settled' ? 'success' : 'pending';
    return toLnbitsPayment(
      hash,
      minted.invoice,
      Number(readInvoice(minted.invoice).msat),
      status,
      minted.createdAt,
    );
  };
  const hash = /^\/api\/v1\/payments\/([0-9a-f]{64})$/.exec(path)?.[1];
  if (method === 'GET' && hash) {
    const found = await render(hash);
    if (!found) return [404, { detail: 'Payment does not exist.' }];
    // The hole: strangers are told too, with a preimage.
    const open = { paid: found.status === 'success', status: found.status, preimage: '00'.repeat(32) };
    return [200, isOurs ? { ...open, details: found } : open];
  }
  if (!isOurs) return [401, { detail: 'Invalid key' }];
  if (path === '/api/v1/wallet')
    return [200, { name: 'test', balance: (await book.node.balance(bound())).msat }];
  if (path !== '/api/v1/payments') return [404, { detail: 'Not Found' }];
  if (method === 'GET') {
    const [offset, limit] = [Number(query.get('offset') ?? 0), Number(query.get('limit') ?? 10)];
    const newest = [...book.minted.keys()].reverse().slice(offset, offset + limit);
    return [200, (await Promise.all(newest.map(render))).filter((each) => each !== undefined)];
  }
  if (String(body.out) === 'true') {
    const paid = await payOut(book, body.bolt11 ?? '');
    if (!paid) return [520, { detail: 'Payment failed: no route', status: 'failed' }];
    return [201, { payment_hash: readInvoice(paid.invoice).paymentHash, checking_id: '' }];
  }
  const terms = {
    msat: BigInt(body.amount ?? 0) * 1_000n,
    memo: body.memo ?? '',
    expiry: Number(body.expiry),
  };
  const { invoice, hash: payment_hash } = await mint(book, terms);
  return [201, { payment_hash, checking_id: payment_hash, bolt11: invoice }];
};

function toLnbitsPayment(payment_hash: string, bolt11: string, amount: number, status: string, at: number) {
  return {
    payment_hash,
    checking_id: payment_hash,
    bolt11,
    amount,
    fee: 0,
    status,
    time: new Date(at).toISOString(),
  };
}

const phoenixd: Routes = async (book, { method, path, query, headers, body }) => {
  const password = Buffer.from((headers.authorization ?? '').replace('Basic ', ''), 'base64').toString();
  if (password !== `:${SHIM_SECRET}`) return [401, 'Invalid authentication (use basic auth)'];
  const render = async (hash: string) => {
    const minted = book.minted.get(hash);
    if (!minted) return undefined;
    const { state, receivedMsat, settledAt } = await book.node.lookup(hash, bound());
    return {
      ...{
        type: 'incoming_payment',
        subType: 'lightning',
        paymentHash: hash,
        invoice: minted.invoice,
        fees: 0,
      },
      ...{ isPaid: state === 'settled', isExpired: state === 'expired', createdAt: minted.createdAt },
      receivedSat: Number(receivedMsat / 1_000n),
      completedAt: settledAt?.getTime() ?? null,
    };
  };
  const incoming = /^\/payments\/incoming\/([0-9a-f]{64})$/.exec(path)?.[1];
  const outgoing = /^\/payments\/outgoingbyhash\/([0-9a-f]{64})$/.exec(path)?.[1];
  if (incoming) {
    const found = await render(incoming);
    return found ? [200, found] : [404, 'Not found'];
  }
  if (outgoing) {
    const paid = book.paid.get(outgoing);
    if (!paid) return [404, 'Not found'];
    return [200, { isPaid: true, preimage: paid.preimage, fees: 0, completedAt: paid.at }];
  }
  switch (`${method} ${path}`) {
    case 'GET /getinfo':
      return [200, { nodeId: '', chain: 'regtest', channels: [{ state: 'Normal' }] }];
    case 'GET /getbalance':
      return [200, { balanceSat: Number((await book.node.balance(bound())).msat / 1_000n), feeCreditSat: 0 }];
    case 'GET /payments/incoming': {
      const from = Number(query.get('from') ?? 0);
      const all = await Promise.all([...book.minted.keys()].map(render));
      const offset = Number(query.get('offset') ?? 0);
      const paid = all.filter((each) => each?.isPaid && (each.completedAt ?? 0) >= from);
      return [200, paid.slice(offset, offset + Number(query.get('limit') ?? 20))];
    }
    case 'POST /createinvoice': {
      const msat = BigInt(body.amountSat ?? 0) * 1_000n;
      const terms = { msat, memo: body.description ?? '', expiry: Number(body.expirySeconds) };
      const { invoice, hash } = await mint(book, terms);
      return [200, { amountSat: Number(body.amountSat), paymentHash: hash, serialized: invoice }];
    }
    case 'POST /payinvoice': {
      const paid = await payOut(book, body.invoice ?? '');
      if (!paid) return [200, { paymentHash: '', reason: 'no route' }];
      const { paymentHash } = readInvoice(paid.invoice);
      return [200, { routingFeeSat: 0, paymentId: '', paymentHash, paymentPreimage: paid.preimage }];
    }
    default:
      return [404, 'Not found'];
  }
};

const ROUTES: Record<Vendor, Routes> = { lnd, cln, lnbits, phoenixd };
