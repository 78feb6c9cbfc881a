import { afterAll, beforeAll, expect, it } from 'vitest';
import { toPricingJson } from '../../src/catalog/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createMarket, createSubmission, createTools, refusalOf, times } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

const perCall = (amount_mcents: number, tools: Record<string, number> = {}) => ({
  pricing: { model: 'per_call', amount_mcents, tools },
});

async function listNumbers(serverId: string): Promise<[number, bigint][]> {
  const rows = await database.sql<{ number: number; amountMcents: bigint }[]>`
    SELECT number, amount_mcents FROM catalog_price_list WHERE server_id = ${serverId} ORDER BY number`;
  return rows.map(({ number, amountMcents }) => [number, amountMcents]);
}

it('a tool costs its own price where it has one, nothing included, and the server’s price where not', async () => {
  const { catalog, list } = createMarket(database.sql);
  const changes = perCall(250, { free: 0, dear: 10_000_000, constructor: 7 });
  const { name } = await list(changes, createTools('free', 'dear', 'constructor', 'run', 'valueOf'));
  const listing = await catalog.findListing(name);
  expect(['free', 'dear', 'constructor', 'run', 'valueOf'].map((tool) => listing?.priceOf(tool))).toEqual([
    ...[0n, 10_000_000n, 7n, 250n, 250n],
  ]);
  expect(listing && toPricingJson(listing.prices)).toEqual({ ...changes.pricing });
});

it('the newest list applies to every version, and a tool whose price is left out loses it', async () => {
  const { catalog, list, publish } = createMarket(database.sql);
  const first = await list(perCall(100, { run: 40 }), createTools('run', 'other'));
  const submission = createSubmission({ name: first.name, version: '1.1.0', ...perCall(200, { other: 5 }) });
  await publish({ ...first, submission, tools: createTools('run', 'other') });
  for (const version of ['1.0.0', '1.1.0', undefined]) {
    const listing = await catalog.findListing(first.name, version);
    expect([version, listing?.priceOf('run'), listing?.priceOf('other')]).toEqual([version, 200n, 5n]);
  }
});

it('lists are appended and counted without a gap: a price that stays adds none, one that comes back does', async () => {
  const { catalog, list, publish, wait } = createMarket(database.sql);
  const first = await list(perCall(100, { run: 1, other: 2 }), createTools('run', 'other'));
  const again = async (version: string, change: object) =>
    publish({
      ...{ ...first, tools: createTools('run', 'other') },
      submission: createSubmission({ name: first.name, version, ...change }),
    });
  await again('1.0.1', perCall(100, { other: 2, run: 1 }));
  expect(await listNumbers(first.serverId)).toEqual([[1, 100n]]);
  await again('1.0.2', perCall(300));
  // A clock that was set back must not bring an old price back.
  wait(-3_600_000);
  await again('1.0.3', perCall(100, { run: 1, other: 2 }));
  const numbers = [1, 2, 3];
  expect(await listNumbers(first.serverId)).toEqual(numbers.map((at) => [at, at === 2 ? 300n : 100n]));
  catalog.forget(first.serverId);
  expect((await catalog.findListing(first.name))?.priceOf('run')).toBe(1n);
});

it('lists of versions that race for a server count on without a gap, and the newest version’s applies', async () => {
  const { catalog, list, publish } = createMarket(database.sql);
  const first = await list(perCall(1));
  const settled = await Promise.allSettled(
    times(20, (index) =>
      publish({
        ...first,
        submission: createSubmission({
          name: first.name,
          version: `1.${index + 1}.0`,
          ...perCall(index + 2),
        }),
      }),
    ),
  );
  const published = settled.filter(({ status }) => status === 'fulfilled');
  const stored = await listNumbers(first.serverId);
  expect(stored.map(([number]) => number)).toEqual(times(published.length + 1, (index) => index + 1));
  const listing = await catalog.findListing(first.name);
  expect(listing?.priceOf('run')).toBe(21n);
  expect(stored.at(-1)?.[1]).toBe(21n);
  const { servers } = await catalog.search({ q: first.name, sort: 'price' });
  expect(servers.map(({ prices }) => prices.amount)).toEqual([21n]);
});

it('a price for a tool that the code does not offer is refused, with what it offers, and changes nothing', async () => {
  const { catalog, list, publish } = createMarket(database.sql);
  const tools = createTools(...times(12, (index) => `tool_${index}`));
  const first = await list(perCall(100), tools);
  const submission = createSubmission({ name: first.name, version: '1.0.1', ...perCall(1, { tool_12: 5 }) });
  const { type, message } = await refusalOf(() => publish({ ...first, submission, tools }));
  expect(type).toBe('invalid-arguments');
  expect(message).toMatch(/^pricing\.tools: your code offers no tool "tool_12"\. It offers "tool_0", /);
  expect(message).toMatch(/"tool_9", \.\.\.\.$/);
  expect((await catalog.findListing(first.name))?.version.version).toBe('1.0.0');
  expect(await listNumbers(first.serverId)).toEqual([[1, 100n]]);
});
