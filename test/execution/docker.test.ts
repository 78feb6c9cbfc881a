import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import {
  createDockerBackend,
  type DockerBackendDeps,
  type DockerHost,
} from '../../src/execution/backends/docker/index.ts';
import { type Backend, DEFAULT_LIMITS, type JailSpec } from '../../src/execution/index.ts';
import { injectCode } from '../../src/execution/inject.ts';
import { awaitReady } from '../../src/execution/ready.ts';
import { explainNoEngine, startTestEngine, type TestEngine } from '../harness/docker.ts';
import { startLyingEngine } from '../harness/docker-liar.ts';
import { waitUntil } from '../harness/process.ts';
import type { DockerGatewayOrder } from './children/docker-gateway.ts';
import { call, codeOf, never, testExecution, textStats } from './harness.ts';

const noEngine = await explainNoEngine();
if (noEngine !== undefined) console.warn(noEngine);

const MB = 1024 * 1024;
const moody = codeOf(['mcp.py', 'moody.py']);
const SPEC: JailSpec = { runtime: 'python', limits: DEFAULT_LIMITS };

/** The jails that run on an engine, of one backend or of all; a gateway's lease is no jail. */
async function jailsOf({ docker }: { docker: TestEngine['docker'] }, owner?: string) {
  const label = owner === undefined ? 'millicent.owner' : `millicent.owner=${owner}`;
  const listed = await docker.listContainers({ filters: { label: [label] } });
  return listed.filter(({ Labels }) => !('millicent.lease' in Labels));
}

describe.skipIf(noEngine !== undefined)('on a Docker engine', () => {
  const workDir = mkdtempSync(join(tmpdir(), 'millicent-docker-'));
  const backends: Backend[] = [];
  let engine: TestEngine;
  let shared: Backend;
  let nodeRoot = '';

  beforeAll(async () => {
    engine = await startTestEngine();
    shared = open({ hosts: [local(engine)] });
    const status = await shared.status();
    if (status.kind === 'unavailable') throw new Error(status.detail);
    nodeRoot = status.capabilities.roots.node?.sha256 ?? 'none';
  }, 120_000);
  afterEach(async () => {
    // The first one is shared by the tests, so that not each of them waits for trials.
    for (const backend of backends.splice(1)) await backend.close();
    expect(await engine.findTraces()).toEqual([]);
  }, 60_000);
  afterAll(async () => {
    await shared?.close();
    await engine?.stop();
    rmSync(workDir, { recursive: true, force: true });
  }, 60_000);

  const open = (deps: Partial<DockerBackendDeps> & Pick<DockerBackendDeps, 'hosts'>): Backend => {
    const backend = createDockerBackend({ workDir, clock: systemClock, log: silentLog, ...deps });
    backends.push(backend);
    return backend;
  };
  const local = ({ socketPath }: TestEngine): DockerHost => ({ kind: 'unix', socketPath });
  const secured = (one: TestEngine): Extract<DockerHost, { kind: 'tls' }> => ({
    ...{ kind: 'tls', host: '127.0.0.1', port: one.tlsPort },
    ca: readFileSync(one.certificates.ca, 'utf8'),
    cert: readFileSync(one.certificates.cert, 'utf8'),
    key: readFileSync(one.certificates.key, 'utf8'),
  });
  /** Starts a jail with code in it, and reads it to its end. */
  const run = async (spec: Partial<JailSpec>, source: string, backend = shared) => {
    const jail = await backend.acquire({ ...SPEC, ...spec }, never);
    await awaitReady(jail, never);
    injectCode(jail, { ...codeOf([], { 'main.py': source }), layer: spec.layer });
    const [out, errors] = await Promise.all([text(jail.stdout), text(jail.stderr)]);
    const exit = await jail.exit;
    await jail.kill('done');
    return { out: out.trim(), errors, exit };
  };
  const count = (backend: Backend) =>
    call(testExecution(backend), { code: textStats, toolName: 'count', arguments: { text: 'a b' } });
  const delivered = { kind: 'delivered', result: { structuredContent: { words: 2 } } };

  it('says what it isolates and which roots it runs, each named by its content', async () => {
    const sha256 = expect.stringMatching(/^[0-9a-f]{64}$/);
    expect(await shared.status()).toEqual({
      kind: 'ready',
      capabilities: {
        ...{ isolation: 'namespaces', memory: 'cgroup', pids: true, egress: 'proxy' },
        roots: {
          python: { version: expect.stringMatching(/^3\.\d+\.\d+/), sha256 },
          node: { version: process.versions.node, sha256 },
          elf: { version: expect.stringMatching(/^3\./), sha256 },
        },
      },
    });
  });

  it('builds no root again that an engine has', async () => {
    const before = await engine.docker.listImages();
    const backend = open({ hosts: [local(engine)] });
    expect(await backend.status()).toEqual(await shared.status());
    expect((await engine.docker.listImages()).map(({ Id }) => Id)).toEqual(before.map(({ Id }) => Id));
  });

  it('brings a root again that was removed from the engine, and the call works', async () => {
    const node = (await engine.docker.listImages()).filter(({ RepoTags }) =>
      RepoTags?.some((tag) => tag.endsWith(nodeRoot)),
    );
    expect(node.length).toBe(1);
    for (const { Id } of node) await engine.docker.getImage(Id).remove({ force: true });
    const code = { ...codeOf(['mcp.mjs', 'attacks.mjs']), runtime: 'node' as const };
    const input = { code, toolName: 'count', arguments: { text: 'a b' } };
    expect(await call(testExecution(shared), input)).toMatchObject(delivered);
  }, 120_000);

  it('keeps the root of Python from being removed as long as it is in use', async () => {
    const images = await engine.docker.listImages();
    const removals = images.map(({ Id }) => engine.docker.getImage(Id).remove());
    await Promise.allSettled(removals);
    expect(await count(shared)).toMatchObject(delivered);
  });

  it('tells how a program ended: by itself, by a signal, by its memory', async () => {
    const fine = { isOutOfMemory: false, isBackendFailure: false };
    const limits = { ...DEFAULT_LIMITS, memoryBytesMax: 64 * MB };
    expect((await run({}, 'raise SystemExit(7)')).exit).toEqual({ code: 7, signal: null, ...fine });
    const abort = await run({}, 'import os; os.abort()');
    expect(abort.exit).toEqual({ code: null, signal: 'SIGABRT', ...fine });
    const greedy = await run({ limits }, 'held = b"x" * (256 * 1024 * 1024)');
    expect(greedy.exit).toEqual({ code: null, signal: 'SIGKILL', ...fine, isOutOfMemory: true });
  });

  it('gives a jail the memory, processes and space that its tool declares', async () => {
    const limits = { memoryBytesMax: 96 * MB, pidsMax: 9, tmpBytesMax: 3 * MB };
    const { out } = await run(
      { limits },
      `
import os, threading, time
written, threads = 0, 1
try:
    with open('/tmp/file', 'wb', buffering=0) as file:
        while True: written += file.write(b'x' * 65536)
except OSError: pass
try:
    while True:
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
        threads += 1
except RuntimeError: pass
print(written, threads)
os._exit(0)`,
    );
    const [written = 0, threads = 0] = out.split(' ').map(Number);
    expect(written).toBe(3 * MB);
    expect(threads).toBeLessThanOrEqual(9);
    const outgrown = await run({ limits }, 'held = b"x" * (128 * 1024 * 1024)');
    expect(outgrown.exit.isOutOfMemory).toBe(true);
  });

  it("leaves what a jail does not read in the gateway's hands, and what it floods in its own", async () => {
    const jail = await shared.acquire(SPEC, never);
    await awaitReady(jail, never);
    injectCode(jail, codeOf([], { 'main.py': 'import sys\nwhile True: sys.stdout.write("x" * 65536)' }));
    const before = process.memoryUsage().rss;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * MB);
    await jail.kill('output');
  });

  it('a call that is cancelled while its jail starts leaves none', async () => {
    const cancelling = new AbortController();
    const acquiring = shared.acquire(SPEC, cancelling.signal);
    setTimeout(() => cancelling.abort(new Error('cancelled')), 20);
    await expect(acquiring).rejects.toThrow();
    expect(await count(shared)).toMatchObject(delivered);
  });

  describe('a layer of dependencies', () => {
    const layerOf = (content: string) => {
      const archive = writeArchive(
        new Map([
          ['python/dependency.py', Buffer.from(content)],
          ['python/tool', Buffer.from('#!/bin/sh\n')],
        ]),
      );
      let reads = 0;
      return {
        layer: {
          sha256: sha256Hex(archive),
          read: async () => {
            reads += 1;
            return archive;
          },
        },
        reads: () => reads,
      };
    };
    const USE =
      'import os, dependency; print(dependency.VALUE, os.access(dependency.__file__[:-13] + "tool", os.X_OK))';
    const WRITE = 'import dependency; open(dependency.__file__, "w")';

    it('is there for the code, read-only, filled once however many need it first', async () => {
      const { layer, reads } = layerOf('VALUE = 41');
      const other = open({ hosts: [local(engine)] });
      const runs = [shared, other, shared, other].map((backend) => run({ layer }, USE, backend));
      expect((await Promise.all(runs)).map(({ out }) => out.split('\n').at(-1))).toEqual(
        Array(4).fill('41 True'),
      );
      expect(reads()).toBe(1);
      expect((await run({ layer }, WRITE)).errors).toContain('Read-only file system');
    });

    it('is filled again when somebody removed the volume', async () => {
      const { layer, reads } = layerOf('VALUE = 42');
      await run({ layer }, USE);
      await engine.docker.getVolume(`millicent-layer-${layer.sha256}`).remove();
      expect((await run({ layer }, USE)).out).toContain('42 True');
      expect(reads()).toBe(2);
    });

    it('is filled in peace while containers that nobody uses are swept', async () => {
      const { layer, reads } = layerOf('VALUE = 44');
      const swept: number[] = [];
      const read = async () => {
        swept.push(await shared.sweep());
        return layer.read();
      };
      expect((await run({ layer: { ...layer, read } }, USE)).out).toContain('44 True');
      expect({ swept, reads: reads() }).toEqual({ swept: [0], reads: 1 });
    });

    it('that is not what its name says is never mounted', async () => {
      const { layer } = layerOf('VALUE = 43');
      const forged = {
        sha256: layer.sha256,
        read: async () => writeArchive(new Map([['python/x', Buffer.from('')]])),
      };
      await expect(shared.acquire({ ...SPEC, layer: forged }, never)).rejects.toThrow(/has changed/);
    });
  });

  it('a jail with a way out reaches the socket of its gate, and nothing else', async () => {
    const socketPath = join(workDir, 'gate.sock');
    const gate = createServer((socket) => socket.end('through the gate'));
    gate.listen(socketPath);
    await once(gate, 'listening');
    await chmod(socketPath, 0o666);
    const source = `
import os, socket
client = socket.socket(socket.AF_UNIX)
client.connect('/run/egress.sock')
print(os.environ['MILLICENT_EGRESS'], client.recv(64).decode(), os.listdir('/sys/class/net'))`;
    const { out } = await run({ egressSocket: socketPath }, source);
    gate.close();
    expect(out).toBe("/run/egress.sock through the gate ['lo']");
  });

  it("shows a jail none of the machine's names and resolvers", async () => {
    const { out } = await run({}, "print(open('/etc/resolv.conf').read(), open('/etc/hosts').read())");
    expect(out).toContain('nameserver 127.0.0.1');
    expect(out.replaceAll('127.0.0.1', '')).not.toMatch(/\d+\.\d+\.\d+\.\d+|search \w/);
  });

  it('a runtime that an engine lacks is said so, and nothing runs without it', async () => {
    const backend = open({ hosts: [local(engine)], runtime: 'runsc' });
    expect(await backend.status()).toEqual({
      kind: 'unavailable',
      detail: expect.stringMatching(/no runtime named runsc: install it .* or set DOCKER_RUNTIME=runc\.$/),
    });
    await expect(backend.acquire(SPEC, never)).rejects.toMatchObject({ type: 'unavailable' });
  });

  it('without an engine every call is told when to come again', async () => {
    const backend = open({ hosts: [{ kind: 'unix', socketPath: '/nowhere/docker.sock' }] });
    const detail = 'The Docker host cannot run jails: it cannot be reached (ENOENT).';
    expect(await backend.status()).toEqual({ kind: 'unavailable', detail });
    await expect(backend.acquire(SPEC, never)).rejects.toMatchObject({
      type: 'unavailable',
      options: {
        detail,
        retryAfterSeconds: expect.toSatisfy((seconds: number) => seconds >= 1),
        isUncharged: true,
      },
    });
  });

  describe('an engine is refused whose jails show that it did not keep', () => {
    it.each([
      ['memory', ['Memory', 'MemorySwap'], /took too much memory was not ended for it/],
      ['processes', ['PidsLimit'], /of 8 processes could start/],
      ['the filter', ['SecurityOpt'], /isolates too little/],
      ['the read-only root', ['ReadonlyRootfs'], /isolates too little|EACCES/],
    ])('%s', async (_name, removed, reason) => {
      const socketPath = join(workDir, `liar-${removed[0]}.sock`);
      const liar = await startLyingEngine({ realSocket: engine.socketPath, socketPath }, (hostConfig) => {
        for (const name of removed) delete hostConfig[name];
      });
      const backend = open({ hosts: [{ kind: 'unix', socketPath }] });
      const status = await backend.status();
      await backend.close();
      liar.close();
      liar.closeAllConnections();
      expect(status).toEqual({ kind: 'unavailable', detail: expect.stringMatching(reason) });
    });
  });

  describe('an engine behind mutual TLS', () => {
    it('serves who shows a certificate, and gives no way out', async () => {
      const backend = open({ hosts: [secured(engine)] });
      expect(await backend.status()).toMatchObject({ kind: 'ready', capabilities: { egress: 'none' } });
      expect(await count(backend)).toMatchObject(delivered);
      await expect(backend.acquire({ ...SPEC, egressSocket: '/tmp/gate' }, never)).rejects.toMatchObject({
        type: 'unavailable',
      });
    });

    it('serves nobody without one', async () => {
      const backend = open({ hosts: [{ ...secured(engine), cert: '', key: '' }] });
      expect(await backend.status()).toMatchObject({
        kind: 'unavailable',
        detail: expect.stringMatching(/\(ERR_SSL_\w*(CERTIFICATE|HANDSHAKE)\w*\)/),
      });
    });

    it('is not used when it cannot prove who it is', async () => {
      const { cert } = secured(engine);
      const stranger = open({ hosts: [{ ...secured(engine), ca: cert }] });
      expect(await stranger.status()).toMatchObject({
        kind: 'unavailable',
        detail: expect.stringMatching(/\((UNABLE_TO_\w+|\w*CERT\w*)\)/),
      });
    });
  });

  it('one host of two is killed mid-run: its calls are not blamed on their tools, and all others go on', async () => {
    const second = await startTestEngine();
    try {
      const backend = open({ hosts: [local(second), local(engine)] });
      const execution = testExecution(backend, { concurrencyMax: 8 });
      expect(await backend.status()).toMatchObject({ kind: 'ready' });
      const lease = await waitUntil(async () => (await second.docker.listContainers())[0]);
      const owner = lease.Labels['millicent.owner'];
      const sleepers: Promise<unknown>[] = [];
      let counts = [0, 0];
      // A host that is still being looked at gets none: calls begin until each of the two has its share.
      while (Math.min(...counts) === 0 && sleepers.length < 8) {
        const sleeper = call(execution, {
          // Long enough for all of them to be running before the first is done, on a machine that is busy.
          ...{ code: moody, toolName: 'mood', arguments: { want: 'sleep', seconds: 15 } },
          limits: { runTimeoutMs: 50_000 },
        });
        sleepers.push(sleeper.catch((error: unknown) => error));
        await waitUntil(async () => {
          const jails = await Promise.all([second, engine].map((host) => jailsOf(host, owner)));
          counts = jails.map(({ length }) => length);
          return counts.reduce((sum, count) => sum + count, 0) === sleepers.length;
        });
      }
      const [onSecond = 0, onFirst = 0] = counts;
      expect(Math.min(onSecond, onFirst)).toBeGreaterThan(0);
      await second.kill();
      const ends = await Promise.all(sleepers);
      const lost = ends.filter((end) => end instanceof Error);
      expect(lost.length).toBe(onSecond);
      for (const problem of lost)
        expect(problem).toMatchObject({ type: 'unavailable', options: { isUncharged: true } });
      const kept = ends.filter((end) => !(end instanceof Error));
      expect(kept).toHaveLength(onFirst);
      for (const end of kept) expect(end).toMatchObject({ kind: 'delivered' });
      for (let calls = 0; calls < 4; calls += 1) expect(await count(backend)).toMatchObject(delivered);
      await second.start();
      await waitUntil(async () => {
        expect(await count(backend)).toMatchObject(delivered);
        return (await second.docker.listContainers()).some(({ Labels }) => 'millicent.lease' in Labels);
      }, 60_000);
      // What its crash left goes with the first look at it, and the last call's own jail a moment after its answer.
      await waitUntil(async () => (await second.findTraces()).length === 0, 60_000);
    } finally {
      await second.stop();
    }
  }, 180_000);

  it('a gateway killed with 12 calls in flight leaves nothing that another does not sweep', async () => {
    const calls = 12;
    const order: DockerGatewayOrder = { socketPath: engine.socketPath, workDir, calls };
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', join(import.meta.dirname, 'children/docker-gateway.ts'), JSON.stringify(order)],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    await waitUntil(async () => (await jailsOf(engine)).length === calls, 120_000);
    expect(await shared.sweep()).toBe(0);
    child.kill('SIGKILL');
    await once(child, 'exit');
    let swept = 0;
    await waitUntil(async () => {
      swept += await shared.sweep();
      return swept >= calls;
    });
    expect(await engine.findTraces()).toEqual([]);
    // Only the lease of the shared backend; an engine lists what it is removing until it has.
    await waitUntil(async () => (await engine.docker.listContainers({ all: true })).length === 1);
  }, 180_000);

  it('close ends every jail and leaves nothing, not even its lease', async () => {
    const backend = open({ hosts: [local(engine)] });
    const jails = await Promise.all([backend.acquire(SPEC, never), backend.acquire(SPEC, never)]);
    await backend.close();
    for (const jail of jails) expect((await jail.exit).isBackendFailure).toBe(false);
    // Only the lease of the shared backend; an engine lists what it is removing until it has.
    await waitUntil(async () => (await engine.docker.listContainers({ all: true })).length === 1);
    await expect(backend.acquire(SPEC, never)).rejects.toMatchObject({ type: 'unavailable' });
  });
});
