import { x402Client } from '@x402/core/client';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestGateway } from '../harness/gateway.ts';
import { jsonBody, publishEcho, submission, tokenBalance } from './fixtures.ts';
import { ask } from './mcp-fixtures.ts';
import { callInSession, callStateless, type RpcAnswer } from './mcp-payment-fixtures.ts';
import { balanceOf, bearer, type Surface, startSurface, times } from './surface.ts';

const PRICE = 250;
const UNITS = 2_500n;

let surface: Surface;
let second: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  surface = await startSurface();
  second = await surface.startAnother({ env: {}, anvil: surface.anvil });
  echo = await publishEcho(surface.gateway, { pricing: { model: 'per_call', amount_mcents: PRICE } });
});
afterAll(() => surface.close());

const problemOf = ({ result }: RpcAnswer) =>
  result?._meta?.['millicent/problem'] as { status: number } | undefined;
const takings = () => tokenBalance(surface.anvil, surface.anvil.payTo);
const toBase64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');

async function sign(required: unknown) {
  const account = privateKeyToAccount(generatePrivateKey());
  await surface.anvil.mint(account.address, 1_000_000n);
  const client = new x402Client().register('eip155:*', new ExactEvmScheme(account));
  // What is signed was a challenge of ours, or is made of our list.
  return client.createPaymentPayload(required as never);
}

const signFor = ({ result }: RpcAnswer) => sign(JSON.parse(result?.content?.[0]?.text ?? ''));

/** The requirements that a client reads off the list, before any quote. */
async function signListed(server: string) {
  const { body } = await ask(surface.gateway, `/mcp/${server}`, 'tools/list');
  const tools = body.result?.tools as { name: string; _meta: { x402: object } }[];
  const { paymentRequired: _, ...accepted } = (tools.find(({ name }) => name === 'random')?._meta.x402 ??
    {}) as Record<string, unknown>;
  return sign({ x402Version: 2, resource: { url: 'mcp://any' }, accepts: [accepted] });
}

async function reprice(server: Awaited<ReturnType<typeof publishEcho>>, version: string, amount: number) {
  const pricing = { model: 'per_call', amount_mcents: amount };
  const body = { ...submission(server.name), version, pricing };
  const response = await surface.gateway.fetch(`/mcp/${server.id}`, {
    ...jsonBody(body, bearer(server.key)),
    method: 'PUT',
  });
  expect([response.status, await response.text()]).toEqual([201, expect.any(String)]);
}

test('a price that rose between the list and the call is asked for, and the old one is not taken', async () => {
  const server = await publishEcho(surface.gateway, { pricing: { model: 'per_call', amount_mcents: PRICE } });
  const payment = await signListed(server.id);
  await reprice(server, '1.1.0', 2 * PRICE);
  const before = await takings();
  const order = { tool: 'random', args: {}, meta: { 'x402/payment': payment } };
  const answer = await callStateless(surface.gateway, server.id, order);
  expect(answer.result, answer.text).toMatchObject({
    isError: true,
    _meta: { 'millicent/problem': { status: 402, amount_mcents: 2 * PRICE } },
  });
  expect(await takings()).toBe(before);
});

test('a price that fell between the list and the call never takes more than it says', async () => {
  const server = await publishEcho(surface.gateway, { pricing: { model: 'per_call', amount_mcents: PRICE } });
  const payment = await signListed(server.id);
  await reprice(server, '1.1.0', 100);
  const before = await takings();
  const order = { tool: 'random', args: {}, meta: { 'x402/payment': payment } };
  const answer = await callStateless(surface.gateway, server.id, order);
  expect(problemOf(answer)?.status, answer.text).toBe(402);
  expect(await takings()).toBe(before);
});

test('one payment sent in every spelling, over MCP and HTTP, to two gateways at once, buys once', async () => {
  const order = { tool: 'random', args: {} };
  const payment = await signFor(await callStateless(surface.gateway, echo.id, order));
  const header = { 'payment-signature': toBase64(payment) };
  const before = await takings();
  const ways = [
    (at: TestGateway) => callStateless(at, echo.id, { ...order, meta: { 'x402/payment': payment } }),
    (at: TestGateway) =>
      callInSession(at, echo.id, { ...order, meta: { 'x402.payment': toBase64(payment) } }),
    (at: TestGateway) => callStateless(at, echo.id, { ...order, headers: header }),
    (at: TestGateway) =>
      callInSession(at, echo.id, { ...order, headers: header, meta: { 'x402/payment': payment } }),
    async (at: TestGateway) => {
      const response = await at.fetch(echo.call, jsonBody({ tool: 'random' }, header));
      const { result } = (await response.json()) as { result?: RpcAnswer['result'] };
      return { result } as RpcAnswer;
    },
  ];
  const sent = times(20, (index) => ways[index % ways.length]?.(index % 2 ? second : surface.gateway));
  const answers = (await Promise.all(sent)).filter((answer) => answer !== undefined);
  const delivered = answers.filter(({ result }) => result && !result.isError);
  expect(new Set(delivered.map(({ result }) => result?.content?.[0]?.text)).size).toBe(1);
  expect((await takings()) - before).toBe(UNITS);
});

test('two different idempotency keys with one call are refused, and the same one twice is one', async () => {
  const key = await surface.gateway.mint(10 * PRICE);
  const send = (own: string, header: string) =>
    callStateless(surface.gateway, echo.id, {
      ...{ tool: 'random', args: {}, meta: { 'millicent/idempotency-key': own } },
      headers: { ...bearer(key), 'idempotency-key': header },
    });
  expect((await send('one', 'other')).error).toMatchObject({ code: -32602 });
  expect(await balanceOf(surface.gateway, key)).toBe(10 * PRICE);
  const [first, again] = [await send('one', 'one'), await send('one', 'one')];
  expect(first.result?.content).toEqual(again.result?.content);
  expect(await balanceOf(surface.gateway, key)).toBe(9 * PRICE);
});

test('a payment in a place that is none of ours pays nothing and reaches no tool as one', async () => {
  const order = { tool: 'random', args: {} };
  const payment = await signFor(await callStateless(surface.gateway, echo.id, order));
  const before = await takings();
  for (const meta of [
    { 'X402/Payment': payment },
    { ' x402/payment': payment },
    { inner: { 'x402/payment': payment } },
    { 'x402/payment ': payment },
  ]) {
    const answer = await callStateless(surface.gateway, echo.id, { ...order, meta });
    expect(problemOf(answer)?.status, answer.text).toBe(402);
  }
  expect(await takings()).toBe(before);
});
