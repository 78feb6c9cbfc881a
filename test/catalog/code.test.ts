import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CodeOf } from '../../src/catalog/index.ts';
import { readArchive } from '../../src/core/archive.ts';
import { newUuid } from '../../src/core/ids.ts';
import { InvariantError } from '../../src/core/invariant.ts';
import { type Tx, withTransaction } from '../../src/db/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createMarket, createSubmission, createTools, times } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

/**
 * Changes what is guarded, as somebody could who owns the tables: the test's user does, so it may switch the
 * trigger off. Others wait for the transaction's lock and never see the table without its guard.
 */
async function tamper(table: string, change: (tx: Tx) => Promise<unknown>): Promise<void> {
  await withTransaction(database.sql, async (tx) => {
    await tx`ALTER TABLE ${tx(table)} DISABLE TRIGGER ${tx(`${table}_append_only`)}`;
    await change(tx);
    await tx`ALTER TABLE ${tx(table)} ENABLE TRIGGER ${tx(`${table}_append_only`)}`;
  });
}

/** One byte of the first file becomes another; the size stays what its row says. */
async function tamperCode(sha256: string): Promise<void> {
  await tamper(
    'catalog_code',
    (tx) => tx`UPDATE catalog_code SET archive = set_byte(archive, 512, 35) WHERE sha256 = ${sha256}`,
  );
}

const unique = () => ({ 'server.py': `print("${newUuid()}")`, 'lib/words.txt': 'grüße', 'other.py': '' });

function ofPython(codeSha256: string, entrypoint = 'server.py'): CodeOf {
  return { codeSha256, runtime: 'python', entrypoint, layerSha256: null, rootSha256: null };
}

describe('code', () => {
  it('comes out as it was published, byte for byte', async () => {
    const files = { ...unique(), 'bin/x.bin': { base64: 'AAEC/w==' }, 'empty.txt': '' };
    const market = createMarket(database.sql);
    const { name, codeSha256 } = await market.list({ files });
    const version = (await market.catalog.findListing(name))?.version;
    expect(version).toMatchObject(ofPython(codeSha256));
    const code = await market.catalog.loadCode(version ?? ofPython(''));
    expect(code).toMatchObject({ sha256: codeSha256, runtime: 'python', entrypoint: 'server.py' });
    expect(readArchive(code.archive)).toEqual(
      new Map([
        ['bin/x.bin', Buffer.from([0, 1, 2, 255])],
        ['empty.txt', Buffer.alloc(0)],
        ['lib/words.txt', Buffer.from('grüße')],
        ['other.py', Buffer.alloc(0)],
        ['server.py', Buffer.from(files['server.py'])],
      ]),
    );
  });

  it('that was changed in the database is never loaded, and says which it is', async () => {
    const { codeSha256 } = await createMarket(database.sql).list({ files: unique() });
    await tamperCode(codeSha256);
    const { catalog } = createMarket(database.sql);
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const loading = catalog.loadCode(ofPython(codeSha256));
      await expect(loading).rejects.toThrow(InvariantError);
      await expect(loading).rejects.toThrow(`the stored code of ${codeSha256} has changed`);
    }
  });

  it('that was exchanged for other sound code is never loaded either', async () => {
    const market = createMarket(database.sql);
    const [one, two] = [await market.list({ files: unique() }), await market.list({ files: unique() })];
    await tamper(
      'catalog_code',
      (tx) => tx`UPDATE catalog_code SET archive = other.archive, size = other.size FROM catalog_code other
        WHERE catalog_code.sha256 = ${one.codeSha256} AND other.sha256 = ${two.codeSha256}`,
    );
    await expect(market.catalog.loadCode(ofPython(one.codeSha256))).rejects.toThrow(/has changed/);
    expect((await market.catalog.loadCode(ofPython(two.codeSha256))).sha256).toBe(two.codeSha256);
  });

  it('is read once however many ask at once, and then not again', async () => {
    const { catalog, list, wait } = createMarket(database.sql);
    const { codeSha256 } = await list({ files: unique() });
    const codes = await Promise.all(times(20, () => catalog.loadCode(ofPython(codeSha256))));
    expect(new Set(codes.map(({ archive }) => archive)).size).toBe(1);
    // What is in memory was proven when it was read: a change in the database does not reach it.
    await tamperCode(codeSha256);
    wait(365 * 86_400_000);
    expect((await catalog.loadCode(ofPython(codeSha256))).archive).toBe(codes[0]?.archive);
  });

  it('that two versions start at different files is one code with two beginnings', async () => {
    const { catalog, list, publish } = createMarket(database.sql);
    const files = unique();
    const first = await list({ files });
    const next = { name: first.name, version: '1.0.1', files, entrypoint: 'other.py' };
    await publish({ ...first, submission: createSubmission(next) });
    for (const [version, entrypoint] of [
      ['1.0.0', 'server.py'],
      ['1.0.1', 'other.py'],
    ] as const) {
      const listing = await catalog.findListing(first.name, version);
      const code = await catalog.loadCode(listing?.version ?? ofPython(''));
      expect([code.sha256, code.entrypoint]).toEqual([first.codeSha256, entrypoint]);
    }
  });

  it('that nobody published is our fault, and found as soon as somebody does', async () => {
    const { catalog, list } = createMarket(database.sql);
    const files = unique();
    const { codeSha256 } = await createMarket((await createOther()).sql).list({ files });
    await expect(catalog.loadCode(ofPython(codeSha256))).rejects.toThrow(InvariantError);
    await list({ files });
    expect((await catalog.loadCode(ofPython(codeSha256))).sha256).toBe(codeSha256);
  });
});

describe('the tools of a version', () => {
  it('that were changed in the database are never sold, and their members keep their order', async () => {
    const market = createMarket(database.sql);
    const properties = { zebra: { type: 'string' }, apple: { type: 'string' } };
    const inputSchema = { type: 'object', properties, required: ['zebra'] };
    const { name, versionId } = await market.list({}, [{ name: 'run', inputSchema }]);
    const listing = await market.catalog.findListing(name);
    expect(JSON.stringify(listing?.tools)).toBe(JSON.stringify([{ name: 'run', inputSchema }]));
    const tools = createTools('run');
    await tamper(
      'catalog_version',
      (tx) =>
        tx`UPDATE catalog_version SET tools = ${JSON.stringify(tools)}::text::json WHERE id = ${versionId}`,
    );
    const finding = createMarket(database.sql).catalog.findListing(name);
    await expect(finding).rejects.toThrow(`the tools of version ${versionId} are not what was logged`);
  });
});

let other: TestDatabase | undefined;
afterAll(() => other?.close());

/** A database where something may be published without being published here. */
async function createOther(): Promise<TestDatabase> {
  other = await createTestDatabase();
  return other;
}
