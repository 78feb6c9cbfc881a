import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Rails } from '../../scripts/dev/rails.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { startTestRails } from '../harness/rails.ts';
import { ensureStockClients, STOCK_CLIENTS_TIMEOUT_MS } from '../stock-clients/ensure.ts';
import { publishEcho, readBooks } from './fixtures.ts';
import { readPaid, readTakings, toUnits } from './stock-clients-takings.ts';
import { WALLETS } from './stock-clients-wallets.ts';
import { calledSchema, connectSession, MCP_BUYERS, type McpBuyer } from './stock-mcp-clients-wallets.ts';

const PRICE = 250;
const receiptSchema = z.object({ reference: z.string(), status: z.literal('success') });

let rails: Rails;
let database: TestDatabase;
let gateway: TestGateway;
let url: string;

/** What came of each `tools/call`, and whether it came with a payment in its headers. */
const calls: { status: number; isPaid: boolean }[] = [];

async function noteCall(request: Request, answer: () => Response | Promise<Response>): Promise<Response> {
  const isMcp = request.method === 'POST' && request.url.includes('/mcp/');
  const isCall = isMcp && (await request.clone().text()).includes('"tools/call"');
  const answered = await answer();
  if (isCall) calls.push({ status: answered.status, isPaid: request.headers.has('payment-signature') });
  return answered;
}

beforeAll(ensureStockClients, STOCK_CLIENTS_TIMEOUT_MS);
beforeAll(async () => {
  [rails, database] = await Promise.all([startTestRails(), createTestDatabase()]);
  const env = { ...rails.environment, LIGHTNING_MINTS_PER_ADDRESS: '100000' };
  gateway = await startTestGateway({ database, env, around: noteCall });
  const listed = await publishEcho(gateway, {
    pricing: { model: 'per_call', amount_mcents: PRICE, tools: { gratis: 0 } },
  });
  url = `${gateway.url}/mcp/${listed.id}`;
});
afterAll(async () => {
  await gateway?.close();
  await Promise.all([database?.close(), rails?.close()]);
});

describe.each(Object.entries(MCP_BUYERS))('the unmodified client %s', (_, connect) => {
  let buyer: McpBuyer;
  beforeAll(async () => {
    buyer = await connect(rails, url);
  });
  afterAll(() => buyer?.close());

  test.each([
    ['a tool with an output schema', 'echo', { text: 'for whom it may concern' }],
    ['a tool without one', 'random', {}],
    ['another call in the same session', 'echo', { text: 'once more' }],
    ['the very same call again', 'random', {}],
  ])('pays exactly the price once, is served and is given a receipt: %s', async (_name, tool, args) => {
    const before = await readTakings(rails, buyer.rail);
    const called = await buyer.call(tool, args);
    expect(called.isError ?? false, JSON.stringify(called)).toBe(false);
    if (tool === 'echo') expect(called.structuredContent).toEqual(args);
    expect(called._meta).toMatchObject({
      ...{ 'millicent/charged-mcents': PRICE, 'millicent/receipt': expect.any(String) },
    });
    const { reference } = receiptSchema.parse(called._meta?.['org.paymentauth/receipt']);
    const units = toUnits(buyer.rail, PRICE);
    expect(await readPaid(rails, buyer.rail, reference)).toBe(units);
    expect((await readTakings(rails, buyer.rail)) - before).toBe(units);
    expect(await readBooks(gateway)).toMatchObject({ balanced: true, discrepancies: [] });
  });

  test('pays nothing for a call that fails', async () => {
    const before = await readTakings(rails, buyer.rail);
    const called = await buyer.call('fail', {}).catch((cause: unknown) => ({ isError: true, cause }));
    expect(called).toMatchObject({ isError: true });
    expect(await readTakings(rails, buyer.rail)).toBe(before);
  });

  test('is served without a payment what is free', async () => {
    const before = await readTakings(rails, buyer.rail);
    const called = await buyer.call('gratis', {});
    expect(called).toMatchObject({ content: [{ text: 'free of charge' }] });
    expect(await readTakings(rails, buyer.rail)).toBe(before);
  });
});

test('mcpc pays in its first request, off the price in the list', async () => {
  const buyer = await MCP_BUYERS['mcpc of Apify']?.(rails, url);
  calls.length = 0;
  const called = await buyer?.call('echo', { text: 'at once' });
  await buyer?.close();
  expect(called?.structuredContent).toEqual({ text: 'at once' });
  expect(calls).toEqual([{ status: 200, isPaid: true }]);
}, 60_000);

describe('a client of HTTP under the transport, once it says that it pays there', () => {
  test.each(
    Object.entries(WALLETS).filter(([name]) => /mppx, EIP|x402.fetch|L402|Accept-Payment/.test(name)),
  )('%s pays exactly the price', async (_, create) => {
    const client = await create(rails);
    const pay: typeof fetch = (target, init) => {
      const headers = Object.fromEntries(new Headers(init?.headers));
      const isCall = typeof init?.body === 'string' && init.body.includes('"tools/call"');
      if (!isCall) return fetch(target, { ...init, headers });
      return client.pay(String(target), { method: 'POST', headers, body: String(init.body) });
    };
    const accepts = client.rail === 'lightning' ? 'lightning/charge' : 'evm/charge';
    const mcp = await connectSession(url, {}, { headers: { 'accept-payment': accepts } }, pay);
    const before = await readTakings(rails, client.rail);
    const result = calledSchema.parse(await mcp.callTool({ name: 'echo', arguments: { text: 'by HTTP' } }));
    expect(result.structuredContent).toEqual({ text: 'by HTTP' });
    expect((await readTakings(rails, client.rail)) - before).toBe(toUnits(client.rail, PRICE));
    await mcp.close();
  });
});
