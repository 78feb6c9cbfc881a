import { fetch402, fetchWithL402, fetchWithMpp } from '@getalby/lightning-tools/402';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Rails } from '../../scripts/dev/rails.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { startTestRails } from '../harness/rails.ts';
import { jsonBody, publishEcho, readAnswer, readBooks } from './fixtures.ts';

let rails: Rails;
let database: TestDatabase;
let gateway: TestGateway;
let tool: Awaited<ReturnType<typeof publishEcho>>;

beforeAll(async () => {
  [rails, database] = await Promise.all([startTestRails(), createTestDatabase()]);
  gateway = await startTestGateway({ database, env: rails.environment });
  tool = await publishEcho(gateway);
}, 60_000);
afterAll(async () => {
  await gateway?.close();
  await Promise.all([database?.close(), rails?.close()]);
});

/** The agent's wallet as Alby's tools ask for one. */
const wallet = {
  async payInvoice({ invoice }: { invoice: string }) {
    const response = await fetch(rails.lightning.payUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ invoice }),
    });
    const body = (await response.json()) as { preimage?: string; error?: string };
    if (body.preimage === undefined) throw new Error(body.error);
    return { preimage: body.preimage };
  },
};
const callInit = (text: string) => jsonBody({ tool: 'echo', arguments: { text } });

test('a held payment runs its call, and its payer is given the answer, by L402', async () => {
  const before = await rails.lightning.agentBalance();
  const response = await fetchWithL402(`${gateway.url}${tool.call}`, callInit('hello'), { wallet });
  expect(await readAnswer(response)).toMatchObject({ ok: true, charged_mcents: 250 });
  expect(response.headers.get('payment-receipt')).toBeTruthy();
  expect(before - (await rails.lightning.agentBalance())).toBe(3_000n);
  expect(await readBooks(gateway)).toMatchObject({ balanced: true });
});

test('fetch402 pays the example, and signup issues a key', async () => {
  const example = await fetch402(`${gateway.url}/v1/example`, {}, { wallet });
  expect(await readAnswer(example)).toMatchObject({ ok: true, charged_mcents: 100 });
  const signup = await fetch402(`${gateway.url}/v1/signup`, jsonBody({}), { wallet });
  expect(await readAnswer(signup)).toMatchObject({ ok: true, balance_mcents: 10_000 });
});

test('the same invoice is paid by MPP', async () => {
  const init = callInit('mpp');
  const headers = { ...init.headers, 'accept-payment': 'lightning/charge' };
  const response = await fetchWithMpp(`${gateway.url}${tool.call}`, { ...init, headers }, { wallet });
  expect(await readAnswer(response)).toMatchObject({ ok: true, charged_mcents: 250 });
});

test('a tool that fails costs a lightning payer nothing, to the millisatoshi', async () => {
  const before = await rails.lightning.agentBalance();
  const failing = jsonBody({ tool: 'fail', arguments: {} });
  await expect(fetchWithL402(`${gateway.url}${tool.call}`, failing, { wallet })).rejects.toThrow();
  expect(await rails.lightning.agentBalance()).toBe(before);
});

test('why a call failed is readable with the macaroon alone, and nothing else is', async () => {
  const failing = jsonBody({ tool: 'fail', arguments: {} });
  const unpaid = await gateway.fetch(tool.call, failing);
  const challenge = unpaid.headers.get('www-authenticate') ?? '';
  const [, macaroon = ''] = /macaroon="([^"]+)"/.exec(challenge) ?? [];
  const [, invoice = ''] = /invoice="([^"]+)"/.exec(challenge) ?? [];
  await expect(wallet.payInvoice({ invoice })).rejects.toThrow();
  const headers = { ...failing.headers, authorization: `L402 ${macaroon}:` };
  const asked = await gateway.fetch(tool.call, { ...failing, headers });
  expect(asked.status).toBe(502);
  const answer = await readAnswer(asked);
  expect(answer).toMatchObject({ ok: false, note: 'no charge applied' });
  expect(answer.detail).toContain('it did not work');
  expect(answer).not.toHaveProperty('refund_key');
});

test('a macaroon without the preimage gets no result of a paid call', async () => {
  const init = callInit('secret');
  const unpaid = await gateway.fetch(tool.call, init);
  const challenge = unpaid.headers.get('www-authenticate') ?? '';
  const [, macaroon = ''] = /macaroon="([^"]+)"/.exec(challenge) ?? [];
  const [, invoice = ''] = /invoice="([^"]+)"/.exec(challenge) ?? [];
  const { preimage } = await wallet.payInvoice({ invoice });
  const ask = (proof: string) =>
    gateway.fetch(tool.call, {
      ...init,
      headers: { ...init.headers, authorization: `L402 ${macaroon}:${proof}` },
    });
  const without = await ask('');
  expect(without.status).toBe(409);
  expect(JSON.stringify(await without.json())).not.toContain('secret');
  expect((await ask('00'.repeat(32))).status).toBe(402);
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(preimage)));
  for (const answer of answers) {
    expect(await readAnswer(answer)).toMatchObject({
      ok: true,
      result: { structuredContent: { text: 'secret' } },
    });
  }
});
