import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createLayers, type Layers } from '../../src/catalog/layers/layers.ts';
import { readArchive, writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { keepLog } from '../../src/execution/build/build-log.ts';
import { type Build, type BuilderDeps, createBuilder } from '../../src/execution/build/builder.ts';
import { readInstalled } from '../../src/execution/build/installed-files.ts';
import { createToolchain } from '../../src/execution/build/toolchain.ts';
import { createEgress, type EgressProxies } from '../../src/execution/egress/egress.ts';
import { type Backend, DEFAULT_LIMITS } from '../../src/execution/index.ts';
import { injectCode } from '../../src/execution/inject.ts';
import { awaitReady } from '../../src/execution/ready.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { type PackageIndex, startPackageIndex } from '../harness/package-index.ts';
import { TEST_TLS } from '../harness/tls.ts';
import { findLastingTraces, NO_TRACES, never, testBackend } from './harness.ts';

let backend: Backend;
let index: PackageIndex;
let database: TestDatabase;
let layers: Layers;
let egress: EgressProxies;
let sockets: string;

beforeAll(async () => {
  backend = testBackend();
  database = await createTestDatabase();
  layers = createLayers({ sql: database.sql, clock: systemClock });
  sockets = mkdtempSync(join(tmpdir(), 'egress-'));
  egress = createEgress({
    log: silentLog,
    workDir: sockets,
    resolve: async (name) => (name.endsWith('.allowed.test') ? ['127.0.0.1'] : []),
    isAllowedAddress: (address) => address === '127.0.0.1',
  });
});

beforeEach(async () => {
  index = await startPackageIndex();
});

afterEach(async () => {
  await index.close();
  await expect.poll(() => readdirSync(sockets), { timeout: 10_000 }).toEqual([]);
  expect(await findLastingTraces()).toEqual(NO_TRACES);
});

afterAll(async () => {
  await egress.close();
  await backend.close();
  await database.close();
  rmSync(sockets, { recursive: true });
});

describe('a build of requirements.txt', () => {
  test('installs wheels from the index into a layer that a jail imports, and installs the same only once', async () => {
    const hello = index.addWheel('hello-world', [
      { path: 'hello_world/__init__.py', text: 'GREETING = "hi"\n' },
    ]);
    const other = index.addWheel('other', [{ path: 'other.py', text: 'import hello_world\n' }], '2.5.0');
    const built = await buildPython(`${hello}\n${other}\n`);
    expect(built).toMatchObject({ kind: 'built' });
    expect(logOf(built)).toContain('Successfully installed hello-world-1.0.0 other-2.5.0');
    const asked = index.asked.length;
    const again = await buildPython(`# the same, otherwise written\n${other}\n${hello}\n`);
    expect(again).toMatchObject({ kind: 'built', layerSha256: layerOf(built) });
    expect(index.asked).toHaveLength(asked);
    const program = 'import other\nprint(other.hello_world.GREETING, other.__file__)';
    expect(await runWithLayer('python', program, layerOf(built))).toBe(
      `hi /layers/${layerOf(built)}/python/other.py\n`,
    );
  });

  test('that start programs, come with data, or shadow each other run nothing and stay inside', async () => {
    const wheel = index.addWheel('sneaky', [
      { path: 'sneaky.pth', text: 'import os; os._exit(9)\n' },
      { path: 'sitecustomize.py', text: 'raise SystemExit(9)\n' },
      { path: 'usercustomize.py', text: 'raise SystemExit(9)\n' },
      { path: 'json.py', text: 'raise SystemExit(9)\n' },
      { path: 'sneaky.py', text: 'X = 1\n' },
      { path: 'sneaky-1.0.0.data/scripts/run.sh', text: '#!python\n' },
      { path: 'sneaky-1.0.0.data/data/etc/passwd', text: 'root' },
      { path: 'sneaky-1.0.0.data/headers/../../up.h', text: '' },
    ]);
    const built = await buildPython(wheel);
    if (built.kind === 'refused') return expect(logOf(built)).not.toBe('');
    for (const path of await filesOf(layerOf(built))) expect(path).toMatch(/^python\/(?!.*\.\.)/);
    const program = 'import json, sneaky\nprint(json.dumps(sneaky.X))';
    return expect(await runWithLayer('python', program, layerOf(built))).toBe('1\n');
  });

  test('is made of files only, with one mode, the same bytes whenever it is built', async () => {
    const line = index.addWheel('modes', [
      { path: 'modes/run.py', text: '#!/usr/bin/python\n', mode: 0o755 },
    ]);
    const first = layerOf(await buildPython(line));
    await database.sql`TRUNCATE catalog_layer, catalog_layer_part, catalog_layer_recipe`;
    expect(layerOf(await buildPython(line))).toBe(first);
    expect(await filesOf(first)).toContain('python/modes/run.py');
  });

  test('of another content than was hashed is refused, and the publisher reads why', async () => {
    index.addWheel('changed', [{ path: 'changed.py', text: 'bad' }]);
    const built = await buildPython(`changed==1.0.0 --hash=sha256:${'a'.repeat(64)}`);
    expect(built).toMatchObject({ kind: 'refused', detail: expect.stringContaining('build_log') });
    expect(logOf(built)).toMatch(/DO NOT MATCH THE HASHES/);
  });

  test('never runs setup.py: source distributions are not installed', async () => {
    const line = index.addSource('source', [
      { path: 'setup.py', text: 'raise SystemExit("setup.py ran")\n' },
      { path: 'PKG-INFO', text: 'Metadata-Version: 2.1\nName: source\nVersion: 1.0.0\n' },
    ]);
    const built = await buildPython(line);
    expect(built.kind).toBe('refused');
    expect(logOf(built)).toContain('No matching distribution');
    expect(logOf(built)).not.toContain('setup.py ran');
  });

  test.each([
    ['climbs out of its folder', { path: '../../../mcp/escaped.py', text: 'x' }],
    ['names an absolute path', { path: '/tmp/escaped.py', text: 'x' }],
    ['is a link out', { path: 'linked/secrets', linkTo: '/etc/passwd' }],
    [
      'writes beside Python by way of its data',
      { path: 'evil-1.0.0.data/data/../../../usr/lib/x.py', text: 'x' },
    ],
  ])('of a wheel with an entry that %s leaves nothing outside, and no link', async (_, entry) => {
    const name = `evil-${sha256Hex(entry.path).slice(0, 6)}`;
    const line = index.addWheel(name, [{ path: `${name}.py`, text: 'fine = 1\n' }, entry]);
    const built = await buildPython(line);
    if (built.kind === 'refused') return expect(logOf(built)).not.toBe('');
    const read = readArchive(await layers.open(layerOf(built)).read(), { longPaths: 'pax' });
    for (const [path, content] of read) {
      expect(path).toMatch(/^python\//);
      expect(path).not.toContain('..');
      expect(content.toString()).not.toContain('root:');
    }
    return expect(read.size).toBeGreaterThan(3);
  });

  test('reaches the index and no other host, whatever the index says', async () => {
    const sha = 'a'.repeat(64);
    const link = `<a href="https://evil.test/files/lure-1.0.0-py3-none-any.whl#sha256=${sha}">lure-1.0.0-py3-none-any.whl</a>`;
    index.answer('/simple/lure/', 'text/html', `<!DOCTYPE html><body>${link}</body>`);
    const built = await buildPython(`lure==1.0.0 --hash=sha256:${sha}`);
    expect(built.kind).toBe('refused');
    expect(logOf(built)).toContain('The build asked for evil.test:443, which is not a host of the index.');
  });

  test.each([
    ['files', { filesMax: 3 }, 'over 3 files'],
    ['bytes', { bytesMax: 10_000 }, 'over 10000 bytes'],
    ['time', { timeoutMs: 400 }, 'longer than 0.4 seconds'],
  ])('is held to its bound of %s', async (_, bounds, why) => {
    const line = index.addWheel('large', [
      { path: 'large/a.py', text: 'x'.repeat(50_000) },
      { path: 'large/b.py', text: 'y' },
    ]);
    const built = await buildPython(line, { bounds });
    expect(built).toMatchObject({ kind: 'refused', detail: expect.stringContaining(why) });
  });

  test('that nobody waits for any more ends, and leaves nothing', async () => {
    const line = index.addWheel('left', [{ path: 'left.py', text: '' }]);
    const before = await countRecipes();
    const leaving = new AbortController();
    const acquire: Backend['acquire'] = async (spec, signal) => {
      const jail = await backend.acquire(spec, signal);
      leaving.abort(new Error('the publisher hung up'));
      return jail;
    };
    const watched = { ...backend, acquire };
    await expect(buildPython(line, { backend: watched }, leaving.signal)).rejects.toThrow('hung up');
    expect(await countRecipes()).toBe(before);
  });

  test('whose jail dies in the middle stores nothing', async () => {
    const before = await countRecipes();
    const line = index.addWheel('died', [{ path: 'died.py', text: '' }]);
    const acquire: Backend['acquire'] = async (spec, signal) => {
      const jail = await backend.acquire(spec, signal);
      jail.stderr.once('data', () => void jail.kill('shutdown'));
      return jail;
    };
    const built = await buildPython(line, { backend: { ...backend, acquire } });
    expect(built).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining('ended before it was done'),
    });
    expect(await countRecipes()).toBe(before);
  });

  test('of one publisher takes two turns at most, so that others get theirs', async () => {
    const shared = builder();
    const publish = (publisherId: string, name: string) => {
      const line = index.addWheel(name, [{ path: `${name}.py`, text: '' }]);
      const files = new Map([['requirements.txt', Buffer.from(line)]]);
      return shared.build({ language: 'python', files, publisherId }, never);
    };
    const builds = ['one', 'two', 'three'].map((name) => publish('greedy', name));
    const settled = Promise.allSettled(builds);
    const other = publish('modest', 'four');
    await expect(Promise.race(builds)).rejects.toMatchObject({ type: 'too-many-requests' });
    expect(await other).toMatchObject({ kind: 'built' });
    expect((await settled).filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    expect(await publish('greedy', 'five')).toMatchObject({ kind: 'built' });
  });

  test('by two publishers at once, at two gateways, makes one layer that both are given', async () => {
    const line = index.addWheel('raced', [{ path: 'raced.py', text: 'x = 1\n' }]);
    const one = builder();
    const input = { language: 'python' as const, files: new Map([['requirements.txt', Buffer.from(line)]]) };
    const all = await Promise.all([
      one.build(input, never),
      one.build(input, never),
      builder().build(input, never),
    ]);
    expect(new Set(all.map(layerOf)).size).toBe(1);
    const [{ count } = { count: 0 }] = await database.sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM catalog_layer_recipe WHERE sha256 = ${layerOf(all[0])}`;
    expect(count).toBe(1);
    // The two at one gateway shared their build.
    expect(index.asked.filter((path) => path.endsWith('.whl')).length).toBeLessThanOrEqual(2);
  });

  test('is refused in one sentence where the sandbox has no way to an index', async () => {
    const without = testBackend({ cgroups: 'off' });
    const line = index.addWheel('nowhere', [{ path: 'nowhere.py', text: '' }]);
    const built = await buildPython(line, { backend: without });
    expect(built).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining('no way to a package index'),
    });
    await without.close();
  });
});

describe('a build of package-lock.json', () => {
  test('installs a real package of the real registry, which Node finds', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lock-'));
    const packageJson = JSON.stringify({ name: 'x', version: '1.0.0', dependencies: { 'is-odd': '3.0.1' } });
    writeFileSync(join(folder, 'package.json'), packageJson);
    execFileSync('npm', ['install', '--package-lock-only', '--omit-lockfile-registry-resolved=false'], {
      cwd: folder,
      stdio: 'ignore',
    });
    const lock = readFileSync(join(folder, 'package-lock.json'));
    rmSync(folder, { recursive: true });
    // The registry may be mirrored where tests run, on any address and by an authority of the machine's own.
    const real = createEgress({ log: silentLog, workDir: sockets, isAllowedAddress: () => true });
    const files = new Map([
      ['package.json', Buffer.from(packageJson)],
      ['package-lock.json', lock],
    ]);
    const built = await builder({
      egress: real,
      indexes: {
        npmRegistry: 'https://registry.npmjs.org',
        pypiIndex: 'https://pypi.org/simple',
        extraHosts: [],
      },
    }).build({ language: 'node', files }, never);
    expect(built).toMatchObject({ kind: 'built', log: expect.stringContaining('added 2 packages') });
    const program = "import isOdd from 'is-odd'; console.log(isOdd(3), isOdd(4)); process.exit();";
    expect(await runWithLayer('node', program, layerOf(built))).toBe('true false\n');
    expect((await filesOf(layerOf(built))).every((path) => path.startsWith('node_modules/is-'))).toBe(true);
  });

  test('runs no script of a package, and makes no links to its programs', async () => {
    const script = "node -e \"require('fs').writeFileSync('ran.txt', 'x')\"";
    const scripts = { preinstall: script, install: script, postinstall: script, prepare: script };
    const entry = index.addTarball('scripted', [{ path: 'package/index.js', text: '', mode: 0o755 }], {
      scripts,
      bin: { scripted: 'index.js' },
    });
    const built = await buildNode({ scripted: entry });
    expect(await filesOf(layerOf(built))).toEqual([
      'node_modules/scripted/index.js',
      'node_modules/scripted/package.json',
    ]);
  });

  test('of a tarball with paths that climb and links that lead out leaves nothing outside, and no link', async () => {
    const entry = index.addTarball('evil', [
      { path: 'package/fine.js', text: 'fine' },
      { path: 'package/../../../../mcp/escaped.js', text: 'escaped' },
      { path: '/tmp/project/node_modules/absolute.js', text: 'escaped' },
      { path: 'package/secrets', linkTo: '/etc/passwd' },
      { path: 'package/folder', linkTo: '/usr/lib' },
      { path: 'package/folder/through.js', text: 'escaped' },
    ]);
    const built = await buildNode({ evil: entry });
    if (built.kind === 'refused') return expect(logOf(built)).not.toBe('');
    const read = readArchive(await layers.open(layerOf(built)).read(), { longPaths: 'pax' });
    for (const [path, content] of read) {
      expect(path).toMatch(/^node_modules\/evil\//);
      expect(content.toString()).not.toContain('root:');
    }
    return expect([...read.keys()]).toContain('node_modules/evil/fine.js');
  });

  test('of another content than the lock has is refused', async () => {
    const entry = index.addTarball('swapped', [{ path: 'package/index.js', text: 'good' }]);
    index.addTarball('swapped', [{ path: 'package/index.js', text: 'bad' }]);
    const built = await buildNode({ swapped: entry });
    expect(built.kind).toBe('refused');
    expect(logOf(built)).toContain('EINTEGRITY');
  });

  test.each([
    ['bundled in development', { dev: true, inBundle: true }],
    ['bundled in development, from the registry', { dev: true, inBundle: true, version: '1.0.0' }],
  ])('installs nothing without a hash: a package that is said to be %s', async (_, claims) => {
    const hashed = index.addTarball('hashed', [{ path: 'package/index.js', text: '' }]);
    const { integrity: _unused, ...loose } = index.addTarball('loose', [
      { path: 'package/index.js', text: 'whatever' },
    ]);
    const dist = { tarball: loose.resolved };
    const packument = {
      name: 'loose',
      'dist-tags': { latest: '1.0.0' },
      versions: { '1.0.0': { name: 'loose', version: '1.0.0', dist } },
    };
    index.answer('/npm/loose', 'application/json', JSON.stringify(packument));
    const built = await buildNode({ hashed, loose: { ...loose, ...claims } });
    if (built.kind === 'refused') return;
    expect(await filesOf(layerOf(built))).not.toContain('node_modules/loose/index.js');
  });

  test('leaves out what is for development, as npm marks it, and never asks for it', async () => {
    const wanted = index.addTarball('wanted', [{ path: 'package/index.js', text: '' }]);
    const tool = index.addTarball('tool', [{ path: 'package/index.js', text: '' }]);
    const manifest = {
      ...{ name: 'x', version: '1.0.0' },
      dependencies: { wanted: '^1.0.0' },
      devDependencies: { tool: '1.0.0' },
    };
    const packages = {
      '': manifest,
      'node_modules/wanted': wanted,
      'node_modules/tool': { ...tool, dev: true },
      'node_modules/tool/node_modules/inner': { version: '1.0.0', dev: true, inBundle: true },
    };
    const files = new Map([
      ['package.json', Buffer.from(JSON.stringify(manifest))],
      ['package-lock.json', Buffer.from(JSON.stringify({ ...manifest, lockfileVersion: 3, packages }))],
    ]);
    const built = await builder().build({ language: 'node', files }, never);
    const paths = await filesOf(layerOf(built));
    expect(paths).toContain('node_modules/wanted/index.js');
    expect(paths.filter((path) => path.includes('tool'))).toEqual([]);
    expect(index.asked.filter((path) => path.includes('tool'))).toEqual([]);
  });

  test('reaches the registry and no other host, whatever the registry says', async () => {
    const entry = index.addTarball('lure', [{ path: 'package/index.js', text: '' }]);
    const { integrity } = entry;
    const dist = { tarball: 'https://evil.test/lure.tgz', integrity };
    const packument = {
      name: 'lure',
      'dist-tags': { latest: '1.0.0' },
      versions: { '1.0.0': { name: 'lure', version: '1.0.0', dist } },
    };
    index.answer('/npm/lure', 'application/json', JSON.stringify(packument));
    const built = await buildNode({ lure: { version: '1.0.0', integrity } });
    expect(built.kind).toBe('refused');
    expect(logOf(built)).toContain('evil.test:443, which is not a host of the index');
  });

  test('keeps paths that ustar cannot hold, and a jail reads them', async () => {
    const deep = `${'deep/'.repeat(40)}${'f'.repeat(110)}.js`;
    const entry = index.addTarball('deep', [{ path: `package/${deep}`, text: 'module.exports = "found";' }]);
    const built = await buildNode({ deep: entry });
    expect(await filesOf(layerOf(built))).toContain(`node_modules/deep/${deep}`);
    const program = `import found from 'deep/${deep}'; console.log(found); process.exit();`;
    expect(await runWithLayer('node', program, layerOf(built))).toBe('found\n');
  });
});

test('code without a lock, and Go, need no build', async () => {
  const files = new Map([['server.py', Buffer.from('')]]);
  for (const language of ['python', 'node', 'go'] as const) {
    expect(await builder().build({ language, files }, never)).toEqual({ kind: 'none' });
  }
});

test('a machine without pip or npm says in one sentence what to install', async () => {
  const toolchain = createToolchain({ pipFolders: ['/nowhere'], npmFolder: '/nowhere' });
  await expect(toolchain.pip()).rejects.toMatchObject({
    type: 'unavailable',
    message: expect.stringContaining('apt-get install python3-pip-whl'),
  });
  await expect(toolchain.npm()).rejects.toMatchObject({
    type: 'unavailable',
    message: expect.stringContaining('npm'),
  });
});

describe('what comes out of a build jail', () => {
  const bounds = { filesMax: 2, bytesMax: 100 };
  const frame = (length: number, size: number | bigint) => {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt32BE(length, 0);
    bytes.writeBigUInt64BE(BigInt(size), 4);
    return bytes;
  };
  const file = (path: string, content: string) =>
    Buffer.concat([frame(Buffer.byteLength(path), content.length), Buffer.from(path + content)]);
  const read = (...pieces: Buffer[]) => readInstalled(Readable.from(pieces), bounds);

  test('is read whatever the pieces it comes in', async () => {
    const bytes = Buffer.concat([file('python/a', 'hello'), file('python/b', ''), frame(0xffffffff, 0)]);
    const single = await read(...[...bytes].map((byte) => Buffer.from([byte])));
    expect(single).toEqual({
      kind: 'installed',
      files: new Map([
        ['python/a', Buffer.from('hello')],
        ['python/b', Buffer.alloc(0)],
      ]),
    });
  });

  test.each([
    [
      'more files than there may be',
      () => read(file('python/a', ''), file('python/b', ''), file('python/c', '')),
    ],
    [
      'more bytes than there may be',
      () => read(file('python/a', 'x'.repeat(60)), file('python/b', 'x'.repeat(60))),
    ],
    ['more folders than there may be', () => read(file('python/a/b/c', ''))],
    ['an absurd size', () => read(frame(8, 2n ** 63n))],
    ['an absurd path', () => read(frame(0xfffffffe, 1))],
    ['a file twice', () => read(file('python/a', ''), file('python/a', ''))],
    ['a file outside of its folder', () => read(file('etc/passwd', ''))],
    [
      'a path that is not text',
      () => read(frame(9, 0), Buffer.concat([Buffer.from('python/a'), Buffer.from([0xff])])),
    ],
  ])('is refused when it has %s', async (_, reading) => {
    await expect(reading()).rejects.toMatchObject({ type: 'invalid-code' });
  });

  test('climbs nowhere: such a path never becomes an archive', async () => {
    const installed = await read(file('python/../x', ''), frame(0xffffffff, 0));
    expect(installed.kind).toBe('installed');
    if (installed.kind === 'installed')
      expect(() => writeArchive(installed.files, { longPaths: 'pax' })).toThrow();
  });

  test('that ends in the middle is nothing', async () => {
    expect(await read(frame(8, 5), Buffer.from('python/aHE'))).toEqual({ kind: 'cut-off' });
    expect(await read(frame(0xffffffff, 3))).toEqual({ kind: 'failed', exitCode: 3 });
  });

  test('is a log of at most 64 KB without anything that acts on a terminal', async () => {
    const stream = new PassThrough();
    const log = keepLog(stream);
    stream.write('\u001b[31mred\u001b[0m \u0007bell\u202e\n');
    expect(log.text()).toBe('red bell\n');
    for (let line = 0; line < 20_000; line += 1) stream.write(`line ${line} ok\n`);
    const kept = log.text();
    expect(Buffer.byteLength(kept)).toBeLessThanOrEqual(64 * 1024);
    expect(kept.endsWith('line 19999 ok\n')).toBe(true);
    expect(kept.startsWith('... the beginning is left out')).toBe(true);
  });
});

function builder(deps: Partial<BuilderDeps> = {}) {
  const machineCa = '/etc/ssl/certs/ca-certificates.crt';
  const extraCa = [TEST_TLS.cert, existsSync(machineCa) ? readFileSync(machineCa, 'utf8') : ''].join('\n');
  return createBuilder({
    ...{ backend, egress, shelf: layers, log: silentLog },
    toolchain: createToolchain({ extraCa }),
    indexes: { npmRegistry: `${index.origin}/npm`, pypiIndex: `${index.origin}/simple`, extraHosts: [] },
    ...deps,
  });
}

function buildPython(requirements: string, deps: Partial<BuilderDeps> = {}, signal: AbortSignal = never) {
  const files = new Map([['requirements.txt', Buffer.from(requirements)]]);
  return builder(deps).build({ language: 'python', files }, signal);
}

function buildNode(packages: Record<string, Record<string, unknown>>): Promise<Build> {
  const dependencies = Object.fromEntries(Object.keys(packages).map((name) => [name, '1.0.0']));
  const manifest = { name: 'x', version: '1.0.0', dependencies };
  const places = Object.entries(packages).map(([name, entry]) => [`node_modules/${name}`, entry]);
  const lock = {
    ...manifest,
    lockfileVersion: 3,
    requires: true,
    packages: { '': manifest, ...Object.fromEntries(places) },
  };
  const files = new Map([
    ['package.json', Buffer.from(JSON.stringify(manifest))],
    ['package-lock.json', Buffer.from(JSON.stringify(lock))],
  ]);
  return builder().build({ language: 'node', files }, never);
}

async function countRecipes(): Promise<number> {
  const [row] = await database.sql<{ count: number }[]>`
    SELECT count(*)::int AS count FROM catalog_layer_recipe`;
  return row?.count ?? 0;
}

function layerOf(built: Build): string {
  if (built.kind === 'built') return built.layerSha256;
  throw new Error(`nothing was built: ${JSON.stringify(built, null, 2)}`);
}

function logOf(built: Build): string {
  return built.kind === 'none' ? '' : built.log;
}

async function filesOf(layerSha256: string): Promise<string[]> {
  return [...readArchive(await layers.open(layerSha256).read(), { longPaths: 'pax' }).keys()];
}

/** What a program prints in a jail with that layer. */
async function runWithLayer(
  runtime: 'python' | 'node',
  program: string,
  layerSha256: string,
): Promise<string> {
  const layer = layers.open(layerSha256);
  const jail = await backend.acquire({ runtime, limits: DEFAULT_LIMITS, layer }, never);
  try {
    await awaitReady(jail, never);
    const entrypoint = runtime === 'python' ? 'main.py' : 'main.mjs';
    const archive = writeArchive(new Map([[entrypoint, Buffer.from(program)]]));
    const output = Promise.all([text(jail.stdout), text(jail.stderr)]);
    injectCode(jail, { sha256: sha256Hex(archive), runtime, entrypoint, archive, layer });
    jail.stdin.end();
    const [out, err] = await output;
    return out === '' ? err : out;
  } finally {
    await jail.kill('done');
  }
}
