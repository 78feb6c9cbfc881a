import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { WebSocket as Socket } from 'undici';
import { type WebSocket, WebSocketServer } from 'ws';
import { readInvoice } from '../../../../src/payments/rails/lightning/bolt11.ts';
import type { LightningProvider } from '../../../../src/payments/rails/lightning/provider.ts';

type NostrEvent = {
  id: string;
  kind: number;
  pubkey: string;
  created_at: number;
  tags: string[][];
  content: string;
  sig: string;
};
type Filter = { kinds?: number[]; authors?: string[]; '#e'?: string[]; '#p'?: string[] };

export type NwcWallet = { url: string; close(): Promise<void> };

const METHODS = [
  'get_info',
  'get_balance',
  'make_invoice',
  'lookup_invoice',
  'list_transactions',
  'pay_invoice',
];
const HOLD_METHODS = ['make_hold_invoice', 'settle_hold_invoice', 'cancel_hold_invoice'];
const NOTIFICATIONS = ['payment_received', 'hold_invoice_accepted'];

/** A relay (NIP-01) and, behind it, a wallet (NIP-47) whose money is a real node's. */
export async function startNwcWallet(
  node: LightningProvider,
  options: { hasHolds: boolean },
): Promise<NwcWallet> {
  const { NWCClient, NWCWalletService, NWCWalletServiceKeyPair } = loadSdk();
  const secrets = { wallet: randomBytes(32).toString('hex'), client: randomBytes(32).toString('hex') };
  const client = new NWCClient({ relayUrls: [], walletPubkey: '', secret: secrets.client });
  const clientPubkey = client.publicKey;
  const keys = new NWCWalletServiceKeyPair(secrets.wallet, clientPubkey);
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await new Promise((resolve) => server.once('listening', resolve));
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const service = new NWCWalletService({ relayUrl: url });
  const subscriptions = new Map<WebSocket, Map<string, Filter>>();
  const stored: NostrEvent[] = [];
  const sign = async (kind: number, content: string, tags: string[][]) =>
    (await service.signEvent(
      { kind, content, tags, created_at: Math.floor(Date.now() / 1000) },
      keys.walletSecret,
    )) as NostrEvent;
  const encrypt = (text: string) => service.encrypt(keys, text, 'nip44_v2') as Promise<string>;
  function publish(event: NostrEvent): void {
    for (const [socket, filters] of subscriptions) {
      for (const [id, filter] of filters)
        if (matches(event, filter)) socket.send(JSON.stringify(['EVENT', id, event]));
    }
  }
  const methods = options.hasHolds ? [...METHODS, ...HOLD_METHODS] : METHODS;
  const wallet = createWallet(node, methods);
  stored.push(
    await sign(13_194, methods.join(' '), [
      ['encryption', 'nip44_v2'],
      ['notifications', NOTIFICATIONS.join(' ')],
    ]),
  );
  async function answer(event: NostrEvent): Promise<void> {
    const request = JSON.parse(await service.decrypt(keys, event.content, 'nip44_v2'));
    const response = await wallet.handle(request.method, request.params);
    const text = await encrypt(JSON.stringify({ result_type: request.method, ...response }));
    publish(
      await sign(23_195, text, [
        ['p', clientPubkey],
        ['e', event.id],
      ]),
    );
  }
  server.on('connection', (socket) => {
    const filters = new Map<string, Filter>();
    subscriptions.set(socket, filters);
    socket.on('close', () => subscriptions.delete(socket));
    socket.on('message', (data) => {
      const [type, first, second] = JSON.parse(String(data));
      if (type === 'REQ') {
        filters.set(first, second);
        for (const event of stored)
          if (matches(event, second)) socket.send(JSON.stringify(['EVENT', first, event]));
        socket.send(JSON.stringify(['EOSE', first]));
      }
      if (type === 'CLOSE') filters.delete(first);
      if (type === 'EVENT') {
        socket.send(JSON.stringify(['OK', first.id, true, '']));
        if (first.kind === 23_194) void answer(first).catch((cause) => console.error(cause));
      }
    });
  });
  const stop = new AbortController();
  const notifying = node.subscribe(
    undefined,
    async ({ paymentHash, standing }) => {
      const type = { held: 'hold_invoice_accepted', settled: 'payment_received' }[standing.state as string];
      const notification = type && (await wallet.find(paymentHash));
      if (!notification) return;
      const text = await encrypt(JSON.stringify({ notification_type: type, notification }));
      publish(await sign(23_197, text, [['p', clientPubkey]]));
    },
    stop.signal,
  );
  notifying.catch(() => {});
  return {
    url: `nostr+walletconnect://${keys.walletPubkey}?relay=${encodeURIComponent(url)}&secret=${secrets.client}`,
    async close() {
      stop.abort();
      await notifying.catch(() => {});
      for (const client of server.clients) client.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/**
 * The SDK a second time, as CommonJS: with a WebSocket of its own, which is then taken away again, so that the
 * adapter under test has to bring one on a Node that has none.
 */
function loadSdk(): typeof import('@getalby/sdk/nwc') {
  const had = Reflect.get(globalThis, 'WebSocket');
  Object.assign(globalThis, { WebSocket: had ?? Socket });
  const sdk = createRequire(import.meta.url)('@getalby/sdk/nwc');
  if (had === undefined) Reflect.deleteProperty(globalThis, 'WebSocket');
  return sdk;
}

function matches(event: NostrEvent, filter: Filter): boolean {
  const tagged = (name: string, values: string[] | undefined) =>
    !values ||
    event.tags.some(([tag, value]) => tag === name && value !== undefined && values.includes(value));
  return (
    (filter.kinds?.includes(event.kind) ?? true) &&
    (filter.authors?.includes(event.pubkey) ?? true) &&
    tagged('e', filter['#e']) &&
    tagged('p', filter['#p'])
  );
}

type Params = {
  amount: number;
  description?: string;
  expiry?: number;
  payment_hash: string;
  preimage: string;
  invoice: string;
  offset?: number;
  limit?: number;
};

/** NIP-47's methods over a node. */
function createWallet(node: LightningProvider, methods: string[]) {
  const minted = new Map<string, { invoice: string; created_at: number }>();
  const paid = new Map<string, { invoice: string; preimage: string; created_at: number }>();
  const bound = () => AbortSignal.timeout(15_000);
  const nowSeconds = () => Math.floor(Date.now() / 1000);
  const STATES: Record<string, string> = { open: 'pending', held: 'accepted', settled: 'settled' };

  async function find(payment_hash: string) {
    const outgoing = paid.get(payment_hash);
    if (outgoing) {
      const { invoice, preimage, created_at } = outgoing;
      const common = { invoice, payment_hash, preimage, created_at, settled_at: created_at, fees_paid: 0 };
      return { ...common, type: 'outgoing', state: 'settled', amount: 0 };
    }
    const known = minted.get(payment_hash);
    if (!known) return undefined;
    const { state, receivedMsat, settledAt } = await node.lookup(payment_hash, bound());
    const read = readInvoice(known.invoice);
    return {
      ...{ ...known, payment_hash, type: 'incoming', state: STATES[state] ?? 'failed', fees_paid: 0 },
      amount: Number(receivedMsat || read.msat),
      expires_at: Math.floor(read.expiresAt.getTime() / 1000),
      settled_at: settledAt ? Math.floor(settledAt.getTime() / 1000) : null,
    };
  }

  async function mint(params: Params, hold?: { paymentHash: string }) {
    const { amount, description = '', expiry = 3_600 } = params;
    const terms = { amountMsat: BigInt(amount), memo: description, expirySeconds: expiry };
    const { invoice, paymentHash } = await node.createInvoice(
      { ...terms, ...(hold ? { hold } : {}) },
      bound(),
    );
    minted.set(paymentHash, { invoice, created_at: nowSeconds() });
    return find(paymentHash);
  }

  async function run(method: string, params: Params): Promise<unknown> {
    switch (method) {
      case 'get_info':
        return { alias: 'test', network: 'regtest', methods, notifications: NOTIFICATIONS };
      case 'get_balance':
        return { balance: Number((await node.balance(bound())).msat) };
      case 'make_invoice':
        return mint(params);
      case 'make_hold_invoice':
        return mint(params, { paymentHash: params.payment_hash });
      case 'settle_hold_invoice': {
        const { createHash } = await import('node:crypto');
        const paymentHash = createHash('sha256').update(Buffer.from(params.preimage, 'hex')).digest('hex');
        await node.settle({ paymentHash, preimage: params.preimage }, bound());
        return {};
      }
      case 'cancel_hold_invoice':
        await node.cancel(params.payment_hash, bound());
        return {};
      case 'lookup_invoice':
        return find(params.payment_hash);
      case 'list_transactions': {
        const { offset = 0, limit = 50 } = params;
        const page = [...minted.keys()].slice(offset, offset + limit);
        return { transactions: await Promise.all(page.map(find)) };
      }
      case 'pay_invoice': {
        const payment = await node.pay(
          { invoice: params.invoice, feeMaxMsat: 10_000n, timeoutMs: 10_000 },
          bound(),
        );
        if (payment.kind !== 'succeeded') throw new Error('PAYMENT_FAILED');
        const { paymentHash } = readInvoice(params.invoice);
        const { preimage } = payment;
        paid.set(paymentHash, { invoice: params.invoice, preimage, created_at: nowSeconds() });
        return { preimage, fees_paid: 0 };
      }
      default:
        return undefined;
    }
  }
  return {
    find,
    async handle(method: string, params: Params) {
      if (!methods.includes(method)) return { error: { code: 'NOT_IMPLEMENTED', message: method } };
      try {
        const result = await run(method, params);
        return result === undefined ? { error: { code: 'NOT_FOUND', message: 'not found' } } : { result };
      } catch (cause) {
        return { error: { code: 'OTHER', message: String(cause) } };
      }
    },
  };
}
