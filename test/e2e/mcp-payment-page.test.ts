import { UrlElicitationRequiredError } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Rails } from '../../scripts/dev/rails.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { startTestRails } from '../harness/rails.ts';
import { publishEcho, readAnswer, readBooks } from './fixtures.ts';
import { callInSession, callStateless, type RpcAnswer } from './mcp-payment-fixtures.ts';
import { readTakings } from './stock-clients-takings.ts';
import { connectSession, connectStateless, payInvoice } from './stock-mcp-clients-wallets.ts';

const PRICE = 250;
const DOLLAR = 100_000;
const URL_CAPABILITY = { elicitation: { url: {} } };

let rails: Rails;
let database: TestDatabase;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  [rails, database] = await Promise.all([startTestRails(), createTestDatabase()]);
  const env = { ...rails.environment, LIGHTNING_MINTS_PER_ADDRESS: '100000' };
  gateway = await startTestGateway({ database, env });
  rails.stripe.setWebhookUrl(`${gateway.url}/webhooks/stripe`);
  echo = await publishEcho(gateway, { pricing: { model: 'per_call', amount_mcents: PRICE } });
});
afterAll(async () => {
  expect((await readBooks(gateway)).discrepancies).toEqual([]);
  await gateway?.close();
  await Promise.all([database?.close(), rails?.close()]);
});

const mcpUrl = () => `${gateway.url}/mcp/${echo.id}`;
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const echoed = (result: unknown) => (result as { structuredContent?: unknown }).structuredContent;

async function balanceOf(key: string): Promise<number> {
  return (await readAnswer(await gateway.fetch('/v1/balance', { headers: bearer(key) }))).balance_mcents;
}

/** A page as a person's browser loads it, with no scripts to run. */
async function open(url: string, form?: Record<string, string>) {
  const init = form && { method: 'POST', body: new URLSearchParams(form) };
  const response = await fetch(url, init);
  return { response, text: await response.text() };
}

/** The values of an attribute in a page. */
function attributes(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([, value = '']) =>
    value.replaceAll('&amp;', '&').replaceAll('&quot;', '"'),
  );
}

/** Where the card processor has sent people back to. */
const returns: string[] = [];

/** A person pays the smallest sum by card and comes back; the last page it sees. */
async function payByCard(page: string): Promise<string> {
  const { text } = await open(page);
  const [amount = ''] = attributes(text, /name="amount_mcents" value="(\d+)"/g);
  const opened = await open(`${page}/card`, { amount_mcents: amount });
  const [checkout = ''] = attributes(opened.text, /class="button" href="([^"]+)"/g);
  const paid = await fetch(checkout, {
    ...{ method: 'POST', redirect: 'manual', body: new URLSearchParams({ payment_method: 'pm_card_visa' }) },
  });
  const back = paid.headers.get('location') ?? '';
  returns.push(back);
  expect(back).toContain(page);
  let seen = '';
  await waitUntil(async () => {
    seen = (await open(back)).text;
    return !seen.includes('http-equiv="refresh"');
  });
  return seen;
}

/** A person asks for an invoice of the smallest sum, and pays it. */
async function payByLightning(page: string) {
  const { text } = await open(page);
  const [amount] = attributes(text, /name="amount_mcents" value="(\d+)"/g);
  const shown = await open(`${page}/lightning`, amount === undefined ? {} : { amount_mcents: amount });
  const [invoice = ''] = attributes(shown.text, /href="lightning:(lnbcrt[0-9a-z]+)"/g);
  const preimage = await payInvoice(rails, invoice);
  const [token = ''] = attributes(shown.text, /name="token" value="([^"]+)"/g);
  return { preimage, token };
}

const findKey = (page: string) => /mcp_[0-9a-f]{48}/.exec(page)?.[0] ?? '';

async function askedUrl(headers: Record<string, string> = {}): Promise<string> {
  const { result, text } = await callStateless(gateway, echo.id, { headers, capabilities: URL_CAPABILITY });
  expect(result, text).toMatchObject({ resultType: 'input_required' });
  const { pay } = (result?.inputRequests ?? {}) as { pay?: { params: { url: string } } };
  return pay?.params.url ?? '';
}

describe('a person whose client shows pages', () => {
  test('in the 2025 era: is named the page, fills its key by card, and the call is paid by it', async () => {
    const key = await gateway.mint(PRICE - 1);
    const client = await connectSession(mcpUrl(), URL_CAPABILITY, { headers: bearer(key) });
    const call = () => client.callTool({ name: 'echo', arguments: { text: 'for me' } });
    const refused = await call().catch((cause: unknown) => cause);
    expect(refused).toBeInstanceOf(UrlElicitationRequiredError);
    const [elicitation] = (refused as UrlElicitationRequiredError).elicitations;
    expect(elicitation).toMatchObject({ mode: 'url', elicitationId: expect.any(String) });
    expect(elicitation?.message).toContain('$0.0025');
    const before = await readTakings(rails, 'stripe');
    expect(await payByCard(elicitation?.url ?? '')).toContain('The key is filled');
    expect((await readTakings(rails, 'stripe')) - before).toBe(100n);
    expect(echoed(await call())).toEqual({ text: 'for me' });
    expect(await balanceOf(key)).toBe(DOLLAR + PRICE - 1 - PRICE);
    await client.close();
  });

  test('on 2026-07-28: the client opens the page, the person pays, and the same call goes on by itself', async () => {
    const key = await gateway.mint(0);
    const client = await connectStateless(mcpUrl(), URL_CAPABILITY, { headers: bearer(key) });
    const opened: string[] = [];
    client.setRequestHandler('elicitation/create', async ({ params }) => {
      const { url = '' } = params as { url?: string };
      opened.push(url);
      await payByCard(url);
      return { action: 'accept' };
    });
    const result = await client.callTool({ name: 'echo', arguments: { text: 'for me' } });
    expect(echoed(result)).toEqual({ text: 'for me' });
    expect(opened).toHaveLength(1);
    expect(await balanceOf(key)).toBe(DOLLAR - PRICE);
    await client.close();
  });

  test('who accepts and does not pay is asked again, on the same page, and nothing runs', async () => {
    const headers = bearer(await gateway.mint(0));
    const first = await callStateless(gateway, echo.id, { headers, capabilities: URL_CAPABILITY });
    const { requestState, inputRequests } = first.result ?? {};
    const again = await callStateless(gateway, echo.id, {
      ...{ headers, capabilities: URL_CAPABILITY },
      params: { requestState, inputResponses: { pay: { action: 'accept' } } },
    });
    expect(again.result).toMatchObject({ resultType: 'input_required', inputRequests });
  });

  test('who declines is told what it costs, and is asked no more', async () => {
    const { result } = await callStateless(gateway, echo.id, { capabilities: URL_CAPABILITY });
    for (const action of ['decline', 'cancel']) {
      const declined = await callStateless(gateway, echo.id, {
        capabilities: URL_CAPABILITY,
        params: { requestState: result?.requestState, inputResponses: { pay: { action } } },
      });
      expect(declined.result).toMatchObject({ isError: true, resultType: 'complete' });
      expect(declined.result?._meta).toMatchObject({ 'millicent/problem': { status: 402 } });
    }
  });

  test('without a key: buys one by card, which is shown once it is paid, and pays', async () => {
    const shown = await payByCard(await askedUrl());
    const key = findKey(shown);
    expect(shown).toContain('claude mcp add');
    expect(await balanceOf(key)).toBe(DOLLAR);
    const { result } = await callStateless(gateway, echo.id, { headers: bearer(key) });
    expect(result?._meta).toMatchObject({ 'millicent/charged-mcents': PRICE });
  });

  test('two people who buy on one page have a key and a balance each', async () => {
    const page = await askedUrl();
    const keys = [findKey(await payByCard(page)), findKey(await payByCard(page))];
    expect(new Set(keys).size).toBe(2);
    expect(await Promise.all(keys.map(balanceOf))).toEqual([DOLLAR, DOLLAR]);
  });

  test('without a key: buys one by Lightning, and shows the preimage to get it', async () => {
    const page = await askedUrl();
    const { preimage, token } = await payByLightning(page);
    const refused = await open(`${page}/lightning/key`, { token, preimage: '00'.repeat(32) });
    expect(refused.response.status).toBe(400);
    expect(findKey(refused.text)).toBe('');
    const shown = await open(`${page}/lightning/key`, { token, preimage });
    expect(shown.response.status, shown.text).toBe(200);
    const key = findKey(shown.text);
    expect(await balanceOf(key)).toBe(10_000);
    // Lost on its way, it is shown again to who paid.
    expect(findKey((await open(`${page}/lightning/key`, { token, preimage })).text)).toBe(key);
  });

  test('with a key: fills it by Lightning, and need not come back for that', async () => {
    const key = await gateway.mint(0);
    await payByLightning(await askedUrl(bearer(key)));
    await waitUntil(async () => (await balanceOf(key)) === DOLLAR);
  });
});

describe('a program that pays is not sent to a page', () => {
  test.each<[string, Parameters<typeof callStateless>[2]]>([
    ['it says so', { meta: { 'millicent/pay': 'machine' } }],
    [
      'it shows a payment of x402',
      { meta: { 'x402/payment': { x402Version: 2, accepted: {}, payload: {} } } },
    ],
    ['it declares that it pays', { capabilities: { ...URL_CAPABILITY, experimental: { payment: {} } } }],
    ['its client shows forms only', { capabilities: { elicitation: { form: {} } } }],
  ])('%s', async (_, ask) => {
    for (const call of [callInSession, callStateless]) {
      const { result, text } = await call(gateway, echo.id, { capabilities: URL_CAPABILITY, ...ask });
      expect(result, text).toMatchObject({ isError: true });
      expect(text).not.toContain('/pay/');
    }
  });

  test('it speaks of payments in HTTP', async () => {
    for (const call of [callInSession, callStateless]) {
      const headers = { 'accept-payment': 'evm/charge' };
      expect(await call(gateway, echo.id, { headers, capabilities: URL_CAPABILITY })).toMatchObject({
        status: 402,
      });
    }
  });

  test('and finds its challenges beside the page where it said nothing', async () => {
    const dialects = { 'x402/error': { x402Version: 2 } };
    const session = await callInSession(gateway, echo.id, { capabilities: URL_CAPABILITY });
    expect(session.error).toMatchObject({ code: -32042, data: { ...dialects, httpStatus: 402 } });
    expect(session.error?.data?.challenges).toMatchObject([{ method: 'evm' }, { method: 'tempo' }, {}]);
    const stateless = await callStateless(gateway, echo.id, { capabilities: URL_CAPABILITY });
    expect(stateless.result?._meta).toMatchObject(dialects);
  });
});

describe('the page', () => {
  test('says what is bought, from whom and for how much, needs no script, and holds no secret', async () => {
    const key = await gateway.mint(77);
    const { response, text } = await open(await askedUrl(bearer(key)));
    expect(response.status).toBe(200);
    expect(text).toContain(echo.name);
    expect(text).toContain('$0.0025');
    expect(text).toContain(echo.name.split('/')[0]);
    expect(text).toMatch(/<html lang="en">[\s\S]*<main>[\s\S]*<h1>/);
    expect(text).not.toMatch(/<script|mcp_|javascript:|0\.00077/i);
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(
      /^default-src 'none'; style-src 'sha256-[^']+'; form-action 'self'; base-uri 'none'; frame/,
    );
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.get('referrer-policy')).toBe('no-referrer');
  });

  test.each(['x', 'A'.repeat(200), '..%2f..', 'A'.repeat(3_000)])(
    'a token that is not ours opens nothing: %s',
    async (token) => {
      for (const path of ['', '/card', '/lightning', '/lightning/key']) {
        const form = path === '' ? undefined : { amount_mcents: String(DOLLAR) };
        expect((await open(`${gateway.url}/pay/${token}${path}`, form)).response.status).toBe(404);
      }
    },
  );

  test('a page that was changed is none, and one takes no sum but its own', async () => {
    const page = await askedUrl();
    const changed = `${page.slice(0, -2)}${page.endsWith('AA') ? 'BB' : 'AA'}`;
    expect((await open(changed)).response.status).toBe(404);
    for (const amount of ['1', '-5', '1e9', String(DOLLAR + 1), '']) {
      expect((await open(`${page}/card`, { amount_mcents: amount })).response.status).toBe(400);
    }
  });

  test('a session that nobody paid, or that is not of this page, shows no key', async () => {
    const page = await askedUrl();
    const { text } = await open(`${page}/card`, { amount_mcents: String(DOLLAR) });
    const session = /cs_[A-Za-z0-9_]+/.exec(text)?.[0] ?? '';
    expect(session).not.toBe('');
    const paid = await payByCard(await askedUrl());
    expect(findKey(paid)).not.toBe('');
    const [other = ''] = attributes(returns.at(-1) ?? '', /session=(cs_[A-Za-z0-9_]+)/g);
    expect(other).not.toBe('');
    const [buyer = ''] = attributes(returns.at(-1) ?? '', /buyer=([\w-]+)/g);
    expect(buyer).not.toBe('');
    for (const shown of [session, other, 'cs_test_unknown', "cs_' OR 1=1", '']) {
      for (const who of [buyer, 'another', '']) {
        const seen = await open(`${page}/paid?buyer=${who}&session=${encodeURIComponent(shown)}`);
        expect(findKey(seen.text)).toBe('');
      }
    }
  });
});

describe('what a client hands back', () => {
  const ask = { capabilities: URL_CAPABILITY };
  const accept = { inputResponses: { pay: { action: 'accept' } } };

  test('is refused with another call, with another key, or when it was changed', async () => {
    const headers = bearer(await gateway.mint(0));
    const { result } = await callStateless(gateway, echo.id, { ...ask, headers });
    const requestState = String(result?.requestState);
    const params = { ...accept, requestState };
    const refusals: RpcAnswer[] = [
      await callStateless(gateway, echo.id, { ...ask, headers, params, args: { text: 'another' } }),
      await callStateless(gateway, echo.id, { ...ask, headers: bearer(await gateway.mint(0)), params }),
      await callStateless(gateway, echo.id, {
        ...ask,
        headers,
        params: { ...params, requestState: `${requestState}A` },
      }),
    ];
    for (const { error, text } of refusals) expect(error?.message, text).toMatch(/^The requestState/);
  });

  test('holds what its tool had asked for before, and the tool is given that back', async () => {
    // The tool's own state is part of what is priced and paid for: with and without it are two calls.
    const own = { requestState: 'the-tools-own', inputResponses: { name: { action: 'accept' } } };
    const { result } = await callStateless(gateway, echo.id, { ...ask, params: own });
    const key = await gateway.mint(PRICE);
    const state = { ...accept, requestState: result?.requestState };
    const paid = await callStateless(gateway, echo.id, { ...ask, params: state, headers: bearer(key) });
    expect(paid.result, paid.text).toMatchObject({ structuredContent: { text: 'hi' } });
    expect(await balanceOf(key)).toBe(0);
  });
});
