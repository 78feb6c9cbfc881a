import { Receipt } from 'mppx';
import { expect } from 'vitest';
import type { Rails } from '../../scripts/dev/rails.ts';
import type { RailName } from '../../src/payments/index.ts';
import { createTestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { startTestRails } from '../harness/rails.ts';
import { publishEcho, readBooks } from './fixtures.ts';
import { DEAR, type PlainInit, type Sale } from './stock-clients-sales.ts';
import { readPaid, readTakings, toUnits } from './stock-clients-takings.ts';

export type Tool = Awaited<ReturnType<typeof publishEcho>>;

/** Every rail, and a gateway on them whose prices any of them can move. */
export type World = {
  rails: Rails;
  gateway: TestGateway;
  /** On the same books, with a price for keys that a card can pay. */
  dearGateway: TestGateway;
  tool: Tool;
  dearTool: Tool;
  /** The names of the headers that came with payers' requests: a test empties it before it listens. */
  heard: Set<string>;
  close(): Promise<void>;
};

export async function startWorld(): Promise<World> {
  const [rails, database] = await Promise.all([startTestRails(), createTestDatabase()]);
  // Each unpaid request mints an invoice, and all of them come from one address.
  const env = { ...rails.environment, LIGHTNING_MINTS_PER_ADDRESS: '100000' };
  const dear = { SIGNUP_PRICE_MCENTS: String(DEAR.signup), SIGNUP_CREDIT_MCENTS: String(DEAR.signup) };
  const heard = new Set<string>();
  const gateway = await startTestGateway({
    ...{ database, env },
    around(request, answer) {
      const isPayers = request.method !== 'OPTIONS' && !request.url.includes('/v1/admin/');
      for (const name of isPayers ? request.headers.keys() : []) heard.add(name);
      return answer();
    },
  });
  const dearGateway = await startTestGateway({ database, env: { ...env, ...dear } });
  const pricing = { model: 'per_call', amount_mcents: DEAR.call };
  return {
    ...{ rails, gateway, dearGateway, heard },
    tool: await publishEcho(gateway),
    dearTool: await publishEcho(gateway, { pricing }),
    async close() {
      await Promise.all([gateway.close(), dearGateway.close()]);
      await Promise.all([database.close(), rails.close()]);
    },
  };
}

/** An unmodified client with a wallet of its own. */
export type StockClient = {
  rail: RailName;
  /** How a key is sent beside its payments: some occupy `Authorization`. */
  keyHeader: 'authorization' | 'x-api-key';
  pay(url: string, init: PlainInit): Promise<Response>;
  /** The client's own reading of the receipt, where it has one: the transaction. */
  readReceipt?(response: Response): string | undefined;
};

/** The client buys this once: it gets what it paid for, a receipt of its rail, and exactly the price moved. */
export async function expectOnePayment(world: World, client: StockClient, sale: Sale): Promise<void> {
  const before = await readTakings(world.rails, client.rail);
  const units = await buy(world, client, sale);
  expect((await readTakings(world.rails, client.rail)) - before).toBe(units);
  expect(await readBooks(world.gateway)).toMatchObject({ balanced: true, discrepancies: [] });
}

/** All of them buy at the same time, each these things one after the other: each rail takes the sum of prices. */
export async function expectCrowdServed(
  world: World,
  crowd: { client: StockClient; sales: Sale[] }[],
): Promise<void> {
  const rails = [...new Set(crowd.map(({ client }) => client.rail))];
  const before = await Promise.all(rails.map((rail) => readTakings(world.rails, rail)));
  const due = new Map<RailName, bigint>();
  await Promise.all(
    crowd.map(async ({ client, sales }) => {
      for (const sale of sales) {
        const units = await buy(world, client, sale);
        due.set(client.rail, (due.get(client.rail) ?? 0n) + units);
      }
    }),
  );
  const after = await Promise.all(rails.map((rail) => readTakings(world.rails, rail)));
  expect(after.map((units, index) => units - (before[index] ?? 0n))).toEqual(
    rails.map((rail) => due.get(rail)),
  );
  expect(await readBooks(world.gateway)).toMatchObject({ balanced: true, discrepancies: [] });
}

/** One purchase, whose receipt names a payment of exactly the price: that many of the rail's units. */
async function buy(world: World, client: StockClient, [, place]: Sale): Promise<bigint> {
  const { url, init, key, price, check } = await place(world);
  const headers = { ...init.headers, ...(key === undefined ? {} : sendKey(client, key)) };
  const response = await client.pay(url, { ...init, headers });
  const text = await response.clone().text();
  expect(response.status, text).toBe(200);
  await check(JSON.parse(text));
  const receipt = Receipt.fromResponse(response);
  expect(receipt).toMatchObject({ method: client.rail, status: 'success' });
  if (client.readReceipt) expect(client.readReceipt(response)).toBe(receipt.reference);
  const units = toUnits(client.rail, price);
  expect(await readPaid(world.rails, client.rail, receipt.reference)).toBe(units);
  return units;
}

function sendKey({ keyHeader }: StockClient, key: string): Record<string, string> {
  return { [keyHeader]: keyHeader === 'authorization' ? `Bearer ${key}` : key };
}

/** What a browser adds of its own, or lets a page send without asking (Fetch, section 2.2.2). */
const UNASKED = new Set([
  ...['accept', 'accept-encoding', 'accept-language', 'cache-control', 'connection', 'content-length'],
  ...['host', 'origin', 'pragma', 'sec-fetch-mode', 'user-agent', 'transfer-encoding'],
]);

/** A page may send every header that the client has sent, and read those that tell of payments. */
export async function expectBrowserFriendly({ gateway, heard }: World): Promise<void> {
  const headers = { origin: 'https://shop.example', 'access-control-request-method': 'POST' };
  const preflight = await gateway.fetch('/v1/example', { method: 'OPTIONS', headers });
  const allowed = listNames(preflight, 'access-control-allow-headers');
  expect([...heard].filter((name) => !UNASKED.has(name) && !allowed.includes(name))).toEqual([]);
  const exposed = listNames(await gateway.fetch('/v1/example'), 'access-control-expose-headers');
  const read = ['www-authenticate', 'payment-required', 'payment-receipt', 'payment-response'];
  expect(exposed).toEqual(expect.arrayContaining([...read, 'x-payment-response']));
}

function listNames({ headers }: Response, name: string): string[] {
  return (headers.get(name) ?? '').toLowerCase().split(/, */);
}

/** Every rail beside the books, as the operator sees it; money has moved on these. */
export async function expectReconciled({ gateway }: World, moved: RailName[]): Promise<void> {
  const headers = { 'x-admin-key': gateway.adminKey };
  const report = await (await gateway.fetch('/v1/admin/reconcile', { headers })).json();
  expect(report, JSON.stringify(report)).toMatchObject({ reconciled: true, unreachable: [] });
  const assets = (report as { assets: { account: string; booked: string }[] }).assets;
  const names = assets
    .filter(({ booked }) => BigInt(booked) > 0n)
    .map(({ account }) => account.split(':')[0]);
  expect(names).toEqual(expect.arrayContaining(moved.map((rail) => `A.${rail}`)));
}
