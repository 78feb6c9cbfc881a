import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256Hex } from '../../src/core/bytes.ts';
import { canonicalJson } from '../../src/core/canonical-json.ts';
import { type BatchProof, type ReceiptPayload, verifyBatchProof } from '../../src/provenance/index.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { waitUntil } from '../harness/process.ts';
import { createAgent, jsonBody, publishEcho } from './fixtures.ts';
import {
  balanceOf,
  bearer,
  countByStatus,
  expectFreeProblem,
  expectProblem,
  readBody,
  type Surface,
  startSurface,
  times,
} from './surface.ts';

let surface: Surface;
let gateway: TestGateway;
let echo: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  surface = await startSurface();
  gateway = surface.gateway;
  echo = await publishEcho(gateway);
});
afterAll(() => surface.close());

type Headers = Record<string, string>;
const RECEIPT_ID = expect.stringMatching(/^[0-9a-f-]{36}$/);

const example = (headers: Headers = {}) => gateway.fetch('/v1/example', { headers });
const call = (tool: string, headers: Headers = {}, args: object = {}) =>
  gateway.fetch(echo.call, jsonBody({ tool, arguments: args }, headers));
const withIdempotency = (key: string, idempotencyKey: string): Headers => ({
  ...bearer(key),
  'idempotency-key': idempotencyKey,
});
const listCalls = async (key: string, query = '') =>
  (await readBody(await gateway.fetch(`/v1/calls${query}`, { headers: bearer(key) }))).calls;

// What pays

test('the example is sold to a key by GET and by POST, and tells what it cost and what is left', async () => {
  const key = await gateway.mint(1_000);
  const posted = await gateway.fetch('/v1/example', jsonBody({ name: 'Ada' }, bearer(key)));
  for (const [response, name, left] of [
    [await example(bearer(key)), 'agent', 800],
    [posted, 'Ada', 900],
  ] as const) {
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      ...{ ok: true, message: expect.stringContaining(name), charged_mcents: 100 },
      ...{ receipt_id: RECEIPT_ID, balance_mcents: left },
    });
  }
  expect(await balanceOf(gateway, key)).toBe(800);
});

test('a hosted tool is sold by name and by id, each at its own price', async () => {
  const key = await gateway.mint(1_000);
  const text = 'grüße 🌍';
  const named = await call('echo', bearer(key), { text });
  expect(await named.json()).toEqual({
    ok: true,
    result: { content: [{ type: 'text', text }], structuredContent: { text } },
    ...{ charged_mcents: 250, receipt_id: RECEIPT_ID, balance_mcents: 750 },
  });
  const pinned = { tool: 'random', arguments: {}, version: '1.0.0' };
  const byId = await gateway.fetch(`/invoke/${echo.id}`, jsonBody(pinned, bearer(key)));
  expect(await byId.json()).toMatchObject({ ok: true, charged_mcents: 50, balance_mcents: 700 });
  expect(await balanceOf(gateway, key)).toBe(700);
});

test('a key may come as X-Api-Key, next to an Authorization that is no key', async () => {
  const key = await gateway.mint(600);
  const headers: Headers[] = [
    { 'x-api-key': key },
    { 'x-api-key': key, authorization: 'Basic dXNlcjpwYXNz' },
  ];
  for (const header of headers) {
    expect((await example(header)).status).toBe(200);
    expect((await call('random', header)).status).toBe(200);
  }
  expect(await balanceOf(gateway, key)).toBe(300);
});

test('a free tool needs neither key nor payment, and has no receipt', async () => {
  for (const headers of [{}, bearer(await gateway.mint(0)), { 'idempotency-key': 'free' }]) {
    const response = await call('gratis', headers);
    expect(response.status).toBe(200);
    const text = [{ type: 'text', text: 'free of charge' }];
    expect(await response.json()).toEqual({ ok: true, result: { content: text }, charged_mcents: 0 });
  }
});

test('without key or payment the answer is 402, and the stock client pays it', async () => {
  const agent = await createAgent(surface.anvil);
  const owned = await agent.owns();
  const unpaid = await expectFreeProblem(await example(), 402, 'payment-required');
  expect(unpaid).toMatchObject({ amount_mcents: 100, accepts: [{ maxAmountRequired: '1000' }] });
  const hosted = await expectFreeProblem(await call('random'), 402, 'payment-required');
  expect(hosted).toMatchObject({ amount_mcents: 50, accepts: [{ maxAmountRequired: '500' }] });
  const response = await agent.fetch(`${gateway.url}/v1/example`);
  expect(await response.json()).toEqual({
    ...{ ok: true, message: expect.any(String), charged_mcents: 100 },
    ...{ receipt_id: RECEIPT_ID, receipt: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/) },
  });
  expect(response.headers.get('payment-receipt')).toBeTruthy();
  expect(response.headers.get('payment-response')).toBeTruthy();
  expect(response.headers.get('cache-control')).toBe('no-store');
  expect(owned - (await agent.owns())).toBe(1_000n);
});

test('an empty key is 402 with challenges and its balance, and its call can be paid on the spot', async () => {
  const agent = await createAgent(surface.anvil);
  const key = await gateway.mint(49);
  for (const response of [await example(bearer(key)), await call('random', bearer(key))]) {
    const body = await expectFreeProblem(response.clone(), 402, 'payment-required');
    expect(body).toMatchObject({ balance_mcents: 49, accepts: [{ scheme: 'exact' }] });
    expect(body.detail).toContain('49');
  }
  // A key and a credential together: the credential pays, the key authorises.
  const owned = await agent.owns();
  const payment = await agent.sign(await call('random', bearer(key)));
  const paid = await call('random', { ...bearer(key), ...payment });
  expect(await paid.json()).toMatchObject({ ok: true, charged_mcents: 50, balance_mcents: 49 });
  expect(owned - (await agent.owns())).toBe(500n);
  expect(await balanceOf(gateway, key)).toBe(49);
});

// What is charged

test('64 calls at once on a balance for 10 make exactly 10', async () => {
  const sold: [number, (key: string) => Promise<Response>][] = [
    [100, (key) => example(bearer(key))],
    [250, (key) => call('echo', bearer(key), { text: 'race' })],
    [50, (key) => call('random', bearer(key))],
  ];
  for (const [price, ask] of sold) {
    const key = await gateway.mint(price * 10 + price - 1);
    const responses = await Promise.all(times(64, () => ask(key)));
    expect(countByStatus(responses)).toEqual({ 200: 10, 402: 54 });
    const bodies = await Promise.all(responses.map(readBody));
    const delivered = bodies.filter(({ ok }) => ok);
    expect(new Set(delivered.map((body) => body.receipt_id)).size).toBe(10);
    expect(delivered.every((body) => body.charged_mcents === price)).toBe(true);
    expect(await balanceOf(gateway, key)).toBe(price - 1);
    const calls = await listCalls(key);
    expect(calls.map(({ receipt_id }) => receipt_id).sort()).toEqual(
      delivered.map(({ receipt_id }) => receipt_id).sort(),
    );
  }
});

test('a call that does not deliver costs nothing, says so in 512 bytes, and is on record as released', async () => {
  const key = await gateway.mint(250);
  for (const [tool, status, type] of [
    ['fail', 502, 'tool-failed'],
    ['liar', 502, 'tool-failed'],
    ['crash', 502, 'tool-failed'],
    ['sleep', 504, 'tool-timeout'],
  ] as const) {
    const { detail } = await expectFreeProblem(await call(tool, bearer(key)), status, type);
    expect(Buffer.byteLength(detail)).toBeLessThanOrEqual(512);
    expect(await balanceOf(gateway, key)).toBe(250);
  }
  const calls = await listCalls(key);
  expect(calls).toHaveLength(4);
  for (const record of calls) {
    expect(record).toMatchObject({ state: 'released', charged_mcents: 0, receipt_id: null });
  }
});

test('who failed too often for free is told to wait, and nobody else is', async () => {
  const [key, other] = [await gateway.mint(10_000), await gateway.mint(10_000)];
  const another = await publishEcho(gateway);
  const fail = (as: string) => gateway.fetch(another.call, jsonBody({ tool: 'fail' }, bearer(as)));
  for (const response of await Promise.all(times(21, () => fail(key)))) {
    expect(response.status).toBe(502);
  }
  const blocked = await fail(key);
  await expectFreeProblem(blocked, 429, 'too-many-requests');
  expect(Number(blocked.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await fail(other)).status).toBe(502);
  expect((await call('random', bearer(key))).status).toBe(200);
});

test('a client that hangs up does not get its delivered call for free', async () => {
  const key = await gateway.mint(250);
  const leaving = new AbortController();
  const body = jsonBody({ tool: 'sleep', arguments: { seconds: 0.5 } }, bearer(key));
  const running = gateway.fetch(echo.call, { ...body, signal: leaving.signal });
  await waitUntil(async () => (await listCalls(key))[0]?.state === 'held');
  leaving.abort();
  await expect(running).rejects.toThrow();
  await waitUntil(async () => (await listCalls(key))[0]?.state !== 'held');
  expect(await listCalls(key)).toMatchObject([{ state: 'captured', charged_mcents: 250 }]);
  expect(await balanceOf(gateway, key)).toBe(0);
});

test('a publisher earns four fifths of what its delivered calls cost', async () => {
  const server = await publishEcho(gateway);
  const key = await gateway.mint(2_500);
  const request = jsonBody({ tool: 'echo', arguments: { text: 'x' } }, bearer(key));
  await Promise.all(times(10, () => gateway.fetch(server.call, request)));
  expect(await balanceOf(gateway, key)).toBe(0);
  const account = await gateway.fetch('/v1/balance', { headers: bearer(server.key) });
  expect(await account.json()).toMatchObject({ earned_mcents: 2_000, withdrawable_mcents: 0 });
});

// Idempotency-Key

test('an Idempotency-Key with the same request gives the same stored answer for one charge', async () => {
  const key = await gateway.mint(1_000);
  const asks: [number, () => Promise<Response>][] = [
    [50, () => call('random', withIdempotency(key, 'hosted'))],
    [100, () => example(withIdempotency(key, 'instant'))],
  ];
  let left = 1_000;
  for (const [price, ask] of asks) {
    const first = await ask();
    expect(first.status).toBe(200);
    const body = await readBody(first);
    left -= price;
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const again = await ask();
      expect(again.status).toBe(200);
      expect(await again.json()).toEqual(body);
    }
    expect(await balanceOf(gateway, key)).toBe(left);
  }
  expect(await listCalls(key)).toHaveLength(2);
});

test('one Idempotency-Key sent 20 times at once runs once and charges once', async () => {
  for (const [price, ask] of [
    [50, (headers: Headers) => call('random', headers)],
    [100, (headers: Headers) => example(headers)],
  ] as const) {
    const key = await gateway.mint(1_000);
    const responses = await Promise.all(times(20, () => ask(withIdempotency(key, 'race'))));
    const counts = countByStatus(responses);
    expect(counts[200]).toBeGreaterThanOrEqual(1);
    expect((counts[200] ?? 0) + (counts[409] ?? 0)).toBe(20);
    for (const response of responses.filter(({ status }) => status === 409)) {
      await expectProblem(response, 409, 'in-flight');
      expect(response.headers.get('retry-after')).toBeTruthy();
    }
    const delivered = await Promise.all(responses.filter(({ status }) => status === 200).map(readBody));
    expect(new Set(delivered.map(({ receipt_id }) => receipt_id)).size).toBe(1);
    const again = await readBody(await ask(withIdempotency(key, 'race')));
    for (const { result } of delivered) expect(result).toEqual(again.result);
    expect(await balanceOf(gateway, key)).toBe(1_000 - price);
    expect(await listCalls(key)).toHaveLength(1);
  }
});

test('an Idempotency-Key used for another request is 409 and charges nothing', async () => {
  const key = await gateway.mint(1_000);
  const headers = withIdempotency(key, 'one');
  expect((await call('echo', headers, { text: 'a' })).status).toBe(200);
  const others = [call('echo', headers, { text: 'b' }), call('random', headers), example(headers)];
  for (const other of await Promise.all(others)) {
    const { detail } = await expectFreeProblem(other, 409, 'credential-used');
    expect(detail).toMatch('Idempotency-Key');
  }
  expect(await balanceOf(gateway, key)).toBe(750);
});

test('an Idempotency-Key is one’s own: somebody else’s call with it runs for itself', async () => {
  const [mine, other] = [await gateway.mint(100), await gateway.mint(100)];
  const first = await readBody(await call('random', withIdempotency(mine, 'shared')));
  const second = await readBody(await call('random', withIdempotency(other, 'shared')));
  expect(second.receipt_id).not.toBe(first.receipt_id);
  expect(second.result).not.toEqual(first.result);
  expect((await example(withIdempotency(other, 'shared'))).status).toBe(409);
  expect([await balanceOf(gateway, mine), await balanceOf(gateway, other)]).toEqual([50, 50]);
});

test('an Idempotency-Key of a call that failed is told the same again, and costs nothing', async () => {
  const key = await gateway.mint(250);
  const ask = () => call('fail', withIdempotency(key, 'failing'));
  const first = await expectFreeProblem(await ask(), 502, 'tool-failed');
  const again = await expectFreeProblem(await ask(), 502, 'tool-failed');
  expect(again.detail).toBe(first.detail);
  expect(await balanceOf(gateway, key)).toBe(250);
});

test('an Idempotency-Key that could not be paid is free to be paid later', async () => {
  const agent = await createAgent(surface.anvil);
  const key = await gateway.mint(10);
  const ask = () => call('random', withIdempotency(key, 'later'));
  await expectFreeProblem(await ask(), 402, 'payment-required');
  const topUp = jsonBody({ amount_mcents: 1_000 }, bearer(key));
  expect((await agent.fetch(`${gateway.url}/v1/topup`, topUp)).status).toBe(200);
  expect(await readBody(await ask())).toMatchObject({ ok: true, charged_mcents: 50 });
  expect(await balanceOf(gateway, key)).toBe(960);
});

test('64 calls at once with Idempotency-Keys of their own on a balance for 10 make exactly 10', async () => {
  const key = await gateway.mint(1_000);
  const responses = await Promise.all(times(64, (index) => example(withIdempotency(key, `call-${index}`))));
  expect(countByStatus(responses)).toEqual({ 200: 10, 402: 54 });
  expect(await balanceOf(gateway, key)).toBe(0);
});

// Receipts and records

type Issued = { ok: boolean; receipt: ReceiptPayload; jws: string; batch?: BatchProof };

const readReceipt = async (id: string): Promise<Issued> => {
  // A receipt is public to whoever knows its id.
  const response = await gateway.fetch(`/receipts/${id}`);
  expect(response.status).toBe(200);
  return (await response.json()) as Issued;
};
const readJwks = async () => (await (await gateway.fetch('/.well-known/jwks.json')).json()) as JSONWebKeySet;

async function verify(jws: string): Promise<ReceiptPayload> {
  const { payload, protectedHeader } = await compactVerify(jws, createLocalJWKSet(await readJwks()));
  expect(protectedHeader.alg).toBe('EdDSA');
  return JSON.parse(new TextDecoder().decode(payload));
}

test('a key-paid call answers with its signed receipt inline when it is asked to', async () => {
  const key = await gateway.mint(1_000);
  for (const response of [
    await example({ ...bearer(key), prefer: 'receipt' }),
    await call('random', { ...bearer(key), prefer: 'respond-async, receipt' }),
    await call('random', { ...withIdempotency(key, 'receipt'), prefer: 'receipt' }),
    await call('random', { ...withIdempotency(key, 'receipt'), prefer: 'receipt' }),
  ]) {
    const body = await readBody(response);
    const receipt = await verify(body.receipt);
    expect(receipt).toMatchObject({
      jti: body.receipt_id,
      price_mcents: String(body.charged_mcents),
      rail: 'key',
    });
  }
  const silent = await readBody(await example(bearer(key)));
  expect(silent.receipt).toBeUndefined();
});

test('a receipt binds request, result, code, version and price, and does not tell who paid', async () => {
  const key = await gateway.mint(1_000);
  const body = await readBody(await call('echo', bearer(key), { text: 'bound' }));
  const { receipt, jws } = await readReceipt(body.receipt_id);
  expect(await verify(jws)).toEqual(receipt);
  const request = { server: echo.name, tool: 'echo', arguments: { text: 'bound' } };
  expect(receipt).toMatchObject({
    ...{ v: 1, iss: gateway.url, jti: body.receipt_id, server: echo.name, tool: 'echo', tool_id: echo.id },
    ...{ version: '1.0.0', code: echo.body.code_hash, price_mcents: '250', fee_mcents: '50', rail: 'key' },
    req: `sha256:${sha256Hex(canonicalJson(request))}`,
    res: `sha256:${sha256Hex(canonicalJson(body.result))}`,
    payer: expect.stringMatching(/^payer:[0-9a-f]{32}$/),
  });
  const { keys } = await readBody(await gateway.fetch('/v1/keys', { headers: bearer(key) }));
  expect(JSON.stringify(receipt)).not.toContain(keys[0].id);
});

test('a receipt verifies by its path in the signed batch, and a changed one does not', async () => {
  const key = await gateway.mint(1_000);
  const bodies = await Promise.all(times(5, () => example(bearer(key)).then(readBody)));
  const jwks = await readJwks();
  for (const { receipt_id } of bodies) {
    await waitUntil(async () => (await readReceipt(receipt_id)).batch !== undefined);
    const { receipt, batch } = await readReceipt(receipt_id);
    if (!batch) throw new Error('the batch was there a moment ago');
    expect(await verifyBatchProof(receipt, batch, jwks)).toMatchObject({ kind: 'valid', payload: receipt });
    const forged = { ...receipt, price_mcents: '1' };
    expect(await verifyBatchProof(forged, batch, jwks)).toMatchObject({ kind: 'invalid' });
  }
});

test('receipts of one tool are numbered without a gap, also when many are sold at once', async () => {
  const server = await publishEcho(gateway);
  const key = await gateway.mint(10_000);
  const request = jsonBody({ tool: 'random', arguments: {} }, bearer(key));
  const failing = jsonBody({ tool: 'fail', arguments: {} }, bearer(key));
  const responses = await Promise.all(
    times(15, (index) => gateway.fetch(server.call, index % 5 === 4 ? failing : request)),
  );
  const sold = await Promise.all(responses.filter(({ status }) => status === 200).map(readBody));
  const receipts = await Promise.all(sold.map(({ receipt_id }) => readReceipt(receipt_id)));
  const numbers = receipts.map(({ receipt }) => receipt.seq).sort((a, b) => a - b);
  const [first = 0] = numbers;
  expect(numbers).toEqual(times(12, (index) => first + index));
  expect(new Set(receipts.map(({ receipt }) => receipt.lane)).size).toBe(1);
});

test('an owner reads its calls page by page, and nobody else’s', async () => {
  const [key, other] = [await gateway.mint(1_000), await gateway.mint(1_000)];
  const ids: string[] = [];
  for (let index = 0; index < 5; index += 1) {
    ids.unshift((await readBody(await example(bearer(key)))).receipt_id);
  }
  expect((await listCalls(key)).map(({ id }) => id)).toEqual(ids);
  const [first] = await listCalls(key, '?limit=1');
  expect(first).toEqual({
    ...{ id: ids[0], tool: 'example', version_id: expect.any(String), state: 'captured' },
    ...{ price_mcents: 100, charged_mcents: 100, receipt_id: ids[0] },
    ...{ created_at: expect.any(String), closed_at: expect.any(String) },
  });
  expect(await listCalls(other)).toEqual([]);
});

test('pages of calls lose none and show none twice, also of calls charged in one batch', async () => {
  const key = await gateway.mint(1_000);
  const made = await Promise.all(
    times(10, async () => (await readBody(await example(bearer(key)))).receipt_id),
  );
  const seen: string[] = [];
  let cursor = '';
  do {
    const answer = await gateway.fetch(`/v1/calls?limit=3${cursor && `&cursor=${cursor}`}`, {
      headers: bearer(key),
    });
    const page = (await answer.json()) as { calls: { id: string }[]; next_cursor?: string };
    seen.push(...page.calls.map(({ id }) => id));
    cursor = page.next_cursor ?? '';
  } while (cursor);
  expect(seen).toHaveLength(10);
  expect([...seen].sort()).toEqual([...made].sort());
});

test('a forged cursor is refused as the mistake it is', async () => {
  const key = await gateway.mint(100);
  const id = '00000000-0000-7000-8000-000000000000';
  const forge = (time: string) => Buffer.from(JSON.stringify([time, id])).toString('base64url');
  for (const cursor of [
    'x',
    forge('now()'),
    forge('2026-13-41 05:30:12+00'),
    forge('2026-11-21 05:30:12\u0000+00'),
  ]) {
    const answer = await gateway.fetch(`/v1/calls?cursor=${cursor}`, { headers: bearer(key) });
    await expectProblem(answer, 400, 'malformed-request');
  }
  const name = Buffer.from(JSON.stringify(['name', 'a\u0000', id])).toString('base64url');
  await expectProblem(await gateway.fetch(`/mcp?sort=name&cursor=${name}`), 400, 'malformed-request');
});

test('what is not served is 405 or 404: no stream, no session, no other method', async () => {
  await expectProblem(await gateway.fetch(echo.call), 404, 'not-found');
  await expectProblem(await gateway.fetch('/v1/signup'), 404, 'not-found');
  await expectProblem(await gateway.fetch('/v1/example', { method: 'DELETE' }), 404, 'not-found');
});
