import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { withTransaction } from '../../src/db/index.ts';
import {
  appendLeaf,
  createNoteSigner,
  encodeCheckpoint,
  type Hash,
  inclusionPath,
  KEY_TYPES,
  leafHashOf,
  merkleRoot,
  NoteError,
  newReceiptKeyPem,
  parseCheckpoint,
  parseNote,
  parseVkey,
  readLoggedOrigin,
  signLine,
  signNote,
  type TransparencyLog,
  verifyCheckpoint,
  verifyConsistency,
  verifyInclusion,
} from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { appendMany, createLeaf, createTestLog, entryOf, LOG_KEY, rewriteUnguarded } from './log-fixtures.ts';

const databases: TestDatabase[] = [];
let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
  databases.push(database);
});
afterAll(async () => {
  for (const { close } of databases) await close();
}, 60_000);

async function readLeafHashes(log: TransparencyLog): Promise<Hash[]> {
  const hashes: Hash[] = [];
  for (;;) {
    const entries = await log.readEntries({ fromIndex: hashes.length, entriesMax: 1_000 });
    if (entries.length === 0) return hashes;
    expect(entries.map(({ leafIndex }) => leafIndex)).toEqual(entries.map((_, at) => hashes.length + at));
    hashes.push(...entries.map(({ entry }) => leafHashOf(entry)));
  }
}

describe('a log that gateways share', () => {
  it('takes 20 appends of two gateways at once without a gap, and its root is that of the tree', async () => {
    const gateways = [createTestLog(database.sql), createTestLog(database.sql)];
    const appends = Array.from({ length: 20 }, (_, at) => {
      const log = gateways[at % 2] ?? gateways[0];
      return log ? appendMany(database.sql, log, 1 + (at % 5)) : Promise.resolve([]);
    });
    const indexes = (await Promise.all(appends)).flat().sort((a, b) => a - b);
    expect(indexes).toEqual(Array.from({ length: 60 }, (_, at) => at));
    for (const log of gateways) {
      const hashes = await readLeafHashes(log);
      expect(hashes).toHaveLength(60);
      expect(await log.readHead()).toEqual({ treeSize: 60, root: merkleRoot(hashes) });
    }
  });

  it('has one checkpoint for each size, whoever signs at once', async () => {
    const gateways = [createTestLog(database.sql), createTestLog(database.sql)];
    for (let round = 0; round < 5; round++) {
      await appendMany(database.sql, createTestLog(database.sql), 2);
      const signed = await Promise.all([...gateways, ...gateways].map((log) => log.sign()));
      expect(new Set(signed.map((checkpoint) => checkpoint?.note)).size).toBe(1);
    }
    const [row] = await database.sql<{ count: bigint }[]>`SELECT count(*) FROM log_checkpoint`;
    expect(row?.count).toBe(5n);
  });

  it('signs what a gateway appended that then crashed, and nothing twice', async () => {
    await appendMany(database.sql, createTestLog(database.sql), 3);
    const next = createTestLog(database.sql);
    const signed = await next.sign();
    expect(signed?.treeSize).toBe(3);
    expect(await next.sign()).toEqual(await next.findCheckpoint());
    expect((await next.sign())?.note).toBe(signed?.note);
  });

  it('is the tree in memory, whatever the sizes of its batches', async () => {
    const log = createTestLog(database.sql);
    const sizes = [1, 255, 1, 300, 212, 256, 2, 513, 100];
    let treeSize = 0;
    const roots = new Map<number, Hash>([[0, merkleRoot([])]]);
    for (const size of sizes) {
      await appendMany(database.sql, log, size);
      treeSize += size;
      roots.set(treeSize, (await log.readHead()).root);
    }
    const hashes = await readLeafHashes(log);
    for (const [size, root] of roots) {
      expect(root).toEqual(merkleRoot(hashes.slice(0, size)));
      expect(await log.rootAt(size)).toEqual(root);
    }
    const property = fc.asyncProperty(
      fc.integer({ min: 1, max: treeSize }).chain((size) => fc.tuple(fc.constant(size), fc.nat(size - 1))),
      async ([size, leafIndex]) => {
        const [path, root] = [
          await log.proveInclusion({ leafIndex, treeSize: size }),
          await log.rootAt(size),
        ];
        expect(path).toEqual(inclusionPath(hashes.slice(0, size), leafIndex));
        const leafHash = hashes[leafIndex] ?? Buffer.alloc(0);
        expect(verifyInclusion({ index: leafIndex, treeSize: size, leafHash, path, root })).toBe(true);
        const proof = await log.proveConsistency({ fromSize: leafIndex + 1, toSize: size });
        const fromRoot = merkleRoot(hashes.slice(0, leafIndex + 1));
        const claim = { fromSize: leafIndex + 1, toSize: size, fromRoot, toRoot: root, path: proof };
        expect(verifyConsistency(claim)).toBe(true);
      },
    );
    await fc.assert(property, { numRuns: 60 });
  });

  it('refuses a batch whole when one of it is there already, and takes the rest without a gap', async () => {
    const log = createTestLog(database.sql);
    const [first, second, third] = [createLeaf(), createLeaf(), createLeaf()].map(entryOf);
    if (!first || !second || !third) return;
    await withTransaction(database.sql, (tx) => log.append(tx, [first]));
    await withTransaction(database.sql, async (tx) => {
      await expect(log.append(tx, [second, first])).rejects.toMatchObject({ type: 'conflict' });
      await expect(log.append(tx, [second, second])).rejects.toMatchObject({ type: 'conflict' });
      expect(await log.append(tx, [third, second])).toEqual([1, 2]);
    });
    expect((await log.readHead()).root).toEqual(merkleRoot(await readLeafHashes(log)));
  });

  it('keeps the receipts apart from the versions', async () => {
    const versions = createTestLog(database.sql);
    const receipts = createTestLog(database.sql, { name: 'receipts', origin: 'gateway.example/receipts' });
    await appendMany(database.sql, versions, 2);
    const entry = { entry: Buffer.from('mcp-receipt/v1\n'), dedupKey: 'receipt a b 1' };
    expect(await withTransaction(database.sql, (tx) => receipts.append(tx, [entry]))).toEqual([0]);
    expect(await receipts.readHead()).toEqual({ treeSize: 1, root: leafHashOf(entry.entry) });
    expect((await versions.readHead()).treeSize).toBe(2);
    expect((await receipts.sign())?.note).toMatch(/^gateway\.example\/receipts\n1\n/);
  });

  it('gets tiles from its entries when it is from before there were tiles, at the first need of any kind', async () => {
    const log = createTestLog(database.sql);
    await appendMany(database.sql, log, 5_000);
    const { root } = await log.readHead();
    const forget = () =>
      rewriteUnguarded(database.sql, async (tx) => {
        await tx`DELETE FROM log_tile`;
        await tx`UPDATE log_state SET root = NULL`;
      });
    await forget();
    expect(await createTestLog(database.sql).sign()).toMatchObject({ treeSize: 5_000, root });
    await forget();
    expect(await createTestLog(database.sql).readHead()).toEqual({ treeSize: 5_000, root });
    await forget();
    const index = await withTransaction(database.sql, (tx) => appendLeaf(tx, createLeaf()));
    expect(index).toBe(5_000n);
    expect((await log.readHead()).root).toEqual(merkleRoot(await readLeafHashes(log)));
    expect(await log.rootAt(5_000)).toEqual(root);
  });

  it('answers 404 for leaves and sizes that it does not have', async () => {
    const log = createTestLog(database.sql);
    await appendMany(database.sql, log, 3);
    for (const asked of [
      () => log.rootAt(4),
      () => log.rootAt(Number.NaN),
      () => log.proveInclusion({ leafIndex: 3, treeSize: 3 }),
      () => log.proveInclusion({ leafIndex: 0, treeSize: 1_000 }),
      () => log.proveConsistency({ fromSize: 2, toSize: 4 }),
      () => log.proveConsistency({ fromSize: 3, toSize: 2 }),
    ]) {
      await expect(asked()).rejects.toMatchObject({ type: 'not-found' });
    }
    expect(log.health()).toEqual({ kind: 'sound' });
    expect(await log.proveConsistency({ fromSize: 0, toSize: 3 })).toEqual([]);
  });
});

describe('a checkpoint', () => {
  it('of an empty log is none', async () => {
    const log = createTestLog(database.sql);
    expect(await log.sign()).toBeUndefined();
    expect(await log.findCheckpoint()).toBeUndefined();
    expect(await readLoggedOrigin(database.sql, 'versions')).toBeUndefined();
  });

  it('is a note that says origin, size and root, signed under the vkey', async () => {
    const log = createTestLog(database.sql);
    await appendMany(database.sql, log, 7);
    const signed = await log.sign();
    const keys = log.vkeys.map(parseVkey);
    const read = verifyCheckpoint(signed?.note ?? '', { origin: 'gateway.example', logKeys: keys });
    expect(read).toMatchObject({ treeSize: 7, root: (await log.readHead()).root, extensions: [] });
    expect(await readLoggedOrigin(database.sql, 'versions')).toBe('gateway.example');
    expect(await log.findCheckpoint(7)).toEqual(signed);
    expect(await log.findCheckpoint(6)).toBeUndefined();
  });

  it('is signed by both keys during a rotation, and each verifies it alone', async () => {
    const currentPem = newReceiptKeyPem();
    const log = createTestLog(database.sql, { keys: { currentPem, previousPem: LOG_KEY } });
    await appendMany(database.sql, log, 1);
    const note = (await log.sign())?.note ?? '';
    expect(parseNote(note).signatures.map(({ name }) => name)).toEqual([
      'gateway.example',
      'gateway.example',
    ]);
    expect(log.vkeys).toHaveLength(2);
    expect(log.vkeys[1]).toBe(createTestLog(database.sql).vkeys[0]);
    for (const vkey of log.vkeys) {
      const expected = { origin: 'gateway.example', logKeys: [parseVkey(vkey)] };
      expect(verifyCheckpoint(note, expected).treeSize).toBe(1);
    }
  });

  it('that stands when a key comes is signed by it too, without another leaf', async () => {
    const before = createTestLog(database.sql);
    await appendMany(database.sql, before, 2);
    const old = await before.sign();
    const keys = { currentPem: newReceiptKeyPem(), previousPem: LOG_KEY };
    const [log, other] = [createTestLog(database.sql, { keys }), createTestLog(database.sql, { keys })];
    const signed = await Promise.all([log.sign(), other.sign()]);
    const note = (await log.findCheckpoint())?.note ?? '';
    expect(signed.map((checkpoint) => checkpoint?.note)).toEqual([note, note]);
    expect(note.startsWith(old?.note ?? 'x')).toBe(true);
    expect(parseNote(note).signatures).toHaveLength(2);
    for (const vkey of log.vkeys) {
      const expected = { origin: 'gateway.example', logKeys: [parseVkey(vkey)] };
      expect(verifyCheckpoint(note, expected).treeSize).toBe(2);
    }
    expect((await log.sign())?.note).toBe(note);
  });

  it('gets the line of a witness once, and none that does not hold', async () => {
    const log = createTestLog(database.sql);
    await appendMany(database.sql, log, 2);
    const checkpoint = await log.sign();
    if (!checkpoint) throw new Error('nothing was signed');
    const type = KEY_TYPES.cosignature;
    const witness = createNoteSigner({ name: 'witness.example', privateKeyPem: newReceiptKeyPem(), type });
    const other = createNoteSigner({ name: 'other.example', privateKeyPem: newReceiptKeyPem(), type });
    const { text } = parseNote(checkpoint.note);
    const line = signLine(text, witness, 1_763_702_345);
    const add = (changes: object = {}) =>
      log.addCosignature({ treeSize: 2, witness: witness.vkey, line, ...changes });
    await add();
    await add();
    await add({ line: signLine(text, witness, 1_763_702_999) });
    const { note } = (await log.findCheckpoint()) ?? { note: '' };
    expect(note).toBe(checkpoint.note + line);
    expect((await log.sign())?.note).toBe(note);
    const keys = { logKeys: log.vkeys.map(parseVkey), witnesses: [parseVkey(witness.vkey)] };
    expect(verifyCheckpoint(note, { origin: log.origin, ...keys }).cosignatures).toMatchObject([
      { time: 1_763_702_345 },
    ]);
    await expect(add({ witness: other.vkey })).rejects.toThrow(NoteError);
    await expect(add({ line: signLine(`${text}x\n`, witness, 1) })).rejects.toThrow(NoteError);
    await expect(add({ line: line.slice(0, -1) })).rejects.toThrow(NoteError);
    await expect(add({ treeSize: 1 })).rejects.toMatchObject({ type: 'not-found' });
  });

  it('cannot be spelled of nonsense, and is not read from it', () => {
    const root = merkleRoot([]);
    expect(encodeCheckpoint({ origin: 'o', treeSize: 0, root })).toBe(`o\n0\n${root.toString('base64')}\n`);
    for (const bad of [
      { origin: '', treeSize: 0, root },
      { origin: 'a\nb', treeSize: 0, root },
      { origin: 'o', treeSize: -1, root },
      { origin: 'o', treeSize: 2 ** 53, root },
      { origin: 'o', treeSize: 0, root: Buffer.alloc(31) },
    ]) {
      expect(() => encodeCheckpoint(bad)).toThrow(NoteError);
    }
    const encoded = root.toString('base64');
    for (const text of [
      '',
      '\n',
      `o\n0\n${encoded}`,
      `o\n00\n${encoded}\n`,
      `o\n+1\n${encoded}\n`,
      `o\n9007199254740992\n${encoded}\n`,
      `o\n0\n${encoded.slice(0, -1)}\n`,
      `o\n0\n${encoded}\n\n`,
      `o\n0\n${encoded}\nx\n\ny\n`,
      `\n0\n${encoded}\n`,
      'o\n0\nAAAA\n',
    ]) {
      expect(() => parseCheckpoint(text)).toThrow(NoteError);
    }
    expect(parseCheckpoint(`o\n0\n${encoded}\next\n`).extensions).toEqual(['ext']);
  });

  it('of another log, or signed by witnesses alone, is refused', () => {
    const log = createNoteSigner({ name: 'log.example', privateKeyPem: LOG_KEY });
    const witness = createNoteSigner({ name: 'witness.example', privateKeyPem: newReceiptKeyPem() });
    const text = encodeCheckpoint({ origin: 'log.example', treeSize: 0, root: merkleRoot([]) });
    const expected = { origin: 'log.example', logKeys: [log], witnesses: [witness] };
    expect(verifyCheckpoint(signNote(text, [log]), expected).cosignatures).toEqual([]);
    expect(() => verifyCheckpoint(signNote(text, [witness]), expected)).toThrow('The log did not sign');
    const other = signNote(text, [log]);
    expect(() => verifyCheckpoint(other, { ...expected, origin: 'x.example' })).toThrow('not of x.example');
  });
});
