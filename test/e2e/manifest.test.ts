import { afterAll, beforeAll, expect, test } from 'vitest';
import { readManifest } from '../../src/catalog/index.ts';
import { readArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { canonicalJson } from '../../src/core/canonical-json.ts';
import { decodeLeaf, readLog } from '../../src/provenance/index.ts';
import type { TestGateway } from '../harness/gateway.ts';
import { jsonBody, publishEcho, submission } from './fixtures.ts';
import { bearer, expectProblem, readBody, type Surface, startSurface } from './surface.ts';

let surface: Surface;
let gateway: TestGateway;

beforeAll(async () => {
  surface = await startSurface();
  gateway = surface.gateway;
});
afterAll(() => surface.close());

type Listing = Record<string, string | number | boolean | null> & {
  runtime: { root_hash: string };
  version: string;
};

const readListing = async (id: string) =>
  (await (await gateway.fetch(`/mcp/${encodeURIComponent(id)}`)).json()) as Listing;

async function readLeaf(tool: string, version: string) {
  const entries = await readLog(gateway.deps.http.sql, { fromIndex: 0n, entriesMax: 1_000 });
  const leaves = entries.flatMap(({ entry, leafIndex }) => {
    const leaf = decodeLeaf(entry);
    return leaf?.kind === 'publish' ? [{ ...leaf, index: Number(leafIndex) }] : [];
  });
  const found = leaves.find((leaf) => leaf.tool === tool && leaf.version === version);
  if (!found) throw new Error(`the log has no ${tool} ${version}`);
  return found;
}

const part = (id: string, what: string, version = '1.0.0') =>
  gateway.fetch(`/mcp/${encodeURIComponent(id)}/versions/${encodeURIComponent(version)}/${what}`);

async function verify(server: string): Promise<unknown> {
  const asked = jsonBody({ tool: 'verify_version', arguments: { server } });
  const answer = await gateway.fetch('/invoke/millicent', asked);
  return (await readBody(answer)).result.structuredContent;
}

test('the manifest is served as the bytes whose hash the leaf names, and says what runs', async () => {
  const server = await publishEcho(gateway, { limits: { timeout_ms: 9_000, memory_mb: 128 } });
  const listing = await readListing(server.id);
  const leaf = await readLeaf(server.name, '1.0.0');
  const response = await part(server.id, 'manifest');
  expect(response.headers.get('content-type')).toBe('application/json');
  expect(response.headers.get('cache-control')).toContain('immutable');
  const text = await response.text();
  expect(sha256Hex(text)).toBe(leaf.manifest);
  expect(listing).toMatchObject({
    ...{ manifest_hash: `sha256:${leaf.manifest}`, log_index: leaf.index, deterministic: false },
    verified: null,
  });
  expect(canonicalJson(JSON.parse(text))).toBe(text);
  expect(JSON.parse(text)).toEqual({
    ...{ v: 1, name: server.name, version: '1.0.0', tier: 'hobbyist', runtime: 'python' },
    ...{
      entrypoint: 'server.py',
      code: `sha256:${leaf.sha256}`,
      root: listing.runtime.root_hash,
      layer: null,
    },
    ...{ tools: listing.tools_hash, limits: { timeout_ms: 9_000, memory_mb: 128 }, hosts: [] },
    ...{ endpoint: null, deterministic: false, signature: null },
  });
  expect(readManifest(text)).toMatchObject({
    limits: { runTimeoutMs: 9_000, memoryBytesMax: 128 * 1024 * 1024 },
  });
});

test('what the gateway sells itself has manifests as well', async () => {
  const marketplace = await readListing('millicent');
  const own = await part('millicent', 'manifest', marketplace.version);
  const leaf = await readLeaf('millicent', marketplace.version);
  expect(sha256Hex(await own.text())).toBe(leaf.manifest);
  expect(await verify('millicent')).toMatchObject({ verified: true });

  const entries = await readLog(gateway.deps.http.sql, { fromIndex: 0n, entriesMax: 10 });
  const example = entries
    .map(({ entry }) => decodeLeaf(entry))
    .find((one) => one?.kind === 'publish' && one.tool === 'millicent/example');
  if (example?.kind !== 'publish') throw new Error('the example is not in the log');
  const manifest = await part('millicent/example', 'manifest', example.version);
  expect(sha256Hex(await manifest.text())).toBe(example.manifest);
  expect((await part('millicent/example', 'manifest', '0.0.1')).status).toBe(404);
});

test('a version from before manifests still verifies by its tools, and is told to have none', async () => {
  const server = await publishEcho(gateway);
  const { tools_hash: toolsHash, code_hash: codeHash } = await readListing(server.id);
  await rewrite(async (sql) => {
    const entry = (await readLog(sql, { fromIndex: 0n, entriesMax: 1_000 })).find((one) =>
      one.entry.toString().includes(server.name),
    );
    const old = entry?.entry.toString().replace(/^manifest .*$/m, `manifest ${String(toolsHash).slice(7)}`);
    await sql`UPDATE log_entry SET entry = ${Buffer.from(old ?? '')} WHERE log = 1 AND leaf_index = ${entry?.leafIndex ?? 0n}`;
    await sql`UPDATE catalog_version SET manifest = NULL WHERE server_id = ${server.id}`;
  });
  // What never changes is remembered for good: another gateway reads it anew.
  const other = await surface.startAnother({ anvil: surface.anvil });
  const listing = await (await other.fetch(`/mcp/${server.id}`)).json();
  expect(listing).toMatchObject({ manifest_hash: null, tools_hash: toolsHash, code_hash: codeHash });
  await expectProblem(await other.fetch(`/mcp/${server.id}/versions/1.0.0/manifest`), 404, 'not-found');
  const asked = jsonBody({ tool: 'verify_version', arguments: { server: server.id } });
  const verdict = await readBody(await other.fetch('/invoke/millicent', asked));
  expect(verdict.result.structuredContent).toMatchObject({ verified: true });
});

test('a manifest that was changed behind the log is named so', async () => {
  const server = await publishEcho(gateway);
  await rewrite(async (sql) => {
    await sql`UPDATE catalog_version SET manifest = replace(manifest, 'server.py', 'other.py') WHERE server_id = ${server.id}`;
  });
  expect(await verify(server.id)).toMatchObject({
    verified: false,
    checks: [{ ok: true }, { ok: true }, { ok: false }, { ok: false }],
  });
});

test('what calls would run on is held against the manifest', async () => {
  const server = await publishEcho(gateway);
  await rewrite(async (sql) => {
    await sql`UPDATE catalog_version SET entrypoint = 'other.py' WHERE server_id = ${server.id}`;
  });
  expect(await verify(server.id)).toMatchObject({
    verified: false,
    checks: [{ ok: true }, { ok: true }, { ok: true }, { ok: false }],
  });
});

test('deterministic code is open to everyone, the same bytes that were logged, and other code is not', async () => {
  const closed = await publishEcho(gateway);
  for (const what of ['code', 'layer']) {
    expect(await expectProblem(await part(closed.id, what), 403, 'forbidden')).toMatchObject({
      detail: expect.stringContaining('deterministic'),
    });
  }
  const open = await publishEcho(gateway, { deterministic: true });
  const listing = await readListing(open.id);
  expect(listing.deterministic).toBe(true);
  const response = await part(open.id, 'code');
  expect(response.headers.get('content-type')).toBe('application/x-tar');
  const archive = Buffer.from(await response.arrayBuffer());
  expect(`sha256:${sha256Hex(archive)}`).toBe(listing.code_hash);
  const digest = Buffer.from(sha256Hex(archive), 'hex').toString('base64');
  expect(response.headers.get('repr-digest')).toBe(`sha-256=:${digest}:`);
  expect([...readArchive(archive).keys()]).toEqual(['server.py']);
  await expectProblem(await part(open.id, 'layer'), 404, 'not-found');
  await expectProblem(await part(open.id, 'code', '9.9.9'), 404, 'not-found');
  await expectProblem(await part('nobody/nothing', 'code'), 404, 'not-found');
  expect(JSON.parse(await (await part(open.id, 'manifest')).text())).toMatchObject({ deterministic: true });
});

test('the promise is refused of code that reaches hosts, and of a server that runs elsewhere', async () => {
  const key = await gateway.mint(0, ['publish']);
  const refuse = async (change: Record<string, unknown>) => {
    const body = submission('promises/one', { deterministic: true, ...change });
    return expectProblem(await gateway.fetch('/mcp', jsonBody(body, bearer(key))), 422, 'invalid-arguments');
  };
  expect(await refuse({ network: { hosts: ['api.example.com'] } })).toMatchObject({ field: 'deterministic' });
  expect(await refuse({ deterministic: 'yes' })).toMatchObject({ field: 'deterministic' });
});

test('the promise is part of the version: the same number with another promise is a conflict', async () => {
  const server = await publishEcho(gateway, { deterministic: true });
  const put = (change: Record<string, unknown>) => {
    const body = submission(server.name, change);
    return gateway.fetch(`/mcp/${server.id}`, { ...jsonBody(body, bearer(server.key)), method: 'PUT' });
  };
  expect((await put({ deterministic: true })).status).toBe(200);
  await expectProblem(await put({}), 409, 'conflict');
});

/** What no gateway does: rows that never change are changed, by an owner of the tables who takes the guards off. */
async function rewrite(change: (sql: typeof gateway.deps.http.sql) => Promise<void>): Promise<void> {
  const { sql } = gateway.deps.http;
  const tables = ['catalog_version', 'log_entry'];
  for (const table of tables) await sql.unsafe(`ALTER TABLE ${table} DISABLE TRIGGER USER`);
  try {
    await change(sql);
  } finally {
    for (const table of tables) await sql.unsafe(`ALTER TABLE ${table} ENABLE TRIGGER USER`);
  }
}
