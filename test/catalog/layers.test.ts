import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createLayers, type Layers } from '../../src/catalog/layers/layers.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import type { Clock } from '../../src/core/clock.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;

let database: TestDatabase;
let layers: Layers;
let nowMs = Date.parse('2026-11-01T00:00:00Z');
const clock: Clock = { now: () => new Date(nowMs) };

beforeAll(async () => {
  database = await createTestDatabase();
});

beforeEach(async () => {
  await database.sql`TRUNCATE catalog_layer, catalog_layer_part, catalog_layer_recipe`;
  layers = createLayers({ sql: database.sql, clock });
});

afterAll(() => database.close());

const recipe = (name: string) => sha256Hex(name);

test('a layer larger than a part is read as it was stored, by another gateway too', async () => {
  const archive = randomBytes(17 * MIB);
  const stored = await layers.keep({ recipeHash: recipe('a'), archive });
  expect(stored).toEqual({ sha256: sha256Hex(archive), bytes: archive.length });
  const other = createLayers({ sql: database.sql, clock });
  expect(await other.findByRecipe(recipe('a'))).toEqual(stored);
  expect(Buffer.compare(await other.open(stored.sha256).read(), archive)).toBe(0);
  const [sizes] = await database.sql<{ parts: number; most: number }[]>`
    SELECT count(*)::int AS parts, max(octet_length(content)) AS most FROM catalog_layer_part`;
  expect(sizes).toEqual({ parts: 3, most: 8 * MIB });
});

test('a recipe has one layer for good, whoever else builds it at once and whatever comes out', async () => {
  const archives = Array.from({ length: 6 }, () => randomBytes(100));
  const stored = await Promise.all(
    archives.map((archive) => layers.keep({ recipeHash: recipe('raced'), archive })),
  );
  expect(new Set(stored.map(({ sha256 }) => sha256)).size).toBe(1);
  expect(await layers.findByRecipe(recipe('raced'))).toEqual(stored[0]);
});

test('two recipes that make the same content share one layer', async () => {
  const archive = randomBytes(100);
  const [one, two] = await Promise.all(
    ['one', 'two'].map((name) => layers.keep({ recipeHash: recipe(name), archive })),
  );
  expect(one).toEqual(two);
  const [{ count } = { count: 0 }] = await database.sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM catalog_layer`;
  expect(count).toBe(1);
});

test('a recipe that nobody built is not found, and a layer that nobody stored is an error of ours', async () => {
  expect(await layers.findByRecipe(recipe('never'))).toBeUndefined();
  await expect(layers.open(recipe('never')).read()).rejects.toThrow('is not in the catalog');
});

test('a layer that was changed in the database, or lost a part, is never handed out', async () => {
  const { sha256 } = await layers.keep({ recipeHash: recipe('changed'), archive: randomBytes(9 * MIB) });
  await database.sql`UPDATE catalog_layer_part SET content = set_byte(content, 5, 255 - get_byte(content, 5)) WHERE number = 1`;
  await expect(layers.open(sha256).read()).rejects.toThrow('has changed');
  await database.sql`DELETE FROM catalog_layer_part WHERE number = 1`;
  await expect(layers.open(sha256).read()).rejects.toThrow('lacks a part');
});

test('a sweep takes what no version has and nobody used since, with the parts of stores that died', async () => {
  const old = await layers.keep({ recipeHash: recipe('old'), archive: randomBytes(50) });
  const reused = await layers.keep({ recipeHash: recipe('reused'), archive: randomBytes(50) });
  const published = await layers.keep({ recipeHash: recipe('published'), archive: randomBytes(50) });
  await insertVersionWith(published.sha256);
  await database.sql`
    INSERT INTO catalog_layer_part VALUES (${'f'.repeat(64)}, 0, ${randomBytes(10)}, ${clock.now()})`;
  nowMs += 2 * DAY_MS;
  await layers.findByRecipe(recipe('reused'));
  const fresh = await layers.keep({ recipeHash: recipe('fresh'), archive: randomBytes(50) });
  expect(await layers.sweep(new Date(nowMs - DAY_MS))).toBe(1);
  await expect(layers.open(old.sha256).read()).rejects.toThrow();
  expect(await layers.findByRecipe(recipe('old'))).toBeUndefined();
  for (const { sha256 } of [reused, published, fresh])
    expect((await layers.open(sha256).read()).length).toBe(50);
  const [{ count } = { count: 0 }] = await database.sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM catalog_layer_part`;
  expect(count).toBe(3);
});

/** As little of a version as the tables demand. */
async function insertVersionWith(layerSha256: string): Promise<void> {
  const at = clock.now();
  const id = '00000000-0000-4000-8000-000000000001';
  await database.sql.begin(async (tx) => {
    await tx`INSERT INTO catalog_publisher (id, created_at) VALUES (${id}, ${at})`;
    await tx`
      INSERT INTO catalog_server (id, name, publisher_id, tier, description, category, language,
        latest_version_id, listed_amount_mcents, search, created_at, updated_at)
      VALUES (${id}, 'a/b', ${id}, 'hobbyist', '', '{}', 'python', ${id}, 0, '', ${at}, ${at})`;
    await tx`
      INSERT INTO catalog_code (sha256, archive, size, created_at)
      VALUES (${'0'.repeat(64)}, ''::bytea, 0, ${at})`;
    await tx`
      INSERT INTO catalog_version (id, server_id, version, code_sha256, runtime, entrypoint, layer_sha256,
        tools, tool_names, tools_hash, metadata_hash, log_index, created_at)
      VALUES (${id}, ${id}, '1.0.0', ${'0'.repeat(64)}, 'python', 'a.py', ${layerSha256}, '[]', '{}',
        ${'0'.repeat(64)}, '', 0, ${at})`;
  });
}
