import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Development, startDevelopment } from '../../scripts/dev/stack.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** Where modules find the project's packages, as a file beside `package.json` does. */
const PROGRAMS = join(ROOT, '.millicent', `readme-${randomUUID()}`);
/** From the project's packages, wherever the program is started. */
const TSX = import.meta.resolve('tsx');
const START_TIMEOUT_MS = 120_000;

let folder: string;
let stack: Development;

/** A folder like a fresh clone in which `npm run dev` is running, and the README's programs beside it. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millicent-readme-'));
  const dataDir = join(folder, '.millicent');
  stack = await startDevelopment({
    env: { ...process.env, MILLICENT_DATA_DIR: dataDir, PORT: '0' },
    output: 'ignore',
  });
  symlinkSync(join(ROOT, 'scripts'), join(folder, 'scripts'));
  mkdirSync(PROGRAMS, { recursive: true });
  const blocks = readFileSync(join(ROOT, 'README.md'), 'utf8').matchAll(
    /```(?:js|ts)\n(\/\/ ([a-z-]+\.m?[jt]s): .*?)```/gs,
  );
  for (const [, text = '', name = ''] of blocks) {
    writeFileSync(join(PROGRAMS, name), text.replaceAll(`'./src/`, `'${ROOT}/src/`));
  }
}, START_TIMEOUT_MS);
afterAll(async () => {
  await stack?.close();
  rmSync(PROGRAMS, { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a program of the README as it says. */
function run(name: string, ...args: string[]): Promise<string> {
  const flags = name.endsWith('.ts') ? ['--import', TSX] : [];
  const child = spawn(process.execPath, [...flags, join(PROGRAMS, name), ...args], {
    cwd: folder,
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk));
  return new Promise((done, fail) => {
    child.once('close', (code) => (code === 0 ? done(output) : fail(new Error(`${name}: ${output}`))));
  });
}

async function mint(scopes: string[]): Promise<string> {
  const response = await fetch(`${stack.info.url}/v1/admin/mint`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-admin-key': stack.info.adminKey },
    body: JSON.stringify({ balance_mcents: 10_000, scopes }),
  });
  return ((await response.json()) as { key: string }).key;
}

test('the first paid call of the README pays, signs up and uses the key', async () => {
  const output = await run('first-call.mjs');
  expect(output).toContain('200 {\n  ok: true');
  expect(output).toMatch(/mcp_[0-9a-f]{48} 10000/);
  expect(output).toContain('balance_mcents: 9900');
});

test.each(['pay-by-lightning.mjs', 'pay-by-tempo.mjs'])('%s of the README pays the example', async (name) => {
  expect(await run(name)).toContain('charged_mcents: 100');
});

test('pay-by-card.mjs of the README fills a key', async () => {
  expect(await run('pay-by-card.mjs', await mint(['example']))).toContain('balance_mcents: 60000');
});

test('agent.ts of the README pays one call, is refused the next, and says what it spent', async () => {
  const output = await run('agent.ts');
  expect(output).toContain('200 lightning 200n');
  expect(output).toContain('true 10100 mcents is more than the per-call limit leaves: 500 mcents');
});

test('child-key.mjs of the README stops at its cap', async () => {
  const output = await run('child-key.mjs', await mint(['example']));
  expect(output.match(/status: 200/g)).toHaveLength(3);
  expect(output).toContain('status: 403');
  expect(output).toContain('former_key_valid_until');
});

test('publish.mjs of the README lists a server whose first calls are free', async () => {
  const key = await mint(['all']);
  expect(await run('publish.mjs', key, 'acme/text-analysis')).toContain('201');
  const answer = await fetch(`${stack.info.url}/invoke/acme%2Ftext-analysis`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ tool: 'analyze_text', arguments: { text: 'Read me.' } }),
  });
  expect(await answer.json()).toMatchObject({ ok: true, charged_mcents: 0, free_calls_left: 2 });
});

test('upload.mjs of the README lists a server from an archive', async () => {
  const output = await run('upload.mjs', await mint(['all']));
  expect(output).toContain('201 {\n  ok: true');
  expect(output).toContain("'extract_key_phrases'");
});

test('mcp-client.mjs of the README finds what is listed, and verifies the marketplace by itself', async () => {
  const output = await run('mcp-client.mjs', await mint(['invoke']));
  expect(output).toContain("'millicent'");
  expect(output).toContain('verified true');
});
