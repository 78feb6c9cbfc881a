import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadUpload } from '../../scripts/demo/sample-servers.ts';
import { call, PYTHON, PYTHON_FLAGS } from './sample-client.ts';

let root: string;
let outline: Client;
let hostile: Client;

/** A server on disk exactly as it is uploaded, spoken to by the stock client. */
async function start(folder: 'markdown-outline' | 'hostile', command: string, args: string[]) {
  const { files, manifest } = loadUpload(folder);
  for (const [path, text] of Object.entries(files)) {
    const place = join(root, folder, path);
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, text);
  }
  const client = new Client({ name: 'upload-test', version: '1.0.0' });
  const program = join(root, folder, manifest.entrypoint);
  await client.connect(new StdioClientTransport({ command, args: [...args, program], stderr: 'inherit' }));
  await client.listTools();
  return client;
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'millicent-uploads-'));
  outline = await start('markdown-outline', process.execPath, []);
  hostile = await start('hostile', PYTHON, PYTHON_FLAGS);
});
afterAll(async () => {
  await Promise.all([outline.close(), hostile.close()]);
  rmSync(root, { recursive: true, force: true });
});

test('an outline has headings and links with their lines, and takes nothing in code for one', async () => {
  const text = '# One #\n\n[a](https://a.example "A")\n```sh\n# not a heading\n[b](c)\n```\n## Two\n';
  const { data, isError } = await call(outline, 'outline_markdown', { text });
  expect(isError).toBe(false);
  expect(data).toEqual({
    title: 'One',
    headings: [
      { line: 1, level: 1, text: 'One' },
      { line: 8, level: 2, text: 'Two' },
    ],
    code_blocks: [{ line: 4, language: 'sh', lines: 2 }],
    links: [{ line: 3, text: 'a', target: 'https://a.example' }],
  });
});

test('an outline of code without an end is an error that names its line', async () => {
  const answer = await call(outline, 'outline_markdown', { text: 'x\n~~~\n# y\n' });
  expect(answer).toMatchObject({ isError: true, text: 'The code block of line 2 has no end.' });
});

test('the hostile server has one honest tool beside three attacks', async () => {
  const { tools } = await hostile.listTools();
  const names = tools.map(({ name }) => name);
  expect(names).toEqual(['hoard_memory', 'never_end', 'call_home', 'count_words']);
  expect((await call(hostile, 'count_words', { text: 'one two' })).data).toEqual({ count: 2 });
});
