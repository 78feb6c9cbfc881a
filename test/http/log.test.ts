import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leafHashOf, parseVkey, type TransparencyLog, verifyCheckpoint } from '../../src/provenance/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { buildGo, requireGo, runGo } from '../harness/go.ts';
import { requirePython } from '../harness/python-cryptography.ts';
import { appendMany } from '../provenance/log-fixtures.ts';

const run = promisify(execFile);
const READERS = resolve(import.meta.dirname, 'log-readers');

let database: TestDatabase;
let gateway: TestGateway;
let log: TransparencyLog;
beforeAll(async () => {
  database = await createTestDatabase();
  gateway = await startTestGateway({ database });
  log = gateway.deps.http.logs.versions;
});
afterAll(async () => {
  await gateway?.close();
  await database?.close();
});

/** Brings the log to this size, whatever the gateway logged by itself, and signs it. */
async function growTo(treeSize: number): Promise<{ treeSize: number; root: Buffer }> {
  const head = await log.readHead();
  await appendMany(database.sql, log, treeSize - head.treeSize);
  const checkpoint = await log.sign();
  if (checkpoint?.treeSize !== treeSize) throw new Error(`the log was signed at ${checkpoint?.treeSize}`);
  return checkpoint;
}

async function readBytes(path: string): Promise<Buffer> {
  const response = await gateway.fetch(path);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('application/octet-stream');
  expect(response.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
  expect(response.headers.get('access-control-allow-origin')).toBe('*');
  return Buffer.from(await response.arrayBuffer());
}

describe('a log over HTTP', () => {
  it('that nothing is in yet signs its empty tree, and has keys and no tiles', async () => {
    const { receipts } = gateway.deps.http.logs;
    const response = await gateway.fetch('/log/receipts/checkpoint');
    expect(response.headers.get('cache-control')).toBe('public, max-age=1');
    const logKeys = receipts.vkeys.map(parseVkey);
    const checkpoint = verifyCheckpoint(await response.text(), { origin: receipts.origin, logKeys });
    expect(checkpoint).toMatchObject({ treeSize: 0, root: createHash('sha256').digest() });
    const vkey = await gateway.fetch('/log/receipts/vkey');
    expect(vkey.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(await vkey.text()).toBe(`${receipts.vkeys[0]}\n`);
  });

  it('that is not what others saw signs no empty tree either', async () => {
    const { receipts } = gateway.deps.http.logs;
    receipts.reportDivergence({ source: 'a test', detail: 'there were leaves' });
    try {
      const response = await gateway.fetch('/log/receipts/checkpoint');
      expect(response.status).toBe(404);
      expect(response.headers.get('cache-control')).toBe('no-store');
    } finally {
      receipts.reportSound('a test');
    }
  });

  it('serves the newest checkpoint, which its vkey verifies, and keeps it from caches', async () => {
    await growTo(300);
    const vkey = (await (await gateway.fetch('/log/vkey')).text()).trim();
    const response = await gateway.fetch('/log/checkpoint');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('public, max-age=1');
    const note = await response.text();
    const checkpoint = verifyCheckpoint(note, { origin: log.origin, logKeys: [parseVkey(vkey)] });
    expect(checkpoint).toMatchObject({ treeSize: 300, root: await log.rootAt(300) });
  });

  it('serves tiles and entries that agree, full and partial ones', async () => {
    const entries = await log.readEntries({ fromIndex: 0, entriesMax: 300 });
    const hashes = entries.map(({ entry }) => leafHashOf(entry));
    expect(await readBytes('/log/tile/0/000')).toEqual(Buffer.concat(hashes.slice(0, 256)));
    expect(await readBytes('/log/tile/0/001.p/44')).toEqual(Buffer.concat(hashes.slice(256)));
    expect(await readBytes('/log/tile/0/001.p/7')).toEqual(Buffer.concat(hashes.slice(256, 263)));
    expect(await readBytes('/log/tile/1/000.p/1')).toEqual(await log.rootAt(256));
    const bundle = await readBytes('/log/tile/entries/001.p/2');
    const first = entries[256]?.entry ?? Buffer.alloc(0);
    expect(bundle.readUInt16BE()).toBe(first.length);
    expect(bundle.subarray(2, 2 + first.length)).toEqual(first);
    expect((await readBytes('/log/tile/entries/000')).length).toBeGreaterThan(256 * 200);
  });

  it('zips entries for who asks, and only those', async () => {
    const ask = (path: string, accept: string) =>
      fetch(gateway.url + path, { headers: { 'accept-encoding': accept } });
    const zipped = await ask('/log/tile/entries/000', 'gzip');
    expect(zipped.headers.get('content-encoding')).toBe('gzip');
    expect(zipped.headers.get('vary')).toContain('accept-encoding');
    const plain = await ask('/log/tile/entries/000', 'identity');
    expect(plain.headers.get('content-encoding')).toBeNull();
    expect(Buffer.from(await zipped.arrayBuffer())).toEqual(Buffer.from(await plain.arrayBuffer()));
    expect((await ask('/log/tile/0/000', 'gzip')).headers.get('content-encoding')).toBeNull();
  });

  it.each([
    ...[
      '/log/tile/0/001',
      '/log/tile/0/001.p/45',
      '/log/tile/0/002.p/1',
      '/log/tile/1/000',
      '/log/tile/2/000.p/1',
    ],
    ...[
      '/log/tile/entries/001',
      '/log/tile/entries/001.p/45',
      '/log/tile/0/x999/x999/999',
      '/log/tile/6/000.p/1',
    ],
    ...['/log/tile/', '/log/tile/0', '/log/tile/0/0', '/log/tile/0/000.p/0', '/log/tile/0/000.p/256'],
    ...['/log/tile/64/000', '/log/tile/-1/000', '/log/tile/0/000%0a', '/log/tile/0/%00', '/log/tile/a/b/c'],
    ...['/log/receipts/tile/0/000.p/1', '/log/receipts/tile/entries/000.p/1'],
  ])('answers 404 for %s, which no checkpoint covers, and keeps it from caches', async (path) => {
    const response = await gateway.fetch(path);
    expect(response.status).toBe(404);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(await response.json()).toMatchObject({ type: expect.stringContaining('not-found'), ok: false });
  });

  it('serves what is not signed yet only once it is', async () => {
    const path = '/log/tile/0/001.p/45';
    expect((await gateway.fetch(path)).status).toBe(404);
    await growTo(301);
    expect(await readBytes(path)).toHaveLength(45 * 32);
  });
});

/** The reader's source, with the packages that Go ships for its own checksum database: nothing is fetched. */
function putGoReader(folder: string): void {
  const vendored = join(runGo(folder, ['env', 'GOROOT']).trim(), 'src/cmd/vendor/golang.org/x');
  for (const name of ['mod/sumdb/note', 'mod/sumdb/tlog', 'crypto/ed25519']) {
    // Newer ones have Ed25519 in the standard library alone.
    if (existsSync(join(vendored, name)))
      cpSync(join(vendored, name), join(folder, name), { recursive: true });
  }
  const modules = ['mod', 'crypto'].map((name) => {
    mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(join(folder, name, 'go.mod'), `module golang.org/x/${name}\n\ngo 1.17\n`);
    return `require golang.org/x/${name} v0.0.0\n\nreplace golang.org/x/${name} => ./${name}\n`;
  });
  writeFileSync(join(folder, 'go.mod'), `module reader\n\ngo 1.17\n\n${modules.join('\n')}`);
  cpSync(join(READERS, 'main.go'), join(folder, 'main.go'));
}

describe('a stock reader', () => {
  it("written in Python from the specifications replays the log and proves an entry's inclusion", async () => {
    const { root } = await growTo(600);
    const { stdout } = await run(
      requirePython(),
      [join(READERS, 'read_log.py'), `${gateway.url}/log`, log.vkeys[0] ?? '', '599'],
      { timeout: 60_000 },
    );
    const [last] = await log.readEntries({ fromIndex: 599, entriesMax: 1 });
    expect(stdout).toBe(`size 600\nroot ${root.toString('base64')}\n${last?.entry}`);
  });

  it("of Go's checksum database verifies checkpoint, inclusion and consistency", async () => {
    const missing = requireGo();
    if (missing !== undefined) throw new Error(missing);
    const old = await log.sign();
    const { treeSize, root } = await growTo(700);
    const folder = mkdtempSync(join(tmpdir(), 'millicent-reader-'));
    try {
      putGoReader(folder);
      const program = buildGo(folder);
      try {
        const args = [`${gateway.url}/log`, log.vkeys[0] ?? '', '300'];
        args.push(String(old?.treeSize), old?.root.toString('base64') ?? '');
        const { stdout } = await run(program.path, args, { timeout: 60_000 });
        const [entry] = await log.readEntries({ fromIndex: 300, entriesMax: 1 });
        expect(stdout).toBe(`size ${treeSize}\nroot ${root.toString('base64')}\n${entry?.entry}`);
        // A log that does not begin with what was seen before is refused.
        const fork = [...args.slice(0, 4), leafHashOf('x').toString('base64')];
        await expect(run(program.path, fork, { timeout: 60_000 })).rejects.toThrow();
      } finally {
        program.remove();
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
