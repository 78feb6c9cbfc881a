import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { millicents } from '../../../src/core/money.ts';
import { createPaymentPages } from '../../../src/gateway/index.ts';
import {
  carryMeta,
  type JsonObject,
  type PersonAsked,
  spellPaymentRequired,
  takePageReturn,
} from '../../../src/http/mcp/dialects/index.ts';
import { carried, context, paymentRequired } from './dialects-fixtures.ts';

const HOUR_MS = 60 * 60 * 1000;
const secrets: [Buffer, Buffer] = [randomBytes(32), randomBytes(32)];
const time = { now: new Date('2026-11-21T12:00:00Z') };
const clock = { now: () => time.now };
const pages = createPaymentPages({ secrets: [secrets[0]], clock });
const capabilities = { elicitation: { url: {} } };
const subject = { server: 'acme/echo', tool: 'echo', amount: millicents(250), accountId: 'account' };

function person(change: Partial<PersonAsked> = {}): PersonAsked {
  return {
    ...{ pages, publicUrl: 'https://gateway.example', ...subject, requestDigest: 'd'.repeat(64) },
    ...{ further: undefined, returned: undefined, ...change },
  };
}

/** What a client that shows pages is answered on 2026-07-28. */
function ask(change: Partial<PersonAsked> = {}): JsonObject {
  const spelling = spellPaymentRequired(
    paymentRequired(),
    context({ era: '2026', capabilities, person: person(change) }),
  );
  if (spelling.kind !== 'result') throw new Error(spelling.kind);
  return spelling.result;
}

const urlOf = ({ inputRequests }: JsonObject) =>
  (inputRequests as { pay: { params: { url: string } } }).pay.params.url;
const accept = (requestState: JsonObject[string] | undefined) => ({
  ...{ requestState: requestState ?? null, inputResponses: { pay: { action: 'accept' } } },
});

test('an address of a page tells nothing of who asked, and opens for an hour, also under a former secret', () => {
  const token = pages.sealPage(subject);
  expect(Buffer.from(token, 'base64url').toString('latin1')).not.toMatch(/acme|account/);
  const rotated = createPaymentPages({ secrets: [secrets[1], secrets[0]], clock });
  expect(rotated.openPage(token)).toMatchObject(subject);
  expect(createPaymentPages({ secrets: [secrets[1]], clock }).openPage(token)).toBeUndefined();
  time.now = new Date(time.now.getTime() + HOUR_MS);
  expect(pages.openPage(token)).toBeUndefined();
});

test('a state is no page and a page is no state', () => {
  const state = ask().requestState;
  expect(pages.openPage(String(state).slice('pay1.'.length))).toBeUndefined();
  expect(pages.openState(`pay1.${pages.sealPage(subject)}`)).toBeUndefined();
});

test('who comes back in time keeps the page, and who comes too late is given a new one', () => {
  const first = ask();
  const { returned } = takePageReturn(pages, accept(first.requestState));
  expect(returned).toMatchObject({ action: 'accept', isExpired: false });
  expect(urlOf(ask({ returned }))).toBe(urlOf(first));
  time.now = new Date(time.now.getTime() + HOUR_MS);
  const late = takePageReturn(pages, accept(first.requestState));
  expect(late.returned).toMatchObject({ isExpired: true });
  expect(urlOf(ask({ returned: late.returned }))).not.toBe(urlOf(first));
});

test('who bought a key meanwhile is asked to fill it, and a state of another key is refused', () => {
  const nobody = takePageReturn(pages, accept(ask({ accountId: undefined }).requestState)).returned;
  const token =
    urlOf(ask({ returned: nobody }))
      .split('/')
      .at(-1) ?? '';
  expect(pages.openPage(token)?.accountId).toBe('account');
  const others = takePageReturn(pages, accept(ask({ accountId: 'other' }).requestState)).returned;
  expect(() => ask({ returned: others })).toThrow('another key');
  expect(() => ask({ returned: nobody, requestDigest: 'e'.repeat(64) })).toThrow('another call');
});

test('the own state of a tool goes through, and one too large to carry is answered for machines', () => {
  const own = { requestState: 'own', inputResponses: { name: { action: 'accept' } } };
  expect(takePageReturn(pages, own)).toEqual({ further: own, returned: undefined });
  expect(takePageReturn(pages, accept(ask({ further: own }).requestState)).further).toEqual(own);
  const large = { requestState: 'x'.repeat(20_000) };
  expect(ask({ further: large })).toMatchObject({ isError: true, resultType: 'complete' });
});

test.each(['pay1.', 'pay1.AAAA', `pay1.${'A'.repeat(100_000)}`, 'pay1.ä'])(
  'a state that is not ours is refused: %.20s',
  (requestState) => {
    expect(() => takePageReturn(pages, { requestState })).toThrow('not one of ours');
  },
);

test('a credential that nests deep, or is large, is handed to its wire and breaks nothing', () => {
  let deep: JsonObject = {};
  for (let level = 0; level < 500; level += 1) deep = { deep };
  const large = { x402Version: 2, payload: { text: 'x'.repeat(900_000) } };
  for (const value of [
    { x402Version: 2, payload: deep },
    large,
    Buffer.from('{"payload":').toString('base64'),
  ]) {
    expect(carryMeta(carried(), { 'x402/payment': value }).header('payment-signature')).toBeDefined();
  }
  const challenge = { id: 'i', request: deep };
  const meta = { 'org.paymentauth/credential': { challenge, payload: deep } };
  expect(carryMeta(carried(), meta).header('payment-authorization')).toMatch(/^Payment /);
});
