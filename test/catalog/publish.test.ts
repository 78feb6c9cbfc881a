import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { archiveHash } from '../../src/core/archive.ts';
import { newUuid } from '../../src/core/ids.ts';
import { Problem } from '../../src/core/problem.ts';
import { withTransaction } from '../../src/db/index.ts';
import { readLog } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createMarket, createSubmission, createTools, newName, refusalOf, times } from './fixtures.ts';

let database: TestDatabase;
let market: ReturnType<typeof createMarket>;
beforeAll(async () => {
  database = await createTestDatabase();
  market = createMarket(database.sql);
});
afterAll(() => database.close());

const withCode = (code: string) => ({ files: { 'server.py': code } });

/** What was done and why the rest was not; a failure that is no refusal fails the test. */
async function sortOut<T>(attempts: Promise<T>[]): Promise<{ done: T[]; refused: Problem[] }> {
  const settled = await Promise.allSettled(attempts);
  const done = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const refused = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
  for (const reason of refused) {
    if (!(reason instanceof Problem)) throw reason;
  }
  return { done, refused };
}

async function countRows(serverIds: string[]) {
  const [row] = await database.sql<{ servers: number; versions: number; prices: number }[]>`
    SELECT (SELECT count(*)::int FROM catalog_server WHERE id = ANY(${serverIds}::uuid[])) AS servers,
      (SELECT count(*)::int FROM catalog_version WHERE server_id = ANY(${serverIds}::uuid[])) AS versions,
      (SELECT count(*)::int FROM catalog_price_list WHERE server_id = ANY(${serverIds}::uuid[])) AS prices`;
  return row;
}

/** The log has no gap, and every entry has its version. */
async function expectSoundLog(): Promise<void> {
  const entries = await readLog(database.sql, { fromIndex: 0n, entriesMax: 1_000 });
  expect(entries.map(({ leafIndex }) => leafIndex)).toEqual(times(entries.length, BigInt));
  const versions = await database.sql<{ logIndex: bigint }[]>`
    SELECT log_index FROM catalog_version ORDER BY log_index`;
  expect(versions.map(({ logIndex }) => logIndex)).toEqual(times(entries.length, BigInt));
}

describe('a name', () => {
  it('that two publishers list 20 times at once is listed once, and everybody else is told why', async () => {
    const name = newName();
    const rivals = [newUuid(), newUuid()];
    const { done, refused } = await sortOut(
      times(20, (index) =>
        market.publish({
          publisherId: rivals[index % 2] ?? '',
          submission: createSubmission({ name, ...withCode(`print(${index})`) }),
        }),
      ),
    );
    expect(done).toHaveLength(1);
    const id = done[0]?.serverId ?? '';
    const listing = await market.catalog.findListing(name);
    expect(listing?.server.id).toBe(id);
    expect(rivals).toContain(listing?.server.publisherId);
    // The winner's own other attempts may be told of the server, a stranger's may not.
    const reasons = refused.map(({ type, options }) => `${type} ${options.members?.id ?? 'nothing'}`).sort();
    expect(reasons).toEqual([...Array(9).fill(`conflict ${id}`), ...Array(10).fill('forbidden nothing')]);
    expect(await countRows([id])).toEqual({ servers: 1, versions: 1, prices: 1 });
    await expectSoundLog();
  });

  it('is not taken by a publication that its tools refuse, or that its log refuses', async () => {
    const name = newName();
    const priced = createSubmission({
      name,
      pricing: { model: 'per_call', amount_mcents: 1, tools: { rnu: 1 } },
    });
    const unknown = await refusalOf(() => market.publish({ publisherId: newUuid(), submission: priced }));
    expect(unknown.options.members).toEqual({ field: 'pricing.tools' });
    const failing = withTransaction(database.sql, async (tx) => {
      const publisherId = newUuid();
      await market.catalog.ensurePublisher(tx, publisherId);
      await market.catalog.publishServer(tx, {
        ...{ publisherId, submission: createSubmission({ name }), tools: createTools('run') },
        publishedAt: new Date(),
        ...{ face: { capabilities: { tools: {} }, info: {} }, rootSha256: null, layer: undefined },
        appendLeaf: () => Promise.reject(new Error('the log is away')),
      });
    });
    await expect(failing).rejects.toThrow('the log is away');
    expect(await market.list({ name })).toMatchObject({ isNewServer: true, isNewVersion: true });
    await expectSoundLog();
  });

  it('that somebody else holds is refused in the plan already, as it would be when published', async () => {
    const { name, publisherId, serverId } = await market.list();
    const stranger = newUuid();
    const submission = createSubmission({ name });
    const own = await refusalOf(() => market.catalog.plan({ publisherId, submission }));
    expect(own).toMatchObject({ type: 'conflict', options: { members: { id: serverId } } });
    expect(own.message).toContain(`PUT /mcp/${serverId}`);
    const planned = await refusalOf(() => market.catalog.plan({ publisherId: stranger, submission }));
    const published = await refusalOf(() => market.publish({ publisherId: stranger, submission }));
    expect(planned.message).toBe(published.message);
    expect(planned.message).toMatch(/belongs to another publisher. Choose/);
  });
});

describe('a version', () => {
  it('raced 20 times with different code is one version, 19 conflicts, and no gap in the log', async () => {
    const first = await market.list();
    const submissions = times(20, (index) =>
      createSubmission({ name: first.name, version: '1.1.0', ...withCode(`print(${index})`) }),
    );
    const { done, refused } = await sortOut(
      submissions.map((submission) => market.publish({ ...first, submission })),
    );
    expect(done).toMatchObject([{ serverId: first.serverId, isNewServer: false, isNewVersion: true }]);
    expect(submissions.map(({ files }) => archiveHash(files))).toContain(done[0]?.codeSha256);
    expect(refused.map(({ type }) => type)).toEqual(Array(19).fill('conflict'));
    for (const { message } of refused) {
      expect(message).toMatch(/^version: 1\.1\.0 is published with other code.*greater/);
    }
    const versions = await market.catalog.listVersions(first.serverId);
    expect(versions.map(({ version, codeSha256 }) => [version, codeSha256])).toEqual([
      ['1.1.0', done[0]?.codeSha256],
      ['1.0.0', first.codeSha256],
    ]);
    await expectSoundLog();
  });

  it('raced 20 times as the very same publication is published once, and all are told the same', async () => {
    const first = await market.list();
    const submission = createSubmission({ name: first.name, version: '1.0.1' });
    const { done, refused } = await sortOut(times(20, () => market.publish({ ...first, submission })));
    expect(refused).toEqual([]);
    expect(new Set(done.map(({ versionId, logIndex }) => `${versionId} ${logIndex}`)).size).toBe(1);
    expect(done.filter(({ isNewVersion }) => isNewVersion)).toHaveLength(1);
    await expectSoundLog();
  });

  it('is greater than the one before it, however many race: the log of a server only climbs', async () => {
    const first = await market.list();
    const numbers = times(20, (index) => `1.${(index * 7) % 20}.1`);
    const { done, refused } = await sortOut(
      numbers.map((version) =>
        market.publish({ ...first, submission: createSubmission({ name: first.name, version }) }),
      ),
    );
    expect(done.length + refused.length).toBe(20);
    const versions = await market.catalog.listVersions(first.serverId);
    const minors = versions.map(({ version }) => Number(version.split('.')[1])).reverse();
    expect(minors.slice(1)).toEqual([...minors.slice(1)].sort((a, b) => a - b));
    expect(versions).toHaveLength(done.length + 1);
    for (const { type, options } of refused) {
      expect([type, numbers.includes(String(options.members?.latest_version))]).toEqual(['conflict', true]);
    }
    expect((await market.catalog.findListing(first.name))?.version.version).toBe('1.19.1');
    await expectSoundLog();
  });

  it.each(['0.9.9', '1.0.0-rc.1', '1.0.0+build.7'])('%s does not come after 1.0.0', async (version) => {
    const first = await market.list();
    const submission = createSubmission({ name: first.name, version });
    for (const attempt of [market.publish, market.catalog.plan]) {
      const { type, message, options } = await refusalOf(() => attempt({ ...first, submission }));
      expect([type, options.members]).toEqual(['conflict', { latest_version: '1.0.0' }]);
      expect(message).toContain(`${version} does not come after 1.0.0`);
    }
  });

  it('published again is what is there, also when it is no longer the newest', async () => {
    const changes = { name: newName(), changelog: 'first', license: 'MIT' };
    const first = await market.list(changes);
    await market.publish({
      ...first,
      submission: createSubmission({ name: first.name, version: '2.0.0', ...withCode('print(2)') }),
    });
    const again = { ...first, submission: createSubmission(changes) };
    const { publisherId: _, name: __, ...published } = first;
    const unchanged = { ...published, isNewServer: false, isNewVersion: false };
    expect(await market.publish(again)).toEqual(unchanged);
    expect(await market.catalog.plan(again)).toEqual({ kind: 'unchanged', published: unchanged });
    expect((await market.catalog.findListing(first.name))?.version.version).toBe('2.0.0');
    expect(await countRows([first.serverId])).toEqual({ servers: 1, versions: 2, prices: 1 });
    await expectSoundLog();
  });

  it.each([
    [{ description: 'Something else' }],
    [{ category: [] }],
    [{ license: 'MIT' }],
    [{ repo_url: 'https://example.com' }],
    [{ changelog: 'new' }],
    [{ pricing: { model: 'per_call', amount_mcents: 251 } }],
    [{ entrypoint: 'other.py' }],
  ])('published again with %j is refused: what was said of it stays said', async (change) => {
    const files = { 'server.py': 'x', 'other.py': 'x' };
    const first = await market.list({ files });
    const submission = createSubmission({ name: first.name, files, ...change });
    const { type, message } = await refusalOf(() => market.publish({ ...first, submission }));
    expect([type, message]).toEqual(['conflict', expect.stringMatching(/other metadata.*greater/)]);
  });

  it('of two servers with the same code is stored once and proven twice', async () => {
    const files = { 'server.py': `print("${newUuid()}")` };
    const [one, two] = await Promise.all([market.list({ files }), market.list({ files })]);
    expect(two.codeSha256).toBe(one.codeSha256);
    expect(two.logIndex).not.toBe(one.logIndex);
    const rows = await database.sql`SELECT 1 FROM catalog_code WHERE sha256 = ${one.codeSha256}`;
    expect(rows).toHaveLength(1);
    expect(await market.catalog.describeVersion(two.versionId)).toEqual({
      ...{ name: two.name, version: '1.0.0', codeSha256: one.codeSha256, logIndex: two.logIndex },
    });
  });

  it('of somebody else’s server, or under another name, is refused before and while it is published', async () => {
    const first = await market.list();
    const next = createSubmission({ name: first.name, version: '2.0.0' });
    const renamed = createSubmission({ name: newName(), version: '2.0.0' });
    for (const attempt of [market.publish, market.catalog.plan]) {
      for (const serverId of [first.serverId, newUuid()]) {
        const input = { publisherId: newUuid(), serverId, submission: next };
        const stranger = await refusalOf(() => attempt(input));
        expect([stranger.type, stranger.message]).toEqual(['not-found', 'You have no server with this id.']);
      }
      const other = await refusalOf(() => attempt({ ...first, submission: renamed }));
      expect([other.type, other.message]).toEqual(['conflict', expect.stringContaining(first.name)]);
    }
    expect(await market.catalog.plan({ ...first, submission: next })).toEqual({ kind: 'new-version' });
  });
});

describe('what was published', () => {
  const tables = ['catalog_version', 'catalog_code', 'catalog_price_list'];

  it.each(tables)('stays in %s: UPDATE, DELETE and TRUNCATE are refused', async (table) => {
    await market.list();
    const { sql } = database;
    const attempts = [
      sql`UPDATE ${sql(table)} SET created_at = now()`,
      sql`UPDATE ${sql(table)} SET created_at = created_at WHERE false`,
      sql`DELETE FROM ${sql(table)}`,
      sql`TRUNCATE ${sql(table)} CASCADE`,
    ];
    for (const attempt of attempts) {
      await expect(attempt).rejects.toThrow(/what was published never changes/);
    }
  });
});
