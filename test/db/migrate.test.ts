import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { migrate } from '../../src/db/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startProcess } from '../harness/process.ts';

let database: TestDatabase;
let folder: string;

beforeEach(async () => {
  database = await createTestDatabase({ isEmpty: true });
  folder = await mkdtemp(join(tmpdir(), 'millicent-migrations-'));
  await write(
    '0000_first.sql',
    'CREATE TABLE note (id int8 PRIMARY KEY);\n--> statement-breakpoint\nINSERT INTO note VALUES (1);',
  );
  await write('0001_second.sql', 'INSERT INTO note SELECT id + 1 FROM note;');
});

afterEach(async () => {
  await database.close();
  await rm(folder, { recursive: true });
});

describe('migrations', () => {
  test('five gateways that start at once run each file once, in order', async () => {
    const racers = Array.from({ length: 5 }, () =>
      startProcess({ program: 'migrate.ts', args: [database.url, folder] }),
    );
    await Promise.all(racers.map((racer) => racer.nextLine()));
    for (const racer of racers) racer.write('go');
    const applied = await Promise.all(racers.map((racer) => racer.nextLine()));
    expect(applied.reduce((sum: number, count) => sum + Number(count), 0)).toBe(2);
    expect(await readNotes()).toEqual([1n, 2n]);
    await Promise.all(racers.map((racer) => racer.end()));
  });

  test('a second run changes nothing, a new file is added to the old ones', async () => {
    await run();
    await run();
    expect(await readNotes()).toEqual([1n, 2n]);
    await write('0002_third.sql', 'INSERT INTO note VALUES (3);');
    await run();
    expect(await readNotes()).toEqual([1n, 2n, 3n]);
  });

  test('a file that was edited after it ran stops the start and is named', async () => {
    await run();
    await write('0000_first.sql', 'CREATE TABLE note (id int8 PRIMARY KEY, text text);');
    await write('0002_third.sql', 'INSERT INTO note VALUES (3);');
    await expect(run()).rejects.toThrow('Migration 0000_first.sql was changed after it had been applied');
    expect(await readNotes()).toEqual([1n, 2n]);
  });

  test('a file that fails is undone whole and named, and those before it stay', async () => {
    await write('0002_third.sql', 'INSERT INTO note VALUES (3);\nINSERT INTO nowhere VALUES (1);');
    await expect(run()).rejects.toThrow(/^Migration 0002_third\.sql failed: .*"nowhere" does not exist/);
    expect(await readNotes()).toEqual([1n, 2n]);
    await write('0002_third.sql', 'INSERT INTO note VALUES (3);');
    await run();
    expect(await readNotes()).toEqual([1n, 2n, 3n]);
  });

  test('an older gateway starts on a newer database, and says so', async () => {
    await run();
    await rm(join(folder, '0001_second.sql'));
    const warnings: object[] = [];
    const log = { ...silentLog, warn: (fields: object) => warnings.push(fields) };
    await migrate({ url: database.url, folder, log });
    expect(warnings).toEqual([{ migrations: ['0001_second.sql'] }]);
  });

  test('no folder is no migration', async () => {
    await migrate({ url: database.url, folder: join(folder, 'none'), log: silentLog });
  });
});

function run(): Promise<void> {
  return migrate({ url: database.url, folder, log: silentLog });
}

function write(name: string, text: string): Promise<void> {
  return writeFile(join(folder, name), text);
}

async function readNotes(): Promise<unknown[]> {
  const rows = await database.sql`SELECT id FROM note ORDER BY id`;
  return rows.map((row) => row.id);
}
