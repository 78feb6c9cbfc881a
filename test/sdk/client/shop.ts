import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import type { Form } from '../../../src/payments/form.ts';
import type { Bolt11Offer, Eip3009Offer, Offer, SptOffer } from '../../../src/payments/rail.ts';
import type { Carried, Wire } from '../../../src/payments/wire.ts';
import { createL402Wire } from '../../../src/payments/wires/l402/index.ts';
import { createMppWire } from '../../../src/payments/wires/mpp/index.ts';
import { createX402Wire } from '../../../src/payments/wires/x402/index.ts';
import { quoteOf } from '../../payments/rails/conformance.ts';
import { makeInvoice } from './invoice.ts';

export const TOKEN = {
  network: 'eip155:84532',
  address: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
  decimals: 6,
} as const;

/** What goes wrong with a request that carries a payment or a key, in the order of the requests. */
export type Fault =
  /** The connection breaks before the shop has seen the payment, after it took it, or in the answer. */
  | 'drop-before'
  | 'drop-after'
  | 'drop-body'
  | 'in-flight'
  | 'unknown'
  | 'proxy-error'
  /** Answers that end it. */
  | 'tool-failed'
  | 'challenge'
  | 'challenge-free'
  | 'used'
  | 'redirect'
  | 'silent';

/** What a client showed: the payment as a wire reads it, or the key. */
export type Shown = { id: string; idempotencyKey: string | undefined; form?: Form };

export type Shop = {
  url: string;
  host: string;
  /** Everything that paid or asked, as it came. */
  shown: Shown[];
  /** Requests without a payment. */
  asked: number;
  /** The payments that were taken, each once. */
  taken: Set<string>;
  faults: Fault[];
  /** The preimages of the invoices given out, by payment hash. */
  preimages: Map<string, string>;
  close(): Promise<void>;
};

export type ShopOptions = {
  mcents?: bigint;
  /** What the 402 offers. */
  rails?: readonly ('evm' | 'stripe' | 'lightning')[];
  faults?: Fault[];
  /** A key that pays, while it has money. */
  key?: { text: string; balance: bigint };
  redirectTo?: string;
  note?: string;
};

/** A shop that speaks our wires, takes every payment at its word, once, and fails as it is told to. */
export async function openShop(options: ShopOptions = {}): Promise<Shop> {
  const { mcents = 250n, rails = ['evm'] } = options;
  const wires = createWires();
  const stored = new Map<string, string>();
  const shop: Omit<Shop, 'url' | 'host' | 'close'> = {
    ...{ shown: [], asked: 0, taken: new Set<string>(), faults: [...(options.faults ?? [])] },
    preimages: new Map<string, string>(),
  };

  function challenge(response: ServerResponse, carried: Carried, extra: object = {}): void {
    const offers = rails.map((rail) => offerOf(rail, mcents, shop.preimages));
    const parts = wires.flatMap(
      (wire) =>
        wire.challenge({ quote: quoteOf(), quoteToken: 'q2.shop', offers, carried, refusal: undefined }) ??
        [],
    );
    for (const [name, value] of parts.flatMap(({ headers }) => headers)) response.appendHeader(name, value);
    answer(response, 402, { ...Object.assign({}, ...parts.map(({ body }) => body)), ...extra });
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const content = await readAll(request);
    const carried = carry(request, content);
    if (request.url === '/moved') {
      response.writeHead(307, { location: options.redirectTo ?? '/paid' }).end();
      return;
    }
    const form = readForm(wires, carried);
    const byKey = options.key && readKey(carried) === options.key.text;
    if (form === undefined && !byKey) {
      shop.asked += 1;
      return challenge(response, carried);
    }
    const idempotencyKey = carried.header('idempotency-key');
    const id = form === undefined ? `key:${idempotencyKey ?? randomBytes(8).toString('hex')}` : idOf(form);
    shop.shown.push({ id, idempotencyKey, ...(form === undefined ? {} : { form }) });
    const fault = shop.faults.shift();
    if (fault === 'drop-before') return void request.socket.destroy();
    if (fault && isAnswer(fault)) return misbehave(fault, response);
    if (fault === 'challenge') return challenge(response, carried);
    if (fault === 'challenge-free') return challenge(response, carried, { note: 'no charge applied' });
    if (form === undefined && options.key) {
      if (!stored.has(id) && options.key.balance < mcents) return challenge(response, carried);
      if (!stored.has(id)) options.key.balance -= mcents;
    }
    shop.taken.add(id);
    const body = stored.get(id) ?? JSON.stringify(answerOf(id, content, mcents));
    stored.set(id, body);
    if (fault === 'drop-after') return void request.socket.destroy();
    response.setHeader('content-type', 'application/json');
    if (form !== undefined) {
      const receipt = { method: 'any', reference: `ref:${id}`, status: 'success' };
      response.setHeader('Payment-Receipt', Buffer.from(JSON.stringify(receipt)).toString('base64url'));
    }
    if (fault === 'drop-body') {
      response.writeHead(200, { 'content-length': String(body.length) });
      response.write(body.slice(0, 20), () => request.socket.destroy());
      return;
    }
    response.end(body);
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Object.assign(shop, {
    ...{ host, url: `http://${host}/paid` },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  });
}

function answerOf(id: string, content: string, mcents: bigint): object {
  return {
    ...{ ok: true, said: content, charged_mcents: Number(mcents) },
    ...{ receipt_id: `id:${id}`, receipt: `jws:${id}` },
  };
}

function createWires(): Wire[] {
  const secrets = [randomBytes(32)];
  const common = { clock: systemClock, log: silentLog };
  return [
    createL402Wire({ secrets, ...common }),
    createX402Wire({ log: silentLog }),
    createMppWire({ secrets, realm: 'shop.example', ...common }),
  ];
}

function offerOf(
  rail: 'evm' | 'stripe' | 'lightning',
  mcents: bigint,
  preimages: Map<string, string>,
): Offer {
  switch (rail) {
    case 'evm':
      return {
        ...{ kind: 'eip3009', network: TOKEN.network, asset: TOKEN.address, units: mcents * 10n },
        ...{ payTo: '0x209693Bc6afc0C5328bA36FaF03C514EF312287C', timeoutSeconds: 125 },
        ...{ tokenName: 'USDC', tokenVersion: '2' },
      } satisfies Eip3009Offer;
    case 'stripe':
      return {
        ...{ kind: 'spt', currency: 'usd', units: mcents / 1_000n, networkId: 'profile_1' },
        paymentMethodTypes: ['card'],
      } satisfies SptOffer;
    case 'lightning': {
      const preimage = randomBytes(32);
      const paymentHash = createHash('sha256').update(preimage).digest('hex');
      preimages.set(paymentHash, preimage.toString('hex'));
      // At $100,000 a bitcoin a satoshi is worth 100 millicents.
      const sats = mcents / 100n;
      const invoice = makeInvoice({ sats, paymentHash, issuedAt: new Date() });
      return {
        ...{ kind: 'bolt11', invoice, paymentHash, sats, network: 'regtest', isHold: true },
      } satisfies Bolt11Offer;
    }
    default:
      throw rail satisfies never;
  }
}

type AnswerFault = 'in-flight' | 'unknown' | 'proxy-error' | 'tool-failed' | 'used' | 'redirect' | 'silent';

function isAnswer(fault: Fault): fault is AnswerFault {
  return !['drop-before', 'drop-after', 'drop-body', 'challenge', 'challenge-free'].includes(fault);
}

function misbehave(fault: AnswerFault, response: ServerResponse): void {
  const problems = 'https://millicent.dev/problems';
  switch (fault) {
    case 'in-flight':
      response.setHeader('retry-after', '0');
      answer(response, 409, { type: `${problems}/in-flight` });
      return;
    case 'unknown':
      response.setHeader('retry-after', '0');
      answer(response, 503, { type: `${problems}/outcome-unknown` });
      return;
    case 'proxy-error':
      response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad gateway</h1>');
      return;
    case 'tool-failed':
      answer(response, 502, { type: `${problems}/tool-failed`, note: 'no charge applied' });
      return;
    case 'used':
      answer(response, 409, { type: `${problems}/credential-used` });
      return;
    case 'redirect':
      response.writeHead(307, { location: 'https://thief.example/paid' }).end();
      return;
    case 'silent':
      return;
    default:
      throw fault satisfies never;
  }
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(body));
}

async function readAll(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function carry(request: IncomingMessage, content: string): Carried {
  return {
    header(name) {
      const value = request.headers[name.toLowerCase()];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    method: request.method,
    bodyDigest: () => (content === '' ? undefined : createHash('sha256').update(content).digest('base64')),
  };
}

function readKey(carried: Carried): string | undefined {
  return /^Bearer (.*)$/.exec(carried.header('authorization') ?? '')?.[1] ?? carried.header('x-api-key');
}

function readForm(wires: readonly Wire[], carried: Carried): Form | undefined {
  for (const wire of wires) {
    const reading = wire.read(carried);
    if (reading?.kind === 'credential') return reading.credential.form;
    if (reading) throw new Error(reading.reason);
  }
  return undefined;
}

/** What a claim is made of: the rail's own id of the payment. */
function idOf(form: Form): string {
  switch (form.kind) {
    case 'eip3009':
      return `evm:${form.from}:${form.nonce}`;
    case 'preimage':
      return `lightning:${form.paymentHash}${form.preimage === '' ? '?' : ''}`;
    case 'spt':
      return `stripe:${form.token}`;
    default:
      throw new Error(`the shop takes no ${form.kind}`);
  }
}
