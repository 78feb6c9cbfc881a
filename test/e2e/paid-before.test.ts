import { privateKeyToAccount } from 'viem/accounts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Problem } from '../../src/core/problem.ts';
import { withTransaction } from '../../src/db/index.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { type RailLab, startRailLab } from '../harness/rail-lab.ts';
import { jsonBody, publishEcho, readAnswer, readBooks } from './fixtures.ts';
import { payFor } from './rail-faults/kit.ts';
import { createTempoClient, type Payer, RAIL_CASES } from './rail-faults/payers.ts';

const PRICED = { pricing: { model: 'per_call', amount_mcents: 250 } };

let lab: RailLab;
let gateway: TestGateway;
let payer: Payer;
let isBlocked = false;
let isFull = false;

beforeAll(async () => {
  lab = await startRailLab(['tempo']);
  gateway = await lab.start({
    env: { SIGNUPS_PER_HOUR: '1' },
    change({ http }) {
      const { blockedForSeconds } = http.reliability;
      const { findRefusal } = http.execution;
      const full = new Problem('unavailable', { detail: 'Full.', isUncharged: true });
      http.execution = {
        ...http.execution,
        findRefusal: (publisherId) => (isFull ? full : findRefusal(publisherId)),
      };
      http.reliability = {
        ...http.reliability,
        blockedForSeconds: (...asked) => (isBlocked ? 60 : blockedForSeconds(...asked)),
      };
    },
  });
  payer = await RAIL_CASES.push.createPayer(lab);
});
afterAll(async () => {
  expect(await readBooks(gateway)).toMatchObject({ balanced: true });
  await lab.close();
});

const pushFor = (path: string, request: RequestInit) => payFor(gateway, payer, path, request);

test('a payment that is here already is credit at once when its tool has been paused meanwhile', async () => {
  const server = await publishEcho(gateway, PRICED);
  const paying = await pushFor(server.call, jsonBody({ tool: 'random' }));
  const { sql, catalog } = gateway.deps.http;
  await withTransaction(sql, (tx) => catalog.pause(tx, server.id, 'It fails too often.'));
  catalog.forget(server.id);
  const response = await gateway.fetch(server.call, paying);
  const answer = await readAnswer(response);
  expect([response.status, answer.note]).toEqual([409, expect.stringContaining('refund key')]);
  expect((await readAnswer(await gateway.fetch(server.call, paying))).refund_key).toBe(answer.refund_key);
  const balance = await gateway.fetch('/v1/balance', {
    headers: { authorization: `Bearer ${answer.refund_key}` },
  });
  expect(await balance.json()).toMatchObject({ balance_mcents: 250 });
});

test('a payment that is here already is credit at once where there is no place to run its call in', async () => {
  const server = await publishEcho(gateway, PRICED);
  const paying = await pushFor(server.call, jsonBody({ tool: 'random' }));
  isFull = true;
  const refused = await gateway.fetch(server.call, paying);
  expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([409, null]);
  const { note, refund_key } = await readAnswer(refused);
  expect(note).toMatch(/refund key/);
  isFull = false;
  const byKey = jsonBody({ tool: 'random' }, { authorization: `Bearer ${refund_key}` });
  expect(await readAnswer(await gateway.fetch(server.call, byKey))).toMatchObject({ charged_mcents: 250 });
});

test('a payment that is here already runs its call also for a payer who failed too often', async () => {
  const server = await publishEcho(gateway, PRICED);
  const paying = await pushFor(server.call, jsonBody({ tool: 'random' }));
  isBlocked = true;
  const response = await gateway.fetch(server.call, paying);
  isBlocked = false;
  expect(response.status).toBe(200);
});

test('a payment that is here already waits for its own request when it is shown with another body', async () => {
  const server = await publishEcho(gateway, PRICED);
  const paying = await pushFor(server.call, jsonBody({ tool: 'random' }));
  // The same call, and not the same bytes: the challenge was bound to those.
  const response = await gateway.fetch(server.call, { ...paying, body: '{ "tool": "random" }' });
  expect(response.status).toBe(409);
  expect(response.headers.get('www-authenticate')).toBeNull();
  expect((await gateway.fetch(server.call, paying)).status).toBe(200);
});

test('a signup that is paid already gets its key beyond the limit of an hour', async () => {
  const signUp = jsonBody({ role: 'agent' });
  const [first, second] = [await pushFor('/v1/signup', signUp), await pushFor('/v1/signup', signUp)];
  const keys = [];
  for (const paying of [first, second]) {
    const response = await gateway.fetch('/v1/signup', paying);
    expect(response.status).toBe(200);
    keys.push((await readAnswer(response)).key);
  }
  expect(new Set(keys).size).toBe(2);
});

test('a payment that its payer sent itself instead of us is credit that its key opens', async () => {
  const key = await lab.tempo.fundPayer();
  const account = privateKeyToAccount(key);
  const server = await publishEcho(gateway, PRICED);
  const request = jsonBody({ tool: 'random' });
  const pull = createTempoClient(lab, key, 'pull');
  const credential = await pull.createCredential(await gateway.fetch(server.call, request));
  await lab.tempo.rpc('eth_sendRawTransaction', [transactionIn(credential)]);
  const paying = jsonBody({ tool: 'random' }, { 'payment-authorization': credential });
  expect((await gateway.fetch(server.call, paying)).status).toBe(409);

  const asked = { payer: `eip155:${lab.tempo.chainId}:${account.address}` };
  const challenge = (await (await gateway.fetch('/v1/credit/challenge', jsonBody(asked))).json()) as {
    message: string;
    nonce: string;
    issued_at: string;
  };
  const { message, nonce, issued_at } = challenge;
  const signature = await account.signMessage({ message });
  const opened = await gateway.fetch('/v1/credit', jsonBody({ ...asked, nonce, issued_at, signature }));
  expect(await opened.json()).toMatchObject({ ok: true, balance_mcents: 250 });
});

/** The signed transaction inside an MPP credential. */
function transactionIn(credential: string): string {
  const json = JSON.parse(Buffer.from(credential.replace(/^Payment /, ''), 'base64url').toString());
  return json.payload.signature;
}
