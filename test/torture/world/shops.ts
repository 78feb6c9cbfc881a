import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Sql } from '../../../src/db/index.ts';
import { hashKey } from '../../../src/keys/key-text.ts';
import { jsonBody, readAnswer, submission } from '../../e2e/fixtures.ts';
import { CHEAP, DEAR } from '../../e2e/rail-faults/payers.ts';
import type { GatewayClient } from '../../harness/gateway.ts';
import { BAD_PRICE, BAD_SHOPS, GOOD_PRICES } from '../plan/calls.ts';

/** A listed server of moods, what a call of it costs, and the account of who sells it. */
export type Shop = { name: string; path: string; price: number; payeeId: string };

export type Shops = {
  good: Shop[];
  bad: Shop[];
  /** For payments on rails, by what one costs. */
  paid: ReadonlyMap<number, { good: Shop; bad: Shop[] }>;
};

/** Some of these at once are more than a payer that has settled nothing may owe. */
export const MIDDLING = 4_000;

const SERVER = readFileSync(join(import.meta.dirname, '../servers/moody.py'), 'utf8');
/** A hanging tool is given up after this. */
const TIMEOUT_MS = 2_000;
const PAID_BAD_SHOPS = 3;

export async function openShops(
  gateway: GatewayClient,
  options: { hasRails: boolean; sql: Sql },
): Promise<Shops> {
  const open = async (kind: string, price: number): Promise<Shop> => {
    const key = await gateway.mint(0, ['publish', 'read']);
    const name = `torture-${kind}-${price}/moody`;
    const body = submission(name, {
      ...{ files: { 'server.py': SERVER }, limits: { timeout_ms: TIMEOUT_MS } },
      pricing: { model: 'per_call', amount_mcents: price },
    });
    const response = await gateway.fetch('/mcp', jsonBody(body, { authorization: `Bearer ${key}` }));
    if (response.status !== 201) throw new Error(`no shop: ${JSON.stringify(await readAnswer(response))}`);
    const [row] = await options.sql<{ payeeId: string | null }[]>`
      SELECT publisher_id AS payee_id FROM api_key WHERE hash = ${hashKey(key)}`;
    return { name, path: `/invoke/${encodeURIComponent(name)}`, price, payeeId: row?.payeeId ?? '' };
  };
  const many = (kind: string, count: number, price: number) =>
    Promise.all(Array.from({ length: count }, (_, index) => open(`${kind}${index}`, price)));
  const good = await Promise.all(GOOD_PRICES.map((price) => open('good', price)));
  const bad = await many('bad', BAD_SHOPS, BAD_PRICE);
  const paid = new Map<number, { good: Shop; bad: Shop[] }>();
  for (const price of options.hasRails ? [CHEAP, MIDDLING, DEAR] : []) {
    paid.set(price, { good: await open('paid', price), bad: await many('unpaid', PAID_BAD_SHOPS, price) });
  }
  return { good, bad, paid };
}
