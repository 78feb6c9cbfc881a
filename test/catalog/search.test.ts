import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SearchInput } from '../../src/catalog/index.ts';
import { encodeCursor } from '../../src/catalog/search/cursor.ts';
import { newUuid } from '../../src/core/ids.ts';
import { Problem } from '../../src/core/problem.ts';
import { withTransaction } from '../../src/db/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createMarket, createSubmission, createTools, newName } from './fixtures.ts';

let database: TestDatabase;
let market: ReturnType<typeof createMarket>;
beforeAll(async () => {
  database = await createTestDatabase();
  market = createMarket(database.sql);
});
afterAll(() => database.close());

const perCall = (amount_mcents: number) => ({ pricing: { model: 'per_call', amount_mcents } });
const find = async (input: SearchInput) =>
  (await market.catalog.search(input)).servers.map(({ server }) => server.name);

describe('words', () => {
  it('in a name or a tool count more than the same words in a description', async () => {
    const described = await market.list({ description: 'A quokka for every page' });
    const tool = await market.list({ description: 'Pages' }, createTools('find_quokka'));
    expect(await find({ q: 'quokka' })).toEqual([tool.name, described.name]);
  });

  it('are found by their stem, in any case and in any order, but only all together', async () => {
    const { name } = await market.list({
      description: 'Summarises LEGAL Documents',
      category: ['paper-work'],
    });
    for (const q of [
      'summarise',
      'document',
      'Legal DOCUMENTS',
      'documents legal',
      'paperWork summ',
      'paper-work',
    ]) {
      expect([q, await find({ q })]).toEqual([q, [name]]);
    }
    expect(await find({ q: 'legal quokka' })).toEqual([]);
  });

  it('written as one with a digit stay one, and words written as one by their capitals are two', async () => {
    const { name } = await market.list({ description: 'Renders 3D scenes' }, createTools('renderGltf2File'));
    for (const q of ['3d', '3D', 'gltf2', 'render gltf2file', 'renderGltf2File']) {
      expect([q, await find({ q })]).toEqual([q, [name]]);
    }
  });

  it('of a former version find nothing any more', async () => {
    const first = await market.list({ description: 'Translates to Volapuk' });
    const changes = { name: first.name, version: '1.0.1', description: 'Translates to Esperanto' };
    await market.publish({ ...first, submission: createSubmission(changes) });
    expect([await find({ q: 'volapuk' }), await find({ q: 'esperanto' })]).toEqual([[], [first.name]]);
  });

  it('that are no words, or none that a search keeps, find nothing, and are never read as a language', async () => {
    const { name } = await market.list({ description: 'The numbat of all numbats' });
    for (const q of [
      ' ',
      '!',
      '&',
      "'",
      ':*',
      '\\',
      '\0',
      '(',
      '<->',
      'numbat & !numbat:D extra',
      '\ud800',
    ]) {
      expect([q, await find({ q })]).toEqual([q, []]);
    }
    for (const q of ['numbat:*', "numbat'", '!numbat', 'the numbat', 'numbat ', '"numbats"']) {
      expect([q, await find({ q })]).toEqual([q, [name]]);
    }
    const many = 'numbat '.repeat(100_000);
    expect(await find({ q: many })).toEqual([name]);
  });
});

describe('a list', () => {
  it('holds a category exactly, together with everything else that was asked', async () => {
    const category = ['wombat-care', 'data'];
    const [dear, cheap] = [
      await market.list({ category, ...perCall(900), description: 'Brushes' }),
      await market.list({ category: ['wombat-care'], ...perCall(5), description: 'Brushes' }),
    ];
    expect(await find({ category: 'wombat-care', sort: 'price' })).toEqual([cheap.name, dear.name]);
    expect(await find({ category: 'wombat-care', q: 'data' })).toEqual([dear.name]);
    expect(await find({ category: 'wombat', q: 'brushes' })).toEqual([]);
    expect(await find({ category: 'wombat-care', tier: 'pro' })).toEqual([]);
  });

  it('has between one and a hundred servers, whatever was asked for', async () => {
    for (const limit of [-1, 0, 1]) expect(await find({ limit })).toHaveLength(1);
    const { servers } = await market.catalog.search({ limit: 1_000_000 });
    expect(servers.length).toBeLessThanOrEqual(100);
  });

  it('by name is in the order of bytes, whatever the database’s language', async () => {
    const names = ['a-b', 'a.b', 'a0', 'a_b', 'aa', 'b'].map((tool) => `bytes/${tool}`);
    const publisherId = newUuid();
    for (const name of [...names].reverse()) {
      await market.publish({ publisherId, submission: createSubmission({ name }) });
    }
    expect(await find({ q: 'bytes', sort: 'name' })).toEqual(names);
  });

  it('newest first is by when a server was first listed, not by its versions', async () => {
    const category = ['in-time'];
    const old = await market.list({ category });
    market.wait(1);
    const young = await market.list({ category });
    market.wait(1);
    const next = createSubmission({ name: old.name, version: '2.0.0', category });
    await market.publish({ ...old, submission: next });
    expect(await find({ category: 'in-time' })).toEqual([young.name, old.name]);
  });
});

describe('a cursor', () => {
  const orders: SearchInput[] = [
    ...[{ sort: 'new' } as const, { sort: 'name' } as const, { sort: 'price' } as const],
    ...[{ q: 'bilby' }, { q: 'bilby', sort: 'price' } as const],
  ];

  it.each(orders)(
    'of %j goes on where it stopped, whatever is listed and paused meanwhile',
    async (order) => {
      const category = `c${newUuid().slice(-12)}`;
      // Equal keys are the hard case: several servers of one moment, one price and one relevance.
      const changes = (at: number) => ({
        ...{ category: [category], description: 'A bilby', ...perCall(at % 2 === 0 ? 100 : 200) },
      });
      const list = async (at: number) => (await market.list(changes(at))).name;
      const before: string[] = [];
      for (const at of Array(8).keys()) before.push(await list(at));
      const expected = await find({ ...order, category });
      expect([...expected].sort()).toEqual([...before].sort());

      const seen: string[] = [];
      let cursor: string | undefined;
      for (let page = 0; page === 0 || cursor !== undefined; page += 1) {
        const found = await market.catalog.search({ ...order, category, limit: 2, cursor });
        seen.push(...found.servers.map(({ server }) => server.name));
        cursor = found.nextCursor;
        if (page > 2) continue;
        await list(page);
        market.wait(1);
        await list(page + 1);
        if (page !== 1) continue;
        // The very server that the cursor names may be gone when it is used.
        const last = found.servers.at(-1)?.server.id ?? '';
        await withTransaction(database.sql, (tx) => market.catalog.pause(tx, last, 'gone'));
      }
      expect(new Set(seen).size).toBe(seen.length);
      expect(seen.filter((name) => before.includes(name))).toEqual(expected);
    },
  );

  it('of the last page is none, also when the page is just full', async () => {
    const category = `c${newUuid().slice(-12)}`;
    for (const at of [1, 2]) await market.list({ category: [category], name: newName(), ...perCall(at) });
    expect((await market.catalog.search({ category, limit: 2 })).nextCursor).toBeUndefined();
    expect((await market.catalog.search({ category, limit: 1 })).nextCursor).toBeDefined();
  });

  it('that somebody made up is a place or a refusal, and never a failure of ours', async () => {
    const keys = [
      ...[
        '0000-01-01T00:00:00.000Z',
        '0001-01-01T00:00:00.000Z',
        '9999-12-31T23:59:59.999Z',
        '0',
        '999999999',
      ],
      ...['999999999999999', "'--", '\\', '%s', '~'.repeat(200), '$1', 'NaN'],
    ];
    const ids = ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'];
    for (const sort of ['new', 'name', 'price', 'relevance'] as const) {
      for (const key of keys) {
        for (const id of ids) {
          const search = market.catalog.search({ q: 'bilby', sort, cursor: encodeCursor(sort, { key, id }) });
          const answer = await search.catch((error: unknown) => error);
          expect([sort, key, isAnswer(answer)]).toEqual([sort, key, true]);
        }
      }
    }
  });
});

function isAnswer(answer: unknown): boolean {
  if (answer instanceof Problem) return answer.type === 'malformed-request';
  return typeof answer === 'object' && answer !== null && 'servers' in answer;
}
