import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { x402Client } from '@x402/core/client';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createFreeCalls } from '../../src/gateway/free-calls.ts';
import { publishEcho } from './fixtures.ts';
import { ask, askStateless } from './mcp-fixtures.ts';
import { callInSession, callStateless, type RpcAnswer } from './mcp-payment-fixtures.ts';
import { balanceOf, bearer, type Surface, startSurface, times } from './surface.ts';

const PRICE = 250;
const LIAR = readFileSync(join(import.meta.dirname, 'servers/liar.py'), 'utf8');
const ERAS = { 'the 2025 era': callInSession, '2026-07-28': callStateless };
/** What only the gateway may say, or what names somebody else to be paid. */
const LIES = /attacker|theirs|accepts|challenges|"x402|org\.paymentauth/;

let surface: Surface;
let liar: Awaited<ReturnType<typeof publishEcho>>;
let hasty: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  surface = await startSurface();
  const files = { 'server.py': LIAR };
  const pricing = { model: 'per_call', amount_mcents: PRICE };
  liar = await publishEcho(surface.gateway, { files, pricing });
  hasty = await publishEcho(surface.gateway, { files, pricing: { ...pricing, settle: 'before-run' } });
});
afterAll(() => surface.close());

/** A payment for a call that was refused, by a wallet of its own. */
async function payFor({ result }: RpcAnswer): Promise<{ 'x402/payment': object }> {
  const account = privateKeyToAccount(generatePrivateKey());
  await surface.anvil.mint(account.address, 1_000_000n);
  const client = new x402Client().register('eip155:*', new ExactEvmScheme(account));
  return {
    'x402/payment': await client.createPaymentPayload(JSON.parse(result?.content?.[0]?.text ?? '')),
  };
}

describe.each(Object.entries(ERAS))('in %s', (era, call) => {
  test('no error of a tool is a challenge that a client would pay', async () => {
    const headers = bearer(await surface.gateway.mint(10 * PRICE));
    for (const code of [-32042, -32043, 402, -32000]) {
      const { error, text } = await call(surface.gateway, liar.id, {
        ...{ tool: 'lie', args: { how: 'error', code }, headers },
      });
      expect(error?.message, text).toBe('pay me');
      expect(text).not.toMatch(LIES);
      expect([402, -32043]).not.toContain(error?.code);
      if (code === -32000) expect(error?.data).toMatchObject({ reason: 'kept' });
    }
    if (era === '2026-07-28') return;
    const prompt = await ask(surface.gateway, `/mcp/${liar.id}`, 'prompts/get', { name: 'x' });
    expect(prompt.body.error?.message).toBe('pay me');
    expect(JSON.stringify(prompt.body)).not.toMatch(LIES);
  });

  test('no answer that costs nothing carries a challenge or a receipt of a tool', async () => {
    const read = era === '2026-07-28' ? askStateless : ask;
    const { body } = await read(surface.gateway, `/mcp/${liar.id}`, 'resources/read', { uri: 'a:b' });
    expect(body.result?._meta, JSON.stringify(body)).toMatchObject({ 'com.example/kept': true });
    expect(JSON.stringify(body)).not.toMatch(LIES);
    expect(JSON.stringify(body)).not.toContain('millicent/charged');
  });
});

test('what a tool asks for carries no challenge of its own', async () => {
  const headers = bearer(await surface.gateway.mint(10 * PRICE));
  const { result, text } = await callStateless(surface.gateway, liar.id, {
    ...{ tool: 'lie', args: { how: 'ask' }, headers, capabilities: { elicitation: { form: {} } } },
  });
  expect(result, text).toMatchObject({
    resultType: 'input_required',
    inputRequests: { who: { method: 'elicitation/create' } },
    _meta: { 'com.example/kept': true },
  });
  expect(text).not.toMatch(LIES);
});

test('until a credential has paid, progress is numbers and nothing else', async () => {
  const order = { tool: 'lie', args: { how: 'progress' } };
  for (const call of Object.values(ERAS)) {
    const payment = await payFor(await call(surface.gateway, liar.id, order));
    const meta = { ...payment, progressToken: 7 };
    const { text } = await call(surface.gateway, liar.id, { ...order, meta });
    expect(text).toContain('"params":{"progressToken":7,"progress":1,"total":2}');
    expect(text).not.toContain('the secret');
  }
});

test('what was paid before a run that asks for input, or refuses, comes back as a refund key', async () => {
  for (const args of [{ how: 'ask' }, { how: 'error', code: -32000 }]) {
    const order = { tool: 'lie', args, capabilities: { elicitation: { form: {} } } };
    const payment = await payFor(await callStateless(surface.gateway, hasty.id, order));
    const { result, text } = await callStateless(surface.gateway, hasty.id, { ...order, meta: payment });
    expect(result, text).toMatchObject({
      isError: true,
      _meta: { 'millicent/problem': { refund_mcents: PRICE } },
    });
    const problem = result?._meta?.['millicent/problem'] as { refund_key: string };
    expect(await balanceOf(surface.gateway, problem.refund_key)).toBe(PRICE);
  }
});

test('a key is asked for input so often for nothing and no oftener', async () => {
  const headers = bearer(await surface.gateway.mint(10 * PRICE));
  const send = () =>
    callStateless(surface.gateway, liar.id, {
      ...{ tool: 'lie', args: { how: 'ask' }, headers, capabilities: { elicitation: { form: {} } } },
    });
  let last: RpcAnswer | undefined;
  for (let round = 0; round < 12; round += 1) {
    last = (await Promise.all(times(10, send))).at(-1);
  }
  expect(last?.result).toMatchObject({ isError: true, _meta: { 'millicent/problem': { status: 429 } } });
  // Who pays for a call is asked again.
  const another = bearer(await surface.gateway.mint(10 * PRICE));
  expect(
    (await callStateless(surface.gateway, liar.id, { tool: 'lie', args: {}, headers: another })).result,
  ).toMatchObject({
    content: [{ text: 'told' }],
  });
}, 120_000);

test('a key that may not call a server may not ask it anything in the name of its account', async () => {
  const key = await surface.gateway.mint(10 * PRICE, ['read']);
  const read = (headers: Record<string, string>) =>
    ask(surface.gateway, `/mcp/${liar.id}`, 'resources/read', { uri: 'a:b' }, headers);
  const { body } = await read(bearer(key));
  expect(body.error, JSON.stringify(body)).toMatchObject({
    data: { 'millicent/problem': { status: 403 } },
  });
});

test('no one address and no one account has all the places of free calls', async () => {
  const calls = createFreeCalls({ inFlightMax: 8 });
  const ends: (() => void)[] = [];
  const run = (asker: string) => calls.run(() => new Promise<void>((end) => ends.push(end)), asker);
  const running = times(6, () => run('10.0.0.1'));
  await expect(run('10.0.0.1')).rejects.toMatchObject({ status: 429 });
  running.push(run('account:a'), run('10.0.0.2'));
  await expect(run('10.0.0.3')).rejects.toMatchObject({ status: 429 });
  for (const end of ends.splice(0)) end();
  await Promise.all(running);
  const again = times(6, () => run('10.0.0.1'));
  for (const end of ends) end();
  await Promise.all(again);
});
