import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { createLogMonitor, encodeLeaf, LogDivergedError, leafHashOf } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { appendMany, createLeaf, createTestLog, entryOf, rewriteUnguarded } from './log-fixtures.ts';

const databases: TestDatabase[] = [];
let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
  databases.push(database);
});
afterAll(async () => {
  for (const { close } of databases) await close();
}, 60_000);

/** A signed log of this many publications, and what watches it. */
async function createSigned(count: number) {
  const { sql } = database;
  const log = createTestLog(sql);
  await appendMany(sql, log, count);
  await log.sign();
  const monitor = createLogMonitor({ sql, log, entriesPerRun: 512 });
  const walk = async () => {
    for (let from = 0; from < count; from += 512) await monitor.run();
  };
  return { sql, log, walk };
}

async function countCheckpoints(): Promise<number> {
  const [row] = await database.sql<{ count: bigint }[]>`SELECT count(*) FROM log_checkpoint`;
  return Number(row?.count);
}

/** Other characters of base64, as many. */
function spoil(end: string): string {
  return `${end[0] === 'A' ? 'B' : 'A'}${end.slice(1)}`;
}

const OTHER = leafHashOf('another past').toString('hex');

describe('a log that is not what was signed', () => {
  it.each([
    ['grew since', 3],
    ['did not grow since', 0],
  ])('is not signed when a tile at its edge was rewritten and it %s', async (_, more) => {
    const { sql, log } = await createSigned(300);
    await appendMany(sql, log, more);
    await rewriteUnguarded(
      sql,
      (tx) => tx`UPDATE log_tile SET data = overlay(data PLACING decode(${OTHER}, 'hex') FROM 1)
        WHERE log = 1 AND level = 0 AND n = 1`,
    );
    await expect(log.sign()).rejects.toThrow(LogDivergedError);
    expect(log.health()).toMatchObject({ kind: 'diverged' });
    expect(await countCheckpoints()).toBe(1);
    // Another gateway sees it by itself, and nobody appends to what was rewritten.
    await expect(createTestLog(sql).sign()).rejects.toThrow(LogDivergedError);
    await expect(appendMany(sql, createTestLog(sql), 1)).rejects.toMatchObject({ type: 'unavailable' });
  });

  it('is not signed when the root in its row was rewritten', async () => {
    const { sql, log } = await createSigned(3);
    await rewriteUnguarded(sql, (tx) => tx`UPDATE log_state SET root = decode(${OTHER}, 'hex')`);
    await expect(log.sign()).rejects.toThrow(LogDivergedError);
  });

  it('is not signed when a tile is gone', async () => {
    const { sql, log } = await createSigned(300);
    await rewriteUnguarded(sql, (tx) => tx`DELETE FROM log_tile WHERE level = 0 AND n = 1`);
    await expect(log.sign()).rejects.toThrow(LogDivergedError);
    await expect(createTestLog(sql).proveInclusion({ leafIndex: 0, treeSize: 300 })).rejects.toThrow(
      LogDivergedError,
    );
  });

  it('is not signed when all of it was rewritten, tiles, root and entries alike', async () => {
    const { sql, log } = await createSigned(5);
    const other = await createTestDatabase();
    databases.push(other);
    const impostor = createTestLog(other.sql);
    await appendMany(other.sql, impostor, 7);
    const { root } = await impostor.readHead();
    const [tile] = await other.sql<{ data: Buffer }[]>`SELECT data FROM log_tile`;
    await rewriteUnguarded(sql, async (tx) => {
      await tx`UPDATE log_tile SET data = ${tile?.data ?? null}`;
      await tx`UPDATE log_state SET tree_size = 7, root = ${root}`;
    });
    await expect(log.sign()).rejects.toThrow(/nothing is added/);
    expect(log.health()).toEqual({
      kind: 'diverged',
      detail: 'the root of the first 5 leaves is not the one that was signed',
    });
  });

  it.each([
    ['text', (note: string) => note.replace('\n3\n', '\n4\n')],
    ['signature', (note: string) => note.replace(/(.{20})==\n$|(.{20})=\n$|(.{20})\n$/, spoil)],
  ])('is not signed when the %s of the newest note was rewritten', async (_, rewrite) => {
    const { sql, log } = await createSigned(3);
    const note = (await log.findCheckpoint())?.note ?? '';
    await rewriteUnguarded(sql, (tx) => tx`UPDATE log_checkpoint SET note = ${rewrite(note)}`);
    await appendMany(sql, log, 1);
    await expect(log.sign()).rejects.toThrow(LogDivergedError);
    expect(log.health()).toMatchObject({
      detail: 'the checkpoint of 3 leaves is not the one that was signed',
    });
  });

  it('is not signed when it was restored from a backup older than a checkpoint', async () => {
    const { log } = await createSigned(300);
    const checkpoint = await log.findCheckpoint();
    const restored = await createTestDatabase();
    databases.push(restored);
    const older = createTestLog(restored.sql);
    await appendMany(restored.sql, older, 280);
    // The backup of the checkpoints is the newer one.
    await restored.sql`
      INSERT INTO log_checkpoint (log, tree_size, root, note)
      VALUES (1, 300, ${checkpoint?.root ?? null}, ${checkpoint?.note ?? ''})`;
    await expect(older.sign()).rejects.toThrow(LogDivergedError);
    expect(older.health()).toMatchObject({ detail: '300 leaves were signed, and the log has 280' });
    // And not when it has grown past it with other leaves.
    await appendMany(restored.sql, older, 40);
    const again = createTestLog(restored.sql);
    await expect(again.sign()).rejects.toThrow(LogDivergedError);
    expect(again.health()).toMatchObject({ kind: 'diverged' });
  });

  it('is not signed once somebody saw from outside that it diverged', async () => {
    const { sql, log } = await createSigned(2);
    log.reportDivergence({ source: 'chain 1', detail: 'the chain has another root of 2 leaves' });
    await appendMany(sql, log, 1);
    await expect(log.sign()).rejects.toThrow(LogDivergedError);
    expect(log.health()).toEqual({ kind: 'diverged', detail: 'the chain has another root of 2 leaves' });
    expect(await countCheckpoints()).toBe(1);
  });
});

describe('a log that others look at', () => {
  const contradiction = { source: 'chain 1', detail: 'chain 1 holds another root' };

  it('is signed again once each source took back what it said, and not before', async () => {
    const { sql, log } = await createSigned(2);
    const fork = { source: 'witness w', detail: 'the witness w holds another root' };
    log.reportDivergence(contradiction);
    log.reportDivergence(fork);
    await appendMany(sql, log, 1);
    log.reportSound(contradiction.source);
    await expect(log.sign()).rejects.toThrow(LogDivergedError);
    expect(log.health()).toEqual({ kind: 'diverged', detail: fork.detail });
    log.reportSound(fork.source);
    expect((await log.sign())?.treeSize).toBe(3);
  });

  it('stays diverged when its own tiles say so, whatever a chain says', async () => {
    const { sql, log } = await createSigned(3);
    const [tile] = await sql<{ data: Buffer }[]>`SELECT data FROM log_tile WHERE log = 1`;
    const put = (data: Buffer) => rewriteUnguarded(sql, (tx) => tx`UPDATE log_tile SET data = ${data}`);
    await put(Buffer.alloc(96));
    await expect(log.sign()).rejects.toThrow(LogDivergedError);
    log.reportDivergence(contradiction);
    log.reportSound(contradiction.source);
    await put(tile?.data ?? Buffer.alloc(0));
    await expect(log.sign()).rejects.toThrow(LogDivergedError);
    expect(await createTestLog(sql).sign()).toMatchObject({ treeSize: 3 });
  });

  it('is not signed before one of them has looked, nor for a while before all have', async () => {
    const { sql, log } = await createSigned(2);
    const watchers = ['chain 1', 'witness w'];
    const started = createTestLog(sql, { watchers, watcherGraceMs: 60_000 });
    const patient = createTestLog(sql, { watchers, watcherGraceMs: 0 });
    await appendMany(sql, log, 1);
    for (const one of [started, patient]) {
      expect((await one.sign())?.treeSize).toBe(2);
      expect(one.health()).toMatchObject({
        kind: 'waiting',
        detail: expect.stringContaining('chain 1, witness w'),
      });
    }
    started.reportSound('chain 1');
    expect((await started.sign())?.treeSize).toBe(2);
    started.reportSound('witness w');
    expect((await started.sign())?.treeSize).toBe(3);
    await appendMany(sql, log, 1);
    patient.reportSound('chain 1');
    expect((await patient.sign())?.treeSize).toBe(4);
  });

  it('is not signed when its database was put back to an older state while the process runs', async () => {
    const { sql, log } = await createSigned(3);
    const [tile] = await sql<{ data: Buffer }[]>`SELECT data FROM log_tile WHERE log = 1`;
    const { root } = await log.readHead();
    await appendMany(sql, log, 2);
    await log.sign();
    await rewriteUnguarded(sql, async (tx) => {
      await tx`DELETE FROM log_entry WHERE leaf_index >= 3`;
      await tx`DELETE FROM log_checkpoint WHERE tree_size > 3`;
      await tx`UPDATE log_tile SET data = ${tile?.data ?? null}`;
      await tx`UPDATE log_state SET tree_size = 3, root = ${root}`;
    });
    await appendMany(sql, log, 4);
    await expect(log.sign()).rejects.toThrow(LogDivergedError);
    expect(log.health()).toMatchObject({ detail: expect.stringContaining('5 leaves were signed') });
    expect(await countCheckpoints()).toBe(1);
  });

  it('is not suspected by who asks for a size that it reaches meanwhile', async () => {
    const { sql, log } = await createSigned(1);
    let isOver = false;
    const growing = (async () => {
      for (let round = 0; round < 40; round++) await appendMany(sql, log, 1);
      isOver = true;
    })();
    while (!isOver) {
      const { treeSize } = await log.readHead();
      await Promise.all(
        [1, 2, 3].map((more) =>
          log.rootAt(treeSize + more).catch(({ type }) => expect(type).toBe('not-found')),
        ),
      );
    }
    await growing;
    expect(log.health()).toEqual({ kind: 'sound' });
  });
});

describe('the monitor', () => {
  it('finds nothing wrong with a log of several tiles, over and over', async () => {
    const { sql, log, walk } = await createSigned(1_100);
    await walk();
    await appendMany(sql, log, 30);
    await log.sign();
    await walk();
    await walk();
    expect(log.health()).toEqual({ kind: 'sound' });
  });

  it.each([
    ['an entry', 'entry 3 was rewritten', "UPDATE log_entry SET entry = 'x' WHERE leaf_index = 3"],
    [
      'an entry with its hash',
      'tile 0/0 was rewritten',
      `UPDATE log_entry SET entry = convert_to(replace(convert_from(entry, 'UTF8'), 'abab', 'efef'), 'UTF8'),
        leaf_hash = sha256('\\x00'::bytea || convert_to(replace(convert_from(entry, 'UTF8'), 'abab', 'efef'), 'UTF8'))
        WHERE leaf_index = 3`,
    ],
    ['an entry that is gone', 'entry 3 is missing', 'DELETE FROM log_entry WHERE leaf_index = 3'],
    [
      'a key',
      'entry 3 is kept as "x", which it is not',
      "UPDATE log_entry SET dedup_key = 'x' WHERE leaf_index = 3",
    ],
    [
      'a tile that no signature recomputes',
      'tile 0/1 was rewritten',
      `UPDATE log_tile SET data = overlay(data PLACING decode('${OTHER}', 'hex') FROM 65) WHERE level = 0 AND n = 1`,
    ],
    [
      'a hash above a tile',
      'tile 1/0 does not hold the root of tile 0/2',
      `UPDATE log_tile SET data = overlay(data PLACING decode('${OTHER}', 'hex') FROM 65) WHERE level = 1`,
    ],
    [
      'the root of a checkpoint',
      'the checkpoint of 800 leaves is not what the log was then',
      `UPDATE log_checkpoint SET root = decode('${OTHER}', 'hex')`,
    ],
    [
      'what a checkpoint says',
      'the checkpoint of 800 leaves is not what the log was then',
      "UPDATE log_checkpoint SET note = replace(note, '800', '801')",
    ],
  ])('finds a rewrite of %s', async (_, detail, statement) => {
    const { sql, log, walk } = await createSigned(800);
    await rewriteUnguarded(sql, (tx) => tx.unsafe(statement));
    await walk();
    expect(log.health()).toMatchObject({ kind: 'diverged', detail: expect.stringContaining(detail) });
  });

  it('keeps up with a log that is signed once a second, and holds each note against its key', async () => {
    const { sql, log } = await createSigned(1);
    for (let count = 1; count < 24; count++) {
      await appendMany(sql, log, 1);
      await log.sign();
    }
    const note = (await log.findCheckpoint(20))?.note ?? '';
    const monitor = createLogMonitor({ sql, log });
    await monitor.run();
    expect(log.health()).toEqual({ kind: 'sound' });
    const spoiled = note.replace(/(.{20})==\n$|(.{20})=\n$|(.{20})\n$/, spoil);
    await rewriteUnguarded(sql, (tx) => tx`UPDATE log_checkpoint SET note = ${spoiled} WHERE tree_size = 20`);
    await monitor.run();
    expect(log.health()).toMatchObject({
      kind: 'diverged',
      detail: 'the checkpoint of 20 leaves is not what the log was then',
    });
  });

  it('finds two hashes for one version, which the database refuses until its key is dropped', async () => {
    const { sql, log, walk } = await createSigned(4);
    const leaf = createLeaf();
    await sql.begin((tx) => log.append(tx, [entryOf(leaf)]));
    const again = { ...leaf, sha256: 'ef'.repeat(32) };
    const insert = () => sql`
      INSERT INTO log_entry (log, leaf_index, entry, leaf_hash, dedup_key)
      VALUES (1, 5, ${encodeLeaf(again)}, ${leafHashOf(encodeLeaf(again))}, ${entryOf(again).dedupKey})`;
    await expect(insert()).rejects.toThrow(/log_entry_dedup_key/);
    await sql`ALTER TABLE log_entry DROP CONSTRAINT log_entry_dedup_key`;
    await insert();
    await sql`UPDATE log_state SET tree_size = 6 WHERE id = 1`;
    await walk();
    expect(log.health()).toMatchObject({
      kind: 'diverged',
      detail: `two entries say "publish ${leaf.tool} 1.0.0"`,
    });
  });
});
