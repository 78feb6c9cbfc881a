import { afterAll, beforeAll, expect, test } from 'vitest';
import { withTransaction } from '../../src/db/index.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { expectTrueBooks, type FaultLab, startFaultLab, withHeaders } from './fault-lab.ts';
import { createAgent, jsonBody, publishEcho, readAnswer, submission } from './fixtures.ts';

let lab: FaultLab;
let gateway: TestGateway;

beforeAll(async () => {
  lab = await startFaultLab();
  gateway = await lab.start();
});
afterAll(async () => {
  await expectTrueBooks(lab, gateway);
  await lab.close();
});

/** Takes a server off sale, as too many failures would. */
async function pause(id: string): Promise<void> {
  const { sql, catalog } = gateway.deps.http;
  await withTransaction(sql, (tx) => catalog.pause(tx, id, 'It fails too often.'));
  catalog.forget(id);
}

test('what a credential paid for is answered again also once its tool is paused', async () => {
  const agent = await createAgent(lab.anvil);
  const server = await publishEcho(gateway);
  const request = jsonBody({ tool: 'random' });
  const paying = withHeaders(request, await agent.sign(await gateway.fetch(server.call, request)));
  const first = await readAnswer(await gateway.fetch(server.call, paying));
  expect(first).toMatchObject({ ok: true, charged_mcents: 50 });

  await pause(server.id);
  const again = await gateway.fetch(server.call, paying);
  expect(again.status).toBe(200);
  expect(again.headers.get('payment-response')).toBeTruthy();
  expect(await readAnswer(again)).toEqual(first);
  // By its id too, and nobody else gets more than the refusal.
  expect(await readAnswer(await gateway.fetch(`/invoke/${server.id}`, paying))).toEqual(first);
  const unpaid = await gateway.fetch(server.call, request);
  expect(unpaid.status).toBe(503);
  expect(await unpaid.json()).toMatchObject({ note: 'no charge applied' });
});

test('and once a new version takes other arguments, but for no other request', async () => {
  const agent = await createAgent(lab.anvil);
  const server = await publishEcho(gateway);
  const request = jsonBody({ tool: 'echo', arguments: { text: 'before' } });
  const credential = await agent.sign(await gateway.fetch(server.call, request));
  const paying = withHeaders(request, credential);
  const first = await readAnswer(await gateway.fetch(server.call, paying));
  expect(first).toMatchObject({ ok: true });

  const { files } = submission(server.name) as { files: { 'server.py': string } };
  const code = files['server.py'].replaceAll('"text"', '"words"');
  const next = submission(server.name, { version: '2.0.0', files: { 'server.py': code } });
  const put = { ...jsonBody(next, { authorization: `Bearer ${server.key}` }), method: 'PUT' };
  expect((await gateway.fetch(`/mcp/${server.id}`, put)).status).toBe(201);

  expect((await gateway.fetch(server.call, request)).status).toBe(422);
  expect(await readAnswer(await gateway.fetch(server.call, paying))).toEqual(first);
  const other = jsonBody({ tool: 'echo', arguments: { text: 'after' } });
  expect((await gateway.fetch(server.call, withHeaders(other, credential))).status).toBe(409);
});

test('an Idempotency-Key is answered what it was, also once its tool is paused', async () => {
  const server = await publishEcho(gateway);
  const key = await gateway.mint(1_000);
  const headers = { authorization: `Bearer ${key}`, 'idempotency-key': 'one call' };
  const request = jsonBody({ tool: 'random' }, headers);
  const first = await readAnswer(await gateway.fetch(server.call, request));
  expect(first).toMatchObject({ ok: true, charged_mcents: 50, balance_mcents: 950 });

  await pause(server.id);
  expect(await readAnswer(await gateway.fetch(server.call, request))).toEqual(first);
  const fresh = jsonBody({ tool: 'random' }, { ...headers, 'idempotency-key': 'another call' });
  expect((await gateway.fetch(server.call, fresh)).status).toBe(503);
});

test('a payment that bought nothing yields its refund key also once its tool is paused', async () => {
  const agent = await createAgent(lab.anvil);
  const pricing = { model: 'per_call', amount_mcents: 250, settle: 'before-run' };
  const server = await publishEcho(gateway, { pricing });
  const request = jsonBody({ tool: 'fail' });
  const paying = withHeaders(request, await agent.sign(await gateway.fetch(server.call, request)));
  const first = await readAnswer(await gateway.fetch(server.call, paying));
  expect(first).toMatchObject({ ok: false, refund_key: expect.stringMatching(/^mcp_/) });

  await pause(server.id);
  const again = await gateway.fetch(server.call, paying);
  expect(again.status).toBe(502);
  expect(await readAnswer(again)).toMatchObject({ refund_key: first.refund_key });
});

test('a payment whose call was cut off is told that it is free, and asked for none while its tool is paused', async () => {
  const agent = await createAgent(lab.anvil);
  const server = await publishEcho(gateway);
  const request = jsonBody({ tool: 'random' });
  const paying = withHeaders(request, await agent.sign(await gateway.fetch(server.call, request)));
  const { http } = gateway.deps;
  const { answers, rails } = http;
  http.answers = { ...answers, store: (tx) => tx`SELECT 1 / 0`.then(() => false) };
  expect((await gateway.fetch(server.call, paying)).status).toBe(503);
  http.answers = answers;
  await pause(server.id);
  const offers: string[] = [];
  http.rails = rails.map((rail) => ({
    ...rail,
    offer: (...input) => {
      offers.push(rail.name);
      return rail.offer(...input);
    },
  }));
  const again = await gateway.fetch(server.call, paying);
  http.rails = rails;
  expect([again.status, offers]).toEqual([409, []]);
  expect(await again.json()).toMatchObject({
    type: expect.stringMatching(/cut-off$/),
    note: 'no charge applied',
  });
});

test('a credential that paid nothing yet is not taken for a call that cannot be sold', async () => {
  const agent = await createAgent(lab.anvil);
  const owned = await agent.owns();
  const server = await publishEcho(gateway);
  const request = jsonBody({ tool: 'random' });
  const paying = withHeaders(request, await agent.sign(await gateway.fetch(server.call, request)));
  await pause(server.id);
  const answer = await gateway.fetch(server.call, paying);
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ note: 'no charge applied' });
  expect(await agent.owns()).toBe(owned);
});
