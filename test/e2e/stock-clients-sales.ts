import { expect } from 'vitest';
import type { TestGateway } from '../harness/gateway.ts';
import { type Answer, readAnswer } from './fixtures.ts';
import type { Tool, World } from './stock-clients-world.ts';

export type PlainInit = { method: string; headers: Record<string, string>; body?: string };

export type Sale = [name: string, place: (world: World) => Order | Promise<Order>];

/** Something that is bought, at this price; `check` is what its answer must say. */
type Order = {
  url: string;
  init: PlainInit;
  price: number;
  key?: string;
  check(answer: Answer & { message?: string }): void | Promise<void>;
};

const CHEAP = { signup: 10_000, topUp: 10_000, call: 250, example: 100 };
export const DEAR = { signup: 60_000, topUp: 60_000, call: 50_000 };
type Prices = typeof DEAR;

const post = (body: unknown): PlainInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

const signUp = (gateway: TestGateway, price: number): Order => ({
  ...{ url: `${gateway.url}/v1/signup`, init: post({}), price },
  async check({ ok, key, balance_mcents }) {
    expect({ ok, balance_mcents }).toEqual({ ok: true, balance_mcents: price });
    expect(key).toMatch(/^mcp_[0-9a-f]{48}$/);
    expect(await balanceOf(gateway, key)).toBe(price);
  },
});

async function topUp(gateway: TestGateway, price: number): Promise<Order> {
  const key = await gateway.mint(7);
  return {
    ...{ url: `${gateway.url}/v1/topup`, init: post({ amount_mcents: price }), price, key },
    async check(answer) {
      expect(answer).toMatchObject({ ok: true, credited_mcents: price, balance_mcents: price + 7 });
      expect(await balanceOf(gateway, key)).toBe(price + 7);
    },
  };
}

const call = (gateway: TestGateway, tool: Tool, price: number): Order => ({
  url: gateway.url + tool.call,
  init: post({ tool: 'echo', arguments: { text: 'for whom it may concern' } }),
  price,
  check(answer) {
    expect(answer).toMatchObject({ ok: true, charged_mcents: price, receipt: expect.any(String) });
    expect(answer.result.structuredContent).toEqual({ text: 'for whom it may concern' });
  },
});

async function callBesideKey(gateway: TestGateway, tool: Tool, price: number): Promise<Order> {
  const key = await gateway.mint(5);
  const order = call(gateway, tool, price);
  return {
    ...{ ...order, key },
    async check(answer) {
      await order.check(answer);
      expect(await balanceOf(gateway, key)).toBe(5);
    },
  };
}

const example = (gateway: TestGateway, init: PlainInit): Order => ({
  ...{ url: `${gateway.url}/v1/example`, init, price: CHEAP.example },
  check(answer) {
    expect(answer).toMatchObject({ ok: true, message: expect.any(String), charged_mcents: CHEAP.example });
  },
});

async function balanceOf(gateway: TestGateway, key: string): Promise<number> {
  const headers = { authorization: `Bearer ${key}` };
  return (await readAnswer(await gateway.fetch('/v1/balance', { headers }))).balance_mcents;
}

const priced = (prices: Prices, pick: (world: World) => { seller: TestGateway; tool: Tool }): Sale[] => [
  ['POST /v1/signup', (world) => signUp(pick(world).seller, prices.signup)],
  ['POST /v1/topup beside the key it fills', (world) => topUp(world.gateway, prices.topUp)],
  ['POST /invoke/{id}', (world) => call(world.gateway, pick(world).tool, prices.call)],
  ['POST /invoke/{id} beside a key', (world) => callBesideKey(world.gateway, pick(world).tool, prices.call)],
];

/** What any rail can pay for. */
export const CHEAP_SALES: Sale[] = [
  ...priced(CHEAP, ({ gateway, tool }) => ({ seller: gateway, tool })),
  ['GET /v1/example', ({ gateway }) => example(gateway, { method: 'GET', headers: {} })],
  ['POST /v1/example', ({ gateway }) => example(gateway, post({ name: 'agent' }))],
];
/** What a card can pay for: half a dollar or more. */
export const DEAR_SALES: Sale[] = priced(DEAR, ({ dearGateway, dearTool }) => ({
  ...{ seller: dearGateway, tool: dearTool },
}));
