import { spawn } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');
let clone: string;

/** A clone whose sources may be changed; the packages are ours. */
beforeAll(() => {
  clone = mkdtempSync(join(tmpdir(), 'millicent-start-'));
  mkdirSync(join(clone, 'node_modules'));
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (name !== '.cache') symlinkSync(join(ROOT, 'node_modules', name), join(clone, 'node_modules', name));
  }
  for (const name of [
    'src',
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'scripts/start.mjs',
    'scripts/patches.mjs',
  ]) {
    cpSync(join(ROOT, name), join(clone, name), { recursive: true });
  }
});
afterAll(() => rmSync(clone, { recursive: true, force: true }));

/** `npm start` that ends at once, over a mistake in the configuration. */
async function start(): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [join(clone, 'scripts/start.mjs')], {
    env: { PATH: process.env.PATH, PORT: 'x' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, stderr: stderr.trim() };
}

const cache = () => join(clone, 'node_modules/.cache/millicent');
const bundles = () => readdirSync(cache()).filter((name) => name.startsWith('gateway-'));
const MISTAKE = { code: 1, stderr: 'millicent: PORT must be a whole number' };

test('npm start runs one bundle of the sources as they are, made once; what was changed or is broken never runs', async () => {
  expect(await start()).toEqual(MISTAKE);
  expect(bundles()).toHaveLength(1);
  expect(await start()).toEqual(MISTAKE);
  expect(bundles()).toHaveLength(1);
  const main = join(cache(), bundles()[0] ?? '', 'main.mjs');
  const whole = readFileSync(main, 'utf8');
  // As a machine that lost its power leaves it.
  writeFileSync(main, whole.slice(0, whole.length / 2));
  expect(await start()).toEqual(MISTAKE);
  expect(readFileSync(main, 'utf8')).toBe(whole);
  appendFileSync(join(clone, 'src/main.ts'), "\nconsole.error('changed');\n");
  expect((await start()).stderr).toContain('changed');
  expect(bundles()).toHaveLength(2);
}, 60_000);

test('where no bundle can be kept the sources run, and the reason is told', async () => {
  rmSync(cache(), { recursive: true });
  writeFileSync(cache(), 'not a folder');
  const { code, stderr } = await start();
  expect(code).toBe(1);
  expect(stderr).toMatch(/^start: running from the sources, as no bundle could be made of them: /);
  expect(stderr).toContain(MISTAKE.stderr);
  rmSync(cache());
}, 60_000);

test('traces of a bundle name the sources', async () => {
  appendFileSync(join(clone, 'src/config.ts'), "\nthrow new Error('fell');\n");
  const lines = readFileSync(join(clone, 'src/config.ts'), 'utf8').split('\n').length;
  expect((await start()).stderr).toContain(join(clone, `src/config.ts:${lines - 1}:`));
}, 60_000);
