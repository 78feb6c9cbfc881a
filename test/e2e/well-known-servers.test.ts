import { readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { jsonBody } from './fixtures.ts';
import { balanceOf, bearer, readBody, type Surface, startSurface } from './surface.ts';

/**
 * Servers that everybody knows from npm, uploaded as they are: their code and what it depends on are installed from
 * a lock file in a build jail, and run in a jail for each call.
 */

const LOCK = {
  'package.json': readFileSync(new URL('servers/npm/package.json', import.meta.url), 'utf8'),
  'package-lock.json': readFileSync(new URL('servers/npm/package-lock.json', import.meta.url), 'utf8'),
};
const importing = (name: string) => `await import('@modelcontextprotocol/server-${name}/dist/index.js');\n`;

/** The first build fetches a hundred packages. */
vi.setConfig({ testTimeout: 180_000 });

let surface: Surface;
let key: string;

beforeAll(async () => {
  // Builds believe whom Node is told to believe on this machine.
  surface = await startSurface({ NODE_EXTRA_CA_CERTS: process.env.NODE_EXTRA_CA_CERTS ?? '' });
  key = await surface.gateway.mint(100_000, ['publish', 'invoke', 'read']);
});
afterAll(() => surface.close());

async function upload(name: string, source: string) {
  const body = {
    ...{ name: `npm/${name}`, version: '2026.8.31', description: `The ${name} server`, license: 'MIT' },
    ...{ language: 'node', tier: 'hobbyist', entrypoint: 'server.mjs', limits: { timeout_ms: 20_000 } },
    pricing: { model: 'per_call', amount_mcents: 100 },
    files: { ...LOCK, 'server.mjs': source },
  };
  const response = await surface.gateway.fetch('/mcp', jsonBody(body, bearer(key)));
  const published = await readBody(response);
  expect(response.status, JSON.stringify(published)).toBe(201);
  return published as typeof published & { tools: string[]; layer_hash: string };
}

async function connect(id: string): Promise<Client> {
  const client = new Client({ name: 'agent', version: '1' });
  const url = new URL(`${surface.gateway.url}/mcp/${id}`);
  // The SDK's own types are not exact about optional members.
  await client.connect(
    new StreamableHTTPClientTransport(url, {
      requestInit: { headers: bearer(key) },
    }) as unknown as Parameters<Client['connect']>[0],
  );
  return client;
}

test('server-everything answers its tools, resources and prompts, and is paid for its calls', async () => {
  const { id, tools } = await upload('everything', importing('everything'));
  expect(tools).toContain('echo');
  const client = await connect(id);
  const before = await balanceOf(surface.gateway, key);
  const answer = await client.callTool({ name: 'echo', arguments: { message: 'hello' } });
  expect(answer).toMatchObject({ content: [{ type: 'text', text: expect.stringContaining('hello') }] });
  expect(await balanceOf(surface.gateway, key)).toBe(before - 100);
  const { resources } = await client.listResources();
  expect(resources.length).toBeGreaterThan(0);
  const read = await client.readResource({ uri: resources[0]?.uri ?? '' });
  expect(read.contents.length).toBeGreaterThan(0);
  const { prompts } = await client.listPrompts();
  expect(prompts.length).toBeGreaterThan(0);
  expect(await client.getPrompt({ name: prompts[0]?.name ?? '' })).toMatchObject({
    messages: expect.any(Array),
  });
  await client.close();
});

test('server-memory keeps what one call tells it for that call alone', async () => {
  const { id } = await upload(
    'memory',
    `process.env.MEMORY_FILE_PATH = '/tmp/memory.jsonl';\n${importing('memory')}`,
  );
  const client = await connect(id);
  const entities = [{ name: 'Ada', entityType: 'person', observations: ['wrote programs'] }];
  const created = await client.callTool({ name: 'create_entities', arguments: { entities } });
  expect(JSON.stringify(created)).toContain('Ada');
  expect(JSON.stringify(await client.callTool({ name: 'read_graph', arguments: {} }))).not.toContain('Ada');
  await client.close();
});

test('server-filesystem reads and writes its folder, which is the jail’s own', async () => {
  const { id } = await upload('filesystem', `process.argv.push('/tmp');\n${importing('filesystem')}`);
  const client = await connect(id);
  const written = await client.callTool({
    name: 'write_file',
    arguments: { path: '/tmp/note.txt', content: 'x' },
  });
  expect(written).not.toMatchObject({ isError: true });
  const outside = await client.callTool({ name: 'read_text_file', arguments: { path: '/etc/passwd' } });
  expect(outside).toMatchObject({ isError: true });
  const listed = await client.callTool({ name: 'list_directory', arguments: { path: '/tmp' } });
  expect(JSON.stringify(listed)).not.toContain('note.txt');
  await client.close();
});

test('the same lock is installed once, whoever publishes it', async () => {
  const first = await upload('once-more', importing('everything'));
  const second = await upload('and-again', importing('memory'));
  expect(second.layer_hash).toBe(first.layer_hash);
});
