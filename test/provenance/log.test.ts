import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { newUuid } from '../../src/core/ids.ts';
import { withTransaction } from '../../src/db/index.ts';
import {
  appendLeaf,
  decodeLeaf,
  findPublication,
  leafHashOf,
  listPublications,
  merkleRoot,
  type PublishLeaf,
  readLog,
} from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

const databases: TestDatabase[] = [];
let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
  databases.push(database);
});
afterAll(async () => {
  for (const { close } of databases) await close();
}, 60_000);

function createLeaf(overrides: Partial<PublishLeaf> = {}): PublishLeaf {
  return {
    kind: 'publish',
    tool: `acme/t-${newUuid()}`,
    version: '1.0.0',
    sha256: 'ab'.repeat(32),
    manifest: 'cd'.repeat(32),
    publisher: 'acme',
    time: 1_763_702_345,
    ...overrides,
  };
}

function append(leaf: PublishLeaf): Promise<bigint> {
  return withTransaction(database.sql, (tx) => appendLeaf(tx, leaf));
}

describe('the version log', () => {
  it('gives 50 publications at once 50 indexes without a gap', async () => {
    const indexes = await Promise.all(Array.from({ length: 50 }, () => append(createLeaf())));
    expect(indexes.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, at) => at));
  });

  it('leaves no gap where a publication rolled back', async () => {
    await append(createLeaf());
    await withTransaction(database.sql, async (tx) => {
      await appendLeaf(tx, createLeaf());
      throw new Error('the code could not be stored');
    }).catch(() => {});
    expect(await append(createLeaf())).toBe(1n);
  });

  it.each([
    ['the same code', {}],
    ['other code', { sha256: 'ef'.repeat(32) }],
  ])('refuses a version that is published already, with %s', async (_, change) => {
    const leaf = createLeaf();
    await append(leaf);
    await expect(append({ ...leaf, ...change })).rejects.toMatchObject({ type: 'conflict' });
    expect(await append({ ...leaf, version: '1.0.1' })).toBe(1n);
  });

  it('takes one of 10 publications of the same version at once', async () => {
    const leaf = createLeaf();
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => append(leaf)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await append(createLeaf())).toBe(1n);
  });

  it('leaves no gap where a conflict was caught and the rest committed', async () => {
    const leaf = createLeaf();
    await append(leaf);
    await withTransaction(database.sql, (tx) => appendLeaf(tx, leaf).catch(() => {}));
    expect(await append(createLeaf())).toBe(1n);
  });

  it('replays: every entry decodes, its hash is its own, and prefixes give the same roots', async () => {
    const leaves = Array.from({ length: 9 }, (_, at) => createLeaf({ version: `1.${at}.0`, time: at }));
    for (const leaf of leaves) await append(leaf);
    const first = await readLog(database.sql, { fromIndex: 0n, entriesMax: 4 });
    const rest = await readLog(database.sql, { fromIndex: 4n, entriesMax: 1_000_000 });
    const entries = [...first, ...rest];
    expect(first).toHaveLength(4);
    expect(entries.map(({ leafIndex }) => leafIndex)).toEqual(leaves.map((_, at) => BigInt(at)));
    expect(entries.map(({ entry }) => decodeLeaf(entry))).toEqual(leaves);
    const hashes = entries.map(({ entry }) => leafHashOf(entry));
    expect(entries.map(({ leafHash }) => leafHash)).toEqual(hashes);
    const [state] = await database.sql`SELECT tree_size FROM log_state`;
    expect(state?.treeSize).toBe(9n);
    expect(merkleRoot(hashes)).toEqual(merkleRoot(entries.map(({ leafHash }) => leafHash)));
  });

  it('lists what was published under a name, with its index, and nothing of another', async () => {
    const names = ['acme/a_b', 'acme/axb', 'acme/a_b-two', 'other/a_b'];
    const leaves = names.map((tool) => createLeaf({ tool }));
    for (const leaf of leaves) await append(leaf);
    const list = (prefix: string) => listPublications(database.sql, prefix);
    expect(await list('acme/a_b')).toEqual([
      { ...leaves[0], index: 0n },
      { ...leaves[2], index: 2n },
    ]);
    expect((await list('acme/')).map(({ index }) => index)).toEqual([0n, 1n, 2n]);
    expect(await list('%')).toEqual([]);
  });

  it('finds one publication by its exact name and number, and nothing by what no leaf can say', async () => {
    const leaves = ['1.0.0', '1.0.0-a', '1.0.1'].map((version) => createLeaf({ tool: 'acme/a', version }));
    for (const leaf of leaves) await append(leaf);
    const find = (tool: string, version: string) => findPublication(database.sql, { tool, version });
    expect(await find('acme/a', '1.0.0')).toEqual({ ...leaves[0], index: 0n });
    expect(await find('acme/a', '1.0.1')).toEqual({ ...leaves[2], index: 2n });
    for (const [tool, version] of [
      ['acme/a', '1.0'],
      ['acme/a', '1.0.2'],
      ['acme', '1.0.0'],
      ['acme/%', '1.0.0'],
      ['acme/a 1.0.0', ''],
      ['acme/a\0', '1.0.0'],
      ['acme/a', '1.0.0\0'],
    ] as const) {
      expect(await find(tool, version)).toBeUndefined();
    }
  });

  it.each([
    ['UPDATE', "UPDATE log_entry SET entry = 'x'"],
    ['UPDATE of no row', 'UPDATE log_entry SET created_at = now() WHERE false'],
    ['DELETE', 'DELETE FROM log_entry'],
    ['TRUNCATE', 'TRUNCATE log_entry'],
    ['DELETE of its size', 'DELETE FROM log_state'],
    ['TRUNCATE of its size', 'TRUNCATE log_state'],
  ])('is never rewritten: the database refuses %s', async (_, statement) => {
    await append(createLeaf());
    await expect(database.sql.unsafe(statement)).rejects.toThrow(/never rewritten/);
    expect(await readLog(database.sql, { fromIndex: 0n, entriesMax: 10 })).toHaveLength(1);
  });
});
