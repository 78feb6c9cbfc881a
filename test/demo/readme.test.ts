import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Development, startDevelopment } from '../../scripts/dev/stack.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** What a program and a command of the README find in the clone that they are started in. */
const CLONE = ['node_modules', 'package.json', 'scripts', 'src'];
const START_TIMEOUT_MS = 120_000;
const SHELL_TIMEOUT_MS = 180_000;
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');

let folder: string;
let stack: Development;

/** A folder like a fresh clone in which `npm run dev` is running, and the README's programs in it. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millicent-readme-'));
  for (const name of CLONE) symlinkSync(join(ROOT, name), join(folder, name));
  const blocks = README.matchAll(/```(?:js|ts)\n(\/\/ ([a-z-]+\.m?[jt]s): .*?)```/gs);
  for (const [, text = '', name = ''] of blocks) writeFileSync(join(folder, name), text);
  stack = await startDevelopment({
    env: { ...process.env, MILLICENT_DATA_DIR: join(folder, '.millicent'), PORT: '0' },
    output: 'ignore',
  });
}, START_TIMEOUT_MS);
afterAll(async () => {
  await stack?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a program of the README as it says. */
function run(name: string, ...args: string[]): Promise<string> {
  const flags = name.endsWith('.ts') ? ['--import', 'tsx'] : [];
  return start(process.execPath, [...flags, name, ...args]);
}

function start(program: string, args: string[]): Promise<string> {
  const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk));
  return new Promise((done, fail) => {
    child.once('close', (code) =>
      code === 0 ? done(output) : fail(new Error(`${program} ${args[0]} ended with ${code}: ${output}`)),
    );
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

test("the README's shell lines, in their order, publish a signed release, buy a call and check both", {
  timeout: SHELL_TIMEOUT_MS,
}, async () => {
  const blocks = [...README.matchAll(/```sh\n(.*?)```/gs)].map(([, text = '']) => text);
  // The demo has a test of its own, and what `npm run dev` starts runs here.
  const [clone, dev, ...lines] = blocks;
  expect([clone, dev]).toEqual([
    expect.stringContaining('npm run demo\n'),
    expect.stringMatching(/^npm run dev\n$/),
  ]);
  const script = lines.map((text) => {
    if (text.startsWith('millicent witness')) return untilItServes(text.trim());
    return text.includes('> bundle.json') ? untilAnchored(text) : text;
  });
  const output = await start('bash', ['-ec', script.join('\n')]);
  expect(output).toMatch(/^HTTP\/1.1 402 /);
  expect(output).toMatch(/^v1\.0\.0 verified on \d{4}-\d\d-\d\d, sha256:[0-9a-f]{64}$/m);
  expect(output.match(/^VERIFIED quill\/readability 1\.0\.0: leaf /gm)).toHaveLength(2);
  expect(output).toContain('The code at hand is the code that was published');
  expect(output).toMatch(/holds the checkpoint's root and size as anchor \d/);
  expect(output).toMatch(/^VERIFIED receipt [0-9a-f-]{36} of /m);
  expect(output).toMatch(/^THE SAME$/m);
  expect(output).toMatch(/^VERIFIED millicent\.localhost: \d+ leaves$/m);
  expect(output).toMatch(/anchors on the chain are roots of this log/);
  expect(output).toMatch(/^quill\/readability: 1 sales on 1 lanes/m);
  expect(output).toMatch(/^No sale .*was left out: receipts, log and books agree\.$/m);
  expect(output).toMatch(/^Everything holds: \d+ entries/m);
  expect(output).toMatch(/^w\.example\/1\+[0-9a-f]{8}\+\S+\nhttp:\/\/127\.0\.0\.1:\d+$/m);
});

/** A version is anchored seconds after it was published. */
function untilAnchored(text: string): string {
  const bundle = '$URL/mcp/quill%2Freadability/versions/1.0.0/bundle';
  return `until curl -s ${bundle} | grep -q '"anchor":{'; do sleep 0.2; done\n${text}`;
}

/** A witness runs until it is stopped. */
function untilItServes(command: string): string {
  const steps = [
    ...['set -m', `${command} --listen 127.0.0.1:0 > witness.out &`],
    ...['until grep -q http: witness.out; do sleep 0.2; done', 'cat witness.out', 'kill -- -$!'],
  ];
  return steps.join('\n');
}
