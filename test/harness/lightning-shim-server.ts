import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type {
  InvoiceStanding,
  LightningProvider,
  PaymentStanding,
} from '../../src/payments/rails/lightning/provider.ts';

/** A vendor's API in front of a real node. */
export type Shim = { url: string; close(): Promise<void> };

export type Minted = {
  paymentHash: string;
  invoice: string;
  memo: string;
  amountMsat: bigint;
  createdAt: Date;
  expiresAt: Date;
  expirySeconds: number;
  isHold: boolean;
  /** Counts from 1 in the order of minting, and of settling. */
  addIndex: number;
  settleIndex: number;
  preimage: string;
};

export type Sent = {
  paymentHash: string;
  invoice: string;
  amountMsat: bigint;
  createdAt: Date;
  finishedAt: Date | undefined;
  standing: PaymentStanding;
};

/** What every vendor remembers of a wallet, over the node that does the work. */
export type ShimLedger = {
  node: LightningProvider;
  minted: Map<string, Minted>;
  sent: Map<string, Sent>;
  mint(input: {
    amountMsat: bigint;
    memo: string;
    expirySeconds: number;
    hold?: { paymentHash: string };
  }): Promise<Minted>;
  standing(paymentHash: string): Promise<InvoiceStanding>;
  send(input: SendInput): Promise<Sent>;
  /** A payment of ours as it stands at the node. */
  payment(paymentHash: string): Promise<Sent | undefined>;
  /** Called with every change of an invoice that was minted here. */
  onChange(listener: (minted: Minted, standing: InvoiceStanding) => void): () => void;
  close(): Promise<void>;
};

export type SendInput = {
  invoice: string;
  paymentHash: string;
  amountMsat: bigint;
  feeMaxMsat: bigint;
  timeoutMs: number;
};

const ASK_TIMEOUT_MS = 20_000;
const bound = () => AbortSignal.timeout(ASK_TIMEOUT_MS);

export function openLedger(node: LightningProvider): ShimLedger {
  const minted = new Map<string, Minted>();
  const sent = new Map<string, Sent>();
  const listeners = new Set<(minted: Minted, standing: InvoiceStanding) => void>();
  const stop = new AbortController();
  let settled = 0;
  const tell = (one: Minted, standing: InvoiceStanding) => {
    for (const listener of listeners) listener(one, standing);
  };
  const following = node.subscribe(
    undefined,
    async ({ paymentHash, standing }) => {
      const one = minted.get(paymentHash);
      if (one === undefined || standing.state === 'open') return;
      if (standing.state === 'settled' && one.settleIndex === 0) {
        settled += 1;
        one.settleIndex = settled;
      }
      tell(one, standing);
    },
    stop.signal,
  );
  return {
    node,
    minted,
    sent,
    mint: async (input) => {
      const made = await node.createInvoice(input, bound());
      const { amountMsat, memo, expirySeconds, hold } = input;
      const createdAt = new Date(made.expiresAt.getTime() - expirySeconds * 1000);
      const addIndex = minted.size + 1;
      const rest = { isHold: hold !== undefined, addIndex, settleIndex: 0, preimage: '' };
      const one: Minted = { ...made, amountMsat, memo, expirySeconds, createdAt, ...rest };
      minted.set(one.paymentHash, one);
      tell(one, { state: 'open', receivedMsat: 0n });
      return one;
    },
    standing: (paymentHash) => node.lookup(paymentHash, bound()),
    send: async ({ paymentHash, ...input }) => {
      const one: Sent = {
        ...{ paymentHash, invoice: input.invoice, amountMsat: input.amountMsat },
        createdAt: new Date(),
        finishedAt: undefined,
        standing: { kind: 'pending' },
      };
      sent.set(paymentHash, one);
      const { invoice, feeMaxMsat, timeoutMs } = input;
      one.standing = await node.pay(
        { invoice, feeMaxMsat, timeoutMs },
        AbortSignal.timeout(timeoutMs + 5_000),
      );
      if (one.standing.kind !== 'pending') one.finishedAt = new Date();
      return one;
    },
    payment: async (paymentHash) => {
      const one = sent.get(paymentHash);
      if (one?.standing.kind !== 'pending') return one;
      const standing = await node.track(paymentHash, bound());
      if (standing.kind === 'missing' || standing.kind === 'pending') return one;
      one.standing = standing;
      one.finishedAt = new Date();
      return one;
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: async () => {
      stop.abort();
      await following;
    },
  };
}

export type ShimRequest = {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  /** JSON or a form, by the content type. */
  body: Record<string, unknown>;
  /** Aborts when the client has gone. */
  signal: AbortSignal;
};

export type ShimAnswer =
  | { status: number; body: unknown }
  /** Lines of JSON for as long as `stream` writes them. */
  | { stream: (write: (line: unknown) => void) => Promise<void> };

/** Serves on loopback until closed; what a handler throws is answered with 500. */
export async function serveShim(
  ledger: ShimLedger,
  handle: (request: ShimRequest) => Promise<ShimAnswer>,
): Promise<Shim> {
  const server = createServer((request, response) => {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    readRequest(request, gone.signal)
      .then(handle)
      .then((answer) => reply(response, answer))
      .catch((error) => reply(response, { status: 500, body: { code: 2, message: String(error) } }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('the shim has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await ledger.close();
    },
  };
}

/** A field that the vendor's API spells as text. */
export const text = (value: unknown, fallback = ''): string =>
  typeof value === 'string' || typeof value === 'number' ? String(value) : fallback;

async function readRequest(request: IncomingMessage, signal: AbortSignal): Promise<ShimRequest> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  let raw = '';
  for await (const chunk of request) raw += chunk;
  const isForm = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded');
  const body: unknown = isForm ? Object.fromEntries(new URLSearchParams(raw)) : JSON.parse(raw || '{}');
  return {
    method: request.method ?? '',
    path: url.pathname,
    query: url.searchParams,
    headers: request.headers,
    body: typeof body === 'object' && body !== null ? { ...body } : {},
    signal,
  };
}

async function reply(response: ServerResponse, answer: ShimAnswer): Promise<void> {
  if (response.headersSent) {
    response.end();
    return;
  }
  if ('stream' in answer) {
    response.writeHead(200, { 'content-type': 'application/json' });
    // A client that waits for the headers of a silent stream gets them now.
    response.flushHeaders();
    await answer.stream((line) => response.write(`${JSON.stringify(line)}\n`));
    response.end();
    return;
  }
  const isText = typeof answer.body === 'string';
  response.writeHead(answer.status, { 'content-type': isText ? 'text/plain' : 'application/json' });
  response.end(isText ? answer.body : JSON.stringify(answer.body));
}
