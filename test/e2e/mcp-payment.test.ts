import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { x402Client } from '@x402/core/client';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { Challenge, Credential } from 'mppx';
import { evm } from 'mppx/client';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import type { JsonObject } from '../../src/http/mcp/dialects/index.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { jsonBody, publishEcho, readAnswer, readBooks, tokenBalance } from './fixtures.ts';
import { type Ask, callInSession, callStateless, type RpcAnswer } from './mcp-payment-fixtures.ts';
import { connectSession, connectStateless } from './stock-mcp-clients-wallets.ts';

const PRICE = 250;
const UNITS = 2_500n;
const PRICING = { model: 'per_call', amount_mcents: PRICE, tools: { gratis: 0 } };
const MIRROR = readFileSync(join(import.meta.dirname, 'servers/mirror.py'), 'utf8');

let database: TestDatabase;
let anvil: Anvil;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;
let mirror: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  [database, anvil] = await Promise.all([createTestDatabase(), startAnvil({ log: silentLog })]);
  gateway = await startTestGateway({ database, anvil });
  echo = await publishEcho(gateway, { pricing: PRICING });
  mirror = await publishEcho(gateway, {
    pricing: { model: 'per_call', amount_mcents: PRICE },
    files: { 'server.py': MIRROR },
  });
});
afterAll(async () => {
  expect((await readBooks(gateway)).discrepancies).toEqual([]);
  await gateway.close();
  await Promise.all([anvil.close(), database.close()]);
});

/** How one dialect shows a payment for a challenge, signed anew each time. */
type Dialect = {
  /** It hands our quote back, which is what opens a stored answer. */
  isEchoing: boolean;
  pay(wallet: Wallet, refused: RpcAnswer): Promise<Pick<Ask, 'meta' | 'headers'>>;
};
type Wallet = { account: ReturnType<typeof privateKeyToAccount> };

async function createWallet(): Promise<Wallet> {
  const account = privateKeyToAccount(generatePrivateKey());
  await anvil.mint(account.address, 10_000_000n);
  return { account };
}

async function signX402({ account }: Wallet, { result }: RpcAnswer) {
  const client = new x402Client().register('eip155:*', new ExactEvmScheme(account));
  return client.createPaymentPayload(JSON.parse(result?.content?.[0]?.text ?? ''));
}

const toBase64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');

const DIALECTS: Record<string, Dialect> = {
  'x402, an object': {
    isEchoing: true,
    pay: async (wallet, refused) => ({ meta: { 'x402/payment': await signX402(wallet, refused) } }),
  },
  'Cloudflare, base64': {
    isEchoing: true,
    pay: async (wallet, refused) => ({ meta: { 'x402/payment': toBase64(await signX402(wallet, refused)) } }),
  },
  'x402 version 1 with a dot (vercel)': {
    isEchoing: false,
    async pay(wallet, refused) {
      const { payload } = await signX402(wallet, refused);
      const envelope = { x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload };
      return { meta: { 'x402.payment': toBase64(envelope) } };
    },
  },
  'header and object without a quote (mcpc)': {
    isEchoing: false,
    async pay(wallet, refused) {
      const { extensions: _, ...payload } = await signX402(wallet, refused);
      return { meta: { 'x402/payment': payload }, headers: { 'payment-signature': toBase64(payload) } };
    },
  },
  'MPP (mppx)': {
    isEchoing: true,
    async pay({ account }, { result }) {
      const asked = result?._meta?.['org.paymentauth/payment-required'] as { challenges: unknown[] };
      const [challenge] = asked.challenges.map((each) => Challenge.Schema.parse(each));
      const method = evm.charge({ account, currencies: [evm.assets.baseSepolia.USDC], maxAmount: '0.10' });
      // The schema types the request loosely; the method reads what its own server would have sent.
      const credential = await method.createCredential({ challenge } as never);
      return { meta: { 'org.paymentauth/credential': Credential.deserialize(credential) } };
    },
  },
};

const ERAS = { 'the 2025 era': callInSession, '2026-07-28': callStateless };

const takings = () => tokenBalance(anvil, anvil.payTo);
const problemOf = ({ result }: RpcAnswer) => result?._meta?.['millicent/problem'] as JsonObject | undefined;

describe.each(Object.entries(DIALECTS))('%s', (_, dialect) => {
  const order = { tool: 'random', args: {} };

  test.each(Object.entries(ERAS))(
    'one credential sent 20 times at once buys once, in %s',
    async (_era, call) => {
      const wallet = await createWallet();
      const payment = await dialect.pay(wallet, await call(gateway, echo.id, order));
      const before = await takings();
      const send = () => call(gateway, echo.id, { ...order, ...payment });
      const answers = await Promise.all(Array.from({ length: 20 }, send));
      const delivered = answers.filter(({ result }) => result && !result.isError);
      expect(new Set(delivered.map(({ result }) => result?.content?.[0]?.text)).size).toBe(1);
      for (const { result } of delivered)
        expect(result?._meta).toMatchObject({ 'millicent/charged-mcents': PRICE });
      for (const refused of answers.filter(({ result }) => result?.isError)) {
        expect([409, 402]).toContain(problemOf(refused)?.status);
      }
      expect((await takings()) - before).toBe(UNITS);
      expect(await tokenBalance(anvil, wallet.account.address)).toBe(10_000_000n - UNITS);
    },
  );

  test('after an answer that was lost, what was paid is given and not sold again', async () => {
    const wallet = await createWallet();
    const slow = { tool: 'sleep', args: { seconds: 1, once: Math.random() } };
    const refused = await callStateless(gateway, echo.id, slow);
    const payment = await dialect.pay(wallet, refused);
    const before = await takings();
    await expect(
      callStateless({ ...gateway, fetch: leaveAfter(400) }, echo.id, { ...slow, ...payment }),
    ).rejects.toThrow();
    await waitUntil(async () => (await takings()) - before === UNITS);
    // Who has no quote to show signs again, and that signature is a question only.
    const again = dialect.isEchoing ? payment : await dialect.pay(wallet, refused);
    const answer = await callStateless(gateway, echo.id, { ...slow, ...again });
    expect(answer.result, answer.text).toMatchObject({ content: [{ text: 'awake' }] });
    expect((await takings()) - before).toBe(UNITS);
  });

  test('a tool that fails costs nothing', async () => {
    const wallet = await createWallet();
    const failing = { tool: 'fail', args: {} };
    const payment = await dialect.pay(wallet, await callInSession(gateway, echo.id, failing));
    const before = await takings();
    const answer = await callInSession(gateway, echo.id, { ...failing, ...payment });
    expect(answer.result).toMatchObject({ isError: true });
    expect(problemOf(answer)).toMatchObject({ status: 502, note: 'no charge applied' });
    expect(answer.text).not.toMatch(/accepts|challenges/);
    expect(await takings()).toBe(before);
  });
});

/** A client that is gone after so many milliseconds. */
function leaveAfter(ms: number): TestGateway['fetch'] {
  return (path, init) => gateway.fetch(path, { ...init, signal: AbortSignal.timeout(ms) });
}

test('a payment for one call buys no other, and only who takes payments for passes is asked anew', async () => {
  for (const [name, dialect] of Object.entries(DIALECTS)) {
    const wallet = await createWallet();
    const payment = await dialect.pay(wallet, await callStateless(gateway, echo.id, {}));
    await callStateless(gateway, echo.id, payment);
    const before = await takings();
    const other = await callStateless(gateway, echo.id, { ...payment, args: { text: 'another' } });
    // Over HTTP headers the challenge comes as HTTP has it, and that client pays again for its second call.
    if (name.includes('mcpc')) expect(other).toMatchObject({ status: 402 });
    else expect(problemOf(other)).toMatchObject({ status: 409 });
    expect(await takings()).toBe(before);
  }
});

describe.each(Object.entries(ERAS))('in %s', (_, call) => {
  test('two different payments are an error, and neither is taken', async () => {
    const [first, second] = [await createWallet(), await createWallet()];
    const refused = await call(gateway, echo.id, {});
    const [one, other] = [await signX402(first, refused), await signX402(second, refused)];
    const before = await takings();
    const answer = await call(gateway, echo.id, {
      meta: { 'x402/payment': one },
      headers: { 'payment-signature': toBase64(other) },
    });
    expect(answer.error).toMatchObject({
      code: -32602,
      message: expect.stringContaining('Two different payments'),
      data: { 'millicent/problem': { status: 400, note: 'no charge applied' } },
    });
    expect(await takings()).toBe(before);
  });

  test('a credential that is no payment is an error, and no reason to pay', async () => {
    for (const value of [7, [], 'not base64 of JSON']) {
      const { error, result, text } = await call(gateway, echo.id, { meta: { 'x402/payment': value } });
      expect(error !== undefined || result?.isError, text).toBe(true);
    }
  });

  test('a request that speaks of payments in HTTP gets the 402 of HTTP, with every challenge', async () => {
    const answer = await call(gateway, echo.id, { headers: { 'accept-payment': 'evm/charge' } });
    expect(answer.status).toBe(402);
    expect(answer.headers.get('payment-required')).toBeTruthy();
    expect(answer.headers.get('www-authenticate')).toContain('method="evm"');
    expect(answer.headers.get('cache-control')).toBe('no-store');
  });

  test('a tool sees nothing of a payment, and nobody takes its word for ours', async () => {
    const wallet = await createWallet();
    const order = { tool: 'mirror', args: {} };
    const payment = await signX402(wallet, await call(gateway, mirror.id, order));
    const meta = { 'x402/payment': payment, 'millicent/pay': 'machine', 'com.example/mine': 'seen' };
    const { result, text } = await call(gateway, mirror.id, { ...order, meta });
    const shown = result?.content?.[0]?.text ?? '';
    expect(JSON.parse(shown), text).toMatchObject({ 'com.example/mine': 'seen' });
    expect(shown).not.toMatch(/x402|millicent|signature/);
    expect(result?._meta).toMatchObject({ 'com.example/kept': true, 'millicent/charged-mcents': PRICE });
    expect(text).not.toMatch(/0xattacker|theirs/);
  });

  test('a payment that comes when the list names a price needs no quote', async () => {
    const client = call === callInSession ? await connectSession(toUrl()) : await connectStateless(toUrl());
    const { tools } = await client.listTools();
    await client.close();
    const [priced, free] = [
      tools.find(({ name }) => name === 'random'),
      tools.find(({ name }) => name === 'gratis'),
    ];
    expect(free?._meta).toEqual({ 'millicent/price': { amount_mcents: 0, currency: 'USD' } });
    expect(priced?._meta).toMatchObject({
      'millicent/price': { amount_mcents: PRICE, currency: 'USD' },
      ...{ 'agents-x402/paymentRequired': true, 'agents-x402/priceUSD': 0.0025 },
    });
    const { paymentRequired, ...accepted } = (priced?._meta?.x402 ?? {}) as JsonObject;
    expect(paymentRequired).toBe(true);
    const wallet = await createWallet();
    const listed = { x402Version: 2, resource: { url: 'mcp://any' }, accepts: [accepted] };
    const paid = await signX402(wallet, { result: { content: [{ text: JSON.stringify(listed) }] } } as never);
    const before = await takings();
    const { result, text } = await call(gateway, echo.id, {
      ...{ tool: 'random', args: {}, meta: { 'x402/payment': paid } },
    });
    expect(result?.isError, text).not.toBe(true);
    expect((await takings()) - before).toBe(UNITS);
  });
});

const toUrl = () => `${gateway.url}/mcp/${echo.id}`;

describe('a client that cannot pay', () => {
  test.each([
    ['the SDK of the 2025 era', connectSession],
    ['the SDK of 2026-07-28', connectStateless],
  ])('%s reads the challenge, also of a tool with an output schema', async (_name, connect) => {
    const client = await connect(toUrl());
    // From here on it holds results against the schemas of the tools.
    await client.listTools();
    for (const [name, args] of [
      ['echo', { text: 'a' }],
      ['random', {}],
    ] as const) {
      const result = (await client.callTool({ name, arguments: args })) as unknown as RpcAnswer['result'];
      expect(result?.isError).toBe(true);
      const challenge = JSON.parse(result?.content?.[0]?.text ?? '');
      expect(challenge).toMatchObject({ x402Version: 2, accepts: [{ amount: UNITS.toString() }] });
      expect(result?._meta).toMatchObject({
        'x402/error': challenge,
        'org.paymentauth/payment-required': { httpStatus: 402 },
        'millicent/problem': { status: 402, amount_mcents: PRICE },
      });
    }
    await client.close();
  });

  test('is told of a key that has too little, and may use it once it is filled', async () => {
    const headers = { authorization: `Bearer ${await gateway.mint(PRICE - 1)}` };
    for (const call of Object.values(ERAS)) {
      const { result } = await call(gateway, echo.id, { headers });
      expect(result).toMatchObject({ isError: true, _meta: { 'x402/error': { x402Version: 2 } } });
    }
    const full = { authorization: `Bearer ${await gateway.mint(PRICE)}` };
    const { result } = await callStateless(gateway, echo.id, { headers: full });
    expect(result?._meta).toMatchObject({ 'millicent/charged-mcents': PRICE, 'millicent/balance-mcents': 0 });
  });

  test('a key that is not valid is a 401 without any challenge', async () => {
    const headers = { authorization: 'Bearer mcp_wrong' };
    const answer = await callStateless(gateway, echo.id, { headers });
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/);
    expect(answer.text).not.toMatch(/accepts|challenges/);
  });
});

test('on 2026-07-28 no path ends in -32042, which that revision forbids', async () => {
  const wallet = await createWallet();
  const refused = await callStateless(gateway, echo.id, {});
  const payment = await signX402(wallet, refused);
  const short = { authorization: `Bearer ${await gateway.mint(1)}` };
  const url = { elicitation: { url: {} } };
  const asks: Ask[] = [];
  for (const capabilities of [{}, url, { elicitation: { form: {}, url: {} } }, { elicitation: {} }]) {
    for (const headers of [
      {},
      short,
      { 'accept-payment': 'evm/charge' },
      { 'payment-signature': 'broken' },
    ]) {
      for (const meta of [
        {},
        { 'millicent/pay': 'machine' },
        { 'x402/payment': 'broken' },
        { 'x402/payment': 1 },
      ]) {
        for (const tool of ['echo', 'random', 'no such tool'])
          asks.push({ capabilities, headers, meta, tool });
      }
    }
  }
  asks.push({ meta: { 'x402/payment': payment } }, { meta: { 'x402/payment': payment } });
  asks.push(
    { meta: { 'x402/payment': payment }, args: { text: 'other' } },
    { tool: 'fail', args: {}, headers: short },
  );
  asks.push({ params: { requestState: 'pay1.broken', inputResponses: {} }, capabilities: url });
  for (const ask of asks) {
    const { text } = await callStateless(gateway, echo.id, {
      args: ask.tool === 'random' ? {} : { text: 'x' },
      ...ask,
    });
    expect(text).not.toMatch(/-3204[23]/);
  }
  expect(asks.length).toBeGreaterThan(190);
}, 120_000);

test('what was paid over MCP has the same answer over HTTP, and the other way round', async () => {
  const wallet = await createWallet();
  const order = { tool: 'random', args: {} };
  const payment = await signX402(wallet, await callStateless(gateway, echo.id, order));
  const bought = await callStateless(gateway, echo.id, { ...order, meta: { 'x402/payment': payment } });
  const headers = { 'payment-signature': toBase64(payment) };
  const response = await gateway.fetch(echo.call, jsonBody({ tool: 'random' }, headers));
  expect((await readAnswer(response)).result.content).toEqual(bought.result?.content);
});
