import { spawnSync } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const SCRIPT = resolve(import.meta.dirname, '../../.ci/run');

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millicent-ci-'));
  await mkdir(join(folder, '.ci'));
  await copyFile(SCRIPT, join(folder, '.ci/run'));
});

afterEach(() => rm(folder, { recursive: true }));

type Run = [exit: number, output: string];

/** In the place of both runs of the tests, what they print and how they end. */
async function ciRun(first: Run, second: Run): Promise<{ exit: number | null; last: string; all: string }> {
  for (const [name, [exit, output]] of Object.entries({ npm: first, npx: second })) {
    await writeFile(join(folder, name), `#!/bin/sh\nprintf '%s\\n' '${output}'\nexit ${exit}\n`);
    await chmod(join(folder, name), 0o700);
  }
  const env = { PATH: `${folder}:${process.env.PATH}` };
  const { status, stdout } = spawnSync('bash', [join(folder, '.ci/run')], { env, encoding: 'utf8' });
  return { exit: status, last: stdout.trim().split('\n').at(-1) ?? '', all: stdout };
}

const GOOD: Run = [0, '12 passed, 0 failed'];
const FILE = 'failed file: test/a.test.ts: 3 passed, 2 failed\n\n10 passed, 2 failed';

test('a file that fails and then passes alone is named, and counted once', async () => {
  const { exit, last, all } = await ciRun([1, FILE], [0, '5 passed, 0 failed']);
  expect([exit, last]).toEqual([0, '12 passed, 0 failed']);
  expect(all).toContain('passed only when run again, alone: test/a.test.ts');
  expect(await ciRun(GOOD, [1, ''])).toMatchObject({ exit: 0, last: '12 passed, 0 failed' });
});

test.each<[string, Run, Run, string]>([
  ['what fails alone', [1, FILE], [1, `${FILE}\n\n4 passed, 1 failed`], '11 passed, 1 failed'],
  ['a second run that says nothing', [1, FILE], [0, 'gone'], '10 passed, 2 failed'],
  ['a second run that skips', [1, FILE], [0, '5 passed, 0 failed, 1 skipped'], '10 passed, 2 failed'],
  ['a second run that never began', [1, FILE], [1, '0 passed, 0 failed'], '7 passed, 1 failed'],
  ['a first run that says nothing', [1, 'gone'], GOOD, '0 passed, 1 failed'],
  ['a first run that never began', [1, '0 passed, 0 failed'], GOOD, '0 passed, 1 failed'],
  [
    'what failed outside of every file',
    [1, FILE.replace('2 failed\n', '1 failed\n')],
    GOOD,
    '10 passed, 2 failed',
  ],
  ['a crash', [1, FILE.replace('test/a', 'test/e2e/crash')], GOOD, '10 passed, 2 failed'],
  [
    'a line that says failed and an exit that does not',
    [0, '10 passed, 2 failed'],
    GOOD,
    '10 passed, 2 failed',
  ],
])('%s has failed', async (_, first, second, line) => {
  expect(await ciRun(first, second)).toMatchObject({ exit: 1, last: line });
});
