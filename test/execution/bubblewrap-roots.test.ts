import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { type Log, silentLog } from '../../src/core/log.ts';
import { createLayerStore } from '../../src/execution/backends/bubblewrap/layer-store.ts';
import { prepareWorkDir } from '../../src/execution/backends/bubblewrap/work-dir.ts';
import { type Code, DEFAULT_LIMITS, type JailSpec, type Layer } from '../../src/execution/index.ts';
import { injectCode } from '../../src/execution/inject.ts';
import { buildRoot, planRoot } from '../../src/execution/policy/roots/build-root.ts';
import { fingerprint, hashRoot } from '../../src/execution/policy/roots/root-hash.ts';
import { awaitReady } from '../../src/execution/ready.ts';
import {
  call,
  codeOf,
  findLastingTraces,
  NO_TRACES,
  never,
  testBackend,
  testExecution,
  WORK_DIR,
} from './harness.ts';
import { answeringElf } from './tiny-elf.ts';

const PROGRAMS = {
  ...{ ldd: '/usr/bin/ldd', prlimit: '/usr/bin/prlimit', python: '/usr/bin/python3' },
  node: process.execPath,
};
const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  expect(await findLastingTraces()).toEqual(NO_TRACES);
});

describe('a root', () => {
  it.each(['python', 'node'] as const)(
    'of %s is the same wherever and whenever it is built',
    async (kind) => {
      const folder = newFolder();
      const umask = process.umask(0o077);
      try {
        const built = [];
        for (const name of ['one', 'another/place']) {
          const plan = await planRoot(kind, PROGRAMS);
          built.push({ recipe: plan.recipe, root: await buildRoot(plan, join(folder, name)) });
        }
        expect(built[0]).toEqual(built[1]);
        expect(built[0]?.root.sha256).toBe(await hashRoot(join(folder, 'one')));
      } finally {
        process.umask(umask);
      }
    },
  );

  it('has another name when a byte, a mode, a link or a path of it differs', async () => {
    const folder = newFolder();
    const make = async (change: () => Promise<unknown> = async () => {}) => {
      await rm(join(folder, 'root'), { recursive: true, force: true });
      await mkdir(join(folder, 'root/a'), { recursive: true });
      await writeFile(join(folder, 'root/a/file'), 'text', { mode: 0o644 });
      await symlink('a/file', join(folder, 'root/link'));
      await change();
      return hashRoot(join(folder, 'root'));
    };
    const file = join(folder, 'root/a/file');
    const relink = async () => {
      await rm(join(folder, 'root/link'));
      await symlink('a', join(folder, 'root/link'));
    };
    const same = [await make(), await make(() => utimes(file, 1, 1))];
    const other = [
      await make(() => writeFile(file, 'texT')),
      await make(() => chmod(file, 0o755)),
      await make(relink),
      await make(() => mkdir(join(folder, 'root/b'))),
    ];
    expect(new Set(same).size).toBe(1);
    expect(new Set([...same, ...other]).size).toBe(5);
  });

  it('that a version was published on is used while it is there, else the current one, and the log says so once', async () => {
    const workDir = join(newFolder(), 'sandbox');
    const first = testBackend({ workDir });
    const status = await first.status();
    if (status.kind !== 'ready') throw new Error(status.detail);
    const current = status.capabilities.roots.python?.sha256 ?? '';
    expect(status.capabilities.roots).toMatchObject({
      python: { version: expect.stringMatching(/^3\.\d+\.\d+$/) },
      node: { version: process.versions.node },
    });
    await first.close();
    const older = await ageRoot(workDir, current);
    const warnings: unknown[] = [];
    const log: Log = { ...silentLog, warn: (fields) => warnings.push(fields) };
    const execution = testExecution(testBackend({ workDir, log }));
    const runOn = async (rootSha256?: string) => {
      const outcome = await call(execution, { code: { ...marked, rootSha256 }, toolName: 'look' });
      return outcome.kind === 'delivered' ? outcome.result.structuredContent : outcome;
    };
    expect(await runOn(older)).toEqual({ isOld: true });
    expect(await runOn()).toEqual({ isOld: false });
    expect(await runOn(current)).toEqual({ isOld: false });
    const gone = 'f'.repeat(64);
    for (let turn = 0; turn < 3; turn += 1) expect(await runOn(gone)).toEqual({ isOld: false });
    expect(warnings).toEqual([{ runtime: 'python', root: gone, instead: current }]);
    await execution.close();
  });

  it('is one of four that are kept of each kind, the newest', async () => {
    const workDir = join(newFolder(), 'sandbox');
    const first = testBackend({ workDir });
    const status = await first.status();
    const current = status.kind === 'ready' ? (status.capabilities.roots.node?.sha256 ?? '') : '';
    await first.close();
    const made = [];
    for (const age of [50, 10, 40, 20, 30])
      made.push({ age, sha256: await ageRoot(workDir, current, age, 'node') });
    const second = testBackend({ workDir });
    await second.status();
    await second.close();
    const kept = (await readdir(join(workDir, 'roots'))).filter((name) => name.startsWith('node-'));
    const expected = made.filter(({ age }) => age < 40).map(({ sha256 }) => sha256);
    expect(kept.sort()).toEqual([current, ...expected].map((sha256) => `node-${sha256}`).sort());
  });
});

const marked = codeOf(
  ['mcp.py'],
  {
    'look.py': `
import os
from mcp import serve, structured
look = lambda arguments: structured({"isOld": os.path.exists("/usr/lib/millicent/older")})
serve({"look": ({"inputSchema": {"type": "object"}}, look)})`,
  },
  'look.py',
);

/** Another root like the current one, as an earlier state of the machine would have left it. */
async function ageRoot(workDir: string, current: string, ageMinutes = 1, kind = 'python'): Promise<string> {
  const roots = join(workDir, 'roots');
  const aside = join(roots, 'aside');
  cpSync(join(roots, `${kind}-${current}`), aside, { recursive: true, verbatimSymlinks: true });
  await writeFile(join(aside, 'root/usr/lib/millicent/older'), String(ageMinutes));
  const sha256 = await hashRoot(join(aside, 'root'));
  const manifest = JSON.parse(await readFile(join(aside, 'root.json'), 'utf8'));
  const print = await fingerprint(join(aside, 'root'));
  await writeFile(
    join(aside, 'root.json'),
    JSON.stringify({ ...manifest, sha256, recipe: `older ${ageMinutes}`, fingerprint: print }),
  );
  const place = join(roots, `${kind}-${sha256}`);
  cpSync(aside, place, { recursive: true, verbatimSymlinks: true });
  rmSync(aside, { recursive: true });
  const usedAt = new Date(Date.now() - ageMinutes * 60_000);
  await utimes(place, usedAt, usedAt);
  return sha256;
}

describe('a server in Python', () => {
  const execution = testExecution(testBackend());
  afterAll(() => execution.close());

  it('has its own modules before those of the library, however long its jail has waited', async () => {
    const files = {
      'lib/queue.py': "NAME = 'its own queue'",
      'lib/csv/__init__.py': "NAME = 'its own csv'",
      'lib/server.py': `
import csv, queue, sys, os
sys.path.append('/mcp')
from mcp import serve, structured
look = lambda arguments: structured({"names": [queue.NAME, csv.NAME], "main": [__name__, __file__, *sys.argv]})
serve({"look": ({"inputSchema": {"type": "object"}}, look)})`,
    };
    const code = codeOf(['mcp.py'], files, 'lib/server.py');
    const structuredContent = {
      names: ['its own queue', 'its own csv'],
      main: ['__main__', '/mcp/lib/server.py', '/mcp/lib/server.py'],
    };
    const outcome = await call(execution, { code, toolName: 'look' });
    expect(outcome).toMatchObject({ kind: 'delivered', result: { structuredContent } });
    const backend = testBackend();
    const jail = await backend.acquire({ runtime: 'python', limits: DEFAULT_LIMITS }, never);
    await awaitReady(jail, never);
    // Long enough for everything to be preloaded.
    await sleep(1500);
    injectCode(jail, code);
    const params = { protocolVersion: '2025-06-18', name: 'look' };
    jail.stdin.end(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params })}\n`);
    const written = await text(jail.stdout);
    await jail.kill('done');
    expect(JSON.parse(written).result.structuredContent).toEqual(structuredContent);
    await backend.close();
  });
});

describe('a layer', () => {
  const execution = testExecution(testBackend());
  afterAll(() => execution.close());
  const source = `
import os, wordlist
from mcp import serve, structured

def look(arguments):
    results = {}
    for path in [wordlist.__file__, os.path.dirname(wordlist.__file__) + "/x", "/layers/x"]:
        try:
            open(path, "w")
            results[path] = "allowed"
        except OSError as error:
            results[path] = error.strerror
    return structured({"word": wordlist.WORD, "layers": os.listdir("/layers"), "writes": list(results.values())})

serve({"look": ({"inputSchema": {"type": "object"}}, look)})`;
  const look = (layer: Layer) => {
    const code: Code = { ...codeOf(['mcp.py'], { 'look.py': source }, 'look.py'), layer };
    return call(execution, { code, toolName: 'look' });
  };

  it('is where Python looks, alone of all layers, and nobody can write it', async () => {
    const layers = [
      layerOf({ 'python/wordlist.py': 'WORD = 1' }),
      layerOf({ 'python/wordlist.py': 'WORD = 2' }),
    ];
    for (const [index, layer] of layers.entries()) {
      const outcome = await look(layer);
      const writes = Array.from({ length: 3 }, () => 'Read-only file system');
      expect(outcome).toMatchObject({
        ...{ kind: 'delivered' },
        result: { structuredContent: { word: index + 1, layers: [layer.sha256], writes } },
      });
    }
  });

  it('that is not what its name says does not come in', async () => {
    const honest = layerOf({ 'python/wordlist.py': `WORD = ${Date.now()}` });
    const other = layerOf({ 'python/wordlist.py': 'WORD = "forged"' });
    await expect(look({ ...honest, read: other.read })).rejects.toThrow(/has changed/);
    await expect(look({ ...honest, sha256: '../../../etc' })).rejects.toThrow(/a layer is named/);
    expect(
      await readdir(join(WORK_DIR, 'layers')).then((names) =>
        names.filter((name) => name.startsWith('building')),
      ),
    ).toEqual([]);
  });

  it('that twenty calls want at once is read once', async () => {
    const layer = layerOf({ 'python/wordlist.py': `WORD = ${Date.now()}` });
    let reads = 0;
    const counted = {
      ...layer,
      read: () => {
        reads += 1;
        return layer.read();
      },
    };
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => look(counted)));
    expect(outcomes.map(({ kind }) => kind)).toEqual(Array.from({ length: 20 }, () => 'delivered'));
    expect(reads).toBe(1);
  });

  it('that lost a file on disk is unpacked anew', async () => {
    const layer = layerOf({ 'python/wordlist.py': 'WORD = "whole"' });
    expect((await look(layer)).kind).toBe('delivered');
    await rm(join(WORK_DIR, 'layers', layer.sha256, 'files/python/wordlist.py'));
    expect((await look(layer)).kind).toBe('delivered');
  });

  it('that is large is not looked through for each call, and unpacked anew once it is gone', async () => {
    const { layers: place } = await prepareWorkDir(join(newFolder(), 'sandbox'));
    const store = createLayerStore(place, silentLog);
    const layer = layerOf({ 'python/large.txt': 'x'.repeat(2_000_000), 'python/x.py': 'X = 1' });
    const file = join(place, layer.sha256, 'files/python/x.py');
    (await store.lease(layer)).release();
    await rm(file);
    (await store.lease(layer)).release();
    await expect(readFile(file)).rejects.toThrow();
    await rm(join(place, layer.sha256), { recursive: true });
    (await store.lease(layer)).release();
    expect(await readFile(file, 'utf8')).toBe('X = 1');
  });

  it('is removed when it was not used for longest and all take too much, but never one in use', async () => {
    const folder = newFolder();
    const { layers: place } = await prepareWorkDir(join(folder, 'sandbox'));
    const store = createLayerStore(place, silentLog, { bytesMax: 35_000, keptMs: 0 });
    const layers = [1, 2, 3, 4, 5].map((number) => layerOf({ 'python/x.py': `${number}`.repeat(5000) }));
    const [used, ...others] = layers;
    if (used === undefined) throw new Error('no layer');
    const lease = await store.lease(used);
    await utimes(join(place, used.sha256), 1, 1);
    for (const [index, layer] of others.entries()) {
      (await store.lease(layer)).release();
      await utimes(join(place, layer.sha256), 100 + index, 100 + index);
    }
    const kept = [used, ...others.slice(-2)].map(({ sha256 }) => sha256);
    expect((await readdir(place)).sort()).toEqual(kept.sort());
    lease.release();
    lease.release();
  });
});

describe('a jail with a way out', () => {
  const backend = testBackend();
  afterAll(() => backend.close());
  const source = `
import os, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(os.environ["MILLICENT_EGRESS"])
sys.stdout.write(client.recv(100).decode() + " " + " ".join(os.listdir("/run")))`;

  it('reaches the one socket it was given, under one name', async () => {
    const folder = newFolder();
    const path = join(folder, 'proxy.sock');
    const server = createServer((client) => client.end('hello'));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await chmod(path, 0o666);
    const written = await runBare({ runtime: 'python', limits: DEFAULT_LIMITS, egressSocket: path }, source);
    expect(written).toBe('millicent-ready\nhello egress.sock');
    server.close();
  });

  it('is refused without control groups, where it could do nothing with it', async () => {
    const bare = testBackend({ cgroups: 'off' });
    const spec = { runtime: 'python', limits: DEFAULT_LIMITS, egressSocket: '/nowhere' } as const;
    await expect(bare.acquire(spec, never)).rejects.toMatchObject({ status: 503 });
    await bare.close();
  });

  async function runBare(spec: JailSpec, text: string): Promise<string> {
    const jail = await backend.acquire(spec, never);
    injectCode(jail, codeOf([], { 'server.py': text }, 'server.py'));
    const chunks: Buffer[] = [];
    const errors: Buffer[] = [];
    jail.stderr.on('data', (chunk) => errors.push(chunk));
    for await (const chunk of jail.stdout) chunks.push(chunk);
    await jail.kill('done');
    return Buffer.concat([...chunks, ...errors]).toString();
  }
});

describe.runIf(process.arch === 'x64')('a static binary', () => {
  it.each(['auto', 'off'] as const)(
    'is started by the bootstrap and answers, with cgroups=%s',
    async (cgroups) => {
      const execution = testExecution(testBackend({ cgroups }));
      expect(
        await call(execution, { code: answeringElf('{"made":"by hand"}'), toolName: 'any' }),
      ).toMatchObject({
        ...{ kind: 'delivered', result: { structuredContent: { made: 'by hand' } } },
      });
      await execution.close();
    },
  );

  it('that is none is a crash, and not a failure of the sandbox', async () => {
    const execution = testExecution(testBackend());
    const archive = writeArchive(new Map([['server', Buffer.from('not a binary at all')]]));
    const code: Code = { sha256: sha256Hex(archive), runtime: 'elf', entrypoint: 'server', archive };
    expect(await call(execution, { code, toolName: 'any' })).toMatchObject({
      kind: 'failed',
      reason: 'crashed',
    });
    expect(await execution.status()).toMatchObject({ kind: 'ready' });
    await execution.close();
  });
});

function layerOf(files: Record<string, string>): Layer {
  const archive = writeArchive(
    new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)])),
  );
  return { sha256: sha256Hex(archive), read: async () => archive };
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'millicent-test-'));
  chmodSync(folder, 0o755);
  folders.push(folder);
  return folder;
}
