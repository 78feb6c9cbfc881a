import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { buildSync } from 'esbuild';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { parseMounts } from '../../src/execution/backends/bubblewrap/cgroups.ts';
import { launchArguments } from '../../src/execution/backends/bubblewrap/launch.ts';
import { isOwnerDead, ownOwnerId } from '../../src/execution/backends/bubblewrap/owner.ts';
import { createSlots } from '../../src/execution/backends/bubblewrap/slots.ts';
import { prepareWorkDir } from '../../src/execution/backends/bubblewrap/work-dir.ts';
import { DEFAULT_LIMITS } from '../../src/execution/index.ts';
import type { GatewayOrder } from './children/gateway.ts';
import {
  call,
  codeOf,
  findLastingTraces,
  findTraces,
  NO_TRACES,
  never,
  SERVERS,
  testBackend,
  testExecution,
  textStats,
  WORK_DIR,
} from './harness.ts';

const isRoot = process.getuid?.() === 0;
const attacks = codeOf(['mcp.py', 'attacks.py']);
const folders: string[] = [];
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

describe('status says in one sentence what is missing:', () => {
  it.each([
    ['bwrap', 'bubblewrap'],
    ['setpriv', 'util-linux'],
    ['prlimit', 'util-linux'],
    ['python', 'python3'],
  ])('%s, which %s brings; and nothing runs', async (program, name) => {
    const backend = testBackend({ programs: { [program]: '/nowhere/at/all' } });
    const status = await backend.status();
    expect(status).toEqual({
      kind: 'unavailable',
      detail: expect.stringMatching(new RegExp(`^The sandbox needs .*: install ${name} .*\\.$`)),
    });
    await expect(call(testExecution(backend), { code: textStats, toolName: 'count' })).rejects.toMatchObject({
      status: 503,
      message: expect.stringContaining(name),
    });
    await backend.close();
  });

  it('a bwrap that cannot make a jail', async () => {
    const backend = testBackend({ programs: { bwrap: '/bin/false' } });
    expect(await backend.status()).toMatchObject({
      kind: 'unavailable',
      detail: expect.stringMatching(/does not work/),
    });
    await backend.close();
    expect(await findLastingTraces()).toEqual(NO_TRACES);
  });

  it('a bwrap that makes no jail but runs the program all the same', async () => {
    const folder = newFolder();
    const fake = join(folder, 'bwrap');
    // Skips bwrap's own options up to the last `--` and starts what follows on the host.
    writeFileSync(fake, '#!/bin/sh\ncat >/dev/null & exec /usr/bin/python3 -c "print(1)"\n', { mode: 0o755 });
    const backend = testBackend({ programs: { bwrap: fake } });
    expect((await backend.status()).kind).toBe('unavailable');
    await backend.close();
  });

  it('and notices what was installed since', async () => {
    const folder = newFolder();
    chmodSync(folder, 0o755);
    const programs = { bwrap: join(folder, 'bwrap') };
    const clock = { at: 0, now: () => new Date(clock.at) };
    const backend = testBackend({ programs, clock });
    expect((await backend.status()).kind).toBe('unavailable');
    writeFileSync(programs.bwrap, '#!/bin/sh\nexec /usr/bin/bwrap "$@"\n', { mode: 0o755 });
    expect((await backend.status()).kind).toBe('unavailable');
    clock.at += 5000;
    expect((await backend.status()).kind).toBe('ready');
    await backend.close();
  });
});

describe('a jail', () => {
  const execution = testExecution(testBackend());
  afterAll(() => execution.close());

  it.runIf(isRoot)('runs as a user of its own, whom no other jail of ours is while it lives', async () => {
    const sleeping = { code: attacks, toolName: 'ignore_signals', limits: { runTimeoutMs: 1500 } };
    const calls = Promise.all(Array.from({ length: 3 }, () => call(execution, sleeping)));
    const uids = await untilTrue(async () => {
      const found = await listJailUids();
      return found.length === 6 ? found : undefined;
    });
    // Each jail has two bwrap processes on the host's side, both the same user's.
    expect(new Set(uids).size).toBe(3);
    expect(uids.every((uid) => uid >= 20_000)).toBe(true);
    await calls;
    expect(await findLastingTraces()).toEqual(NO_TRACES);
  });

  it('has a slot that is given to nobody else before it is released', () => {
    const slots = createSlots();
    const [first, second] = [slots.lease(), slots.lease()];
    expect([first, second]).toEqual([0, 1]);
    slots.release(0);
    expect([slots.lease(), slots.lease()]).toEqual([0, 2]);
  });

  it('puts nothing of a publisher on disk, and nobody else may list what it puts there', async () => {
    const running = call(execution, {
      code: attacks,
      toolName: 'ignore_signals',
      limits: { runTimeoutMs: 1500 },
    });
    await untilTrue(async () => ((await findTraces()).processes.length >= 2 ? true : undefined));
    const owner = join(WORK_DIR, 'owners', ownOwnerId());
    const [backend = ''] = await readdir(owner);
    const [name = ''] = (await findTraces()).folders;
    expect((await readdir(join(owner, backend, name))).sort()).toEqual(['anchor', 'status']);
    expect(await readdir(join(owner, backend, name, 'anchor'))).toEqual([]);
    for (const folder of [join(owner, backend, name), join(owner, backend)]) {
      expect((await stat(folder)).mode & 0o006).toBe(0);
    }
    await running;
  });

  it.each(['auto', 'off'] as const)(
    'inherits no descriptor, whoever started the gateway, with cgroups=%s',
    async (cgroups) => {
      const secret = join(newFolder(), 'secret');
      writeFileSync(secret, 'the secret');
      const fd = openSync(secret, 'r');
      const { lines } = startGateway(
        { cgroups, calls: [{ toolName: 'inheritance', arguments: {}, runTimeoutMs: 5000 }] },
        { inherited: fd },
      );
      closeSync(fd);
      const greeting = await lines.next();
      expect(greeting).toMatchObject({ status: { kind: 'ready' } });
      // Otherwise this test would prove nothing.
      expect(greeting.leakedFds).toEqual(expect.arrayContaining([INHERITED_FD]));
      expect(await lines.next()).toMatchObject({
        outcomes: [{ kind: 'delivered', result: { structuredContent: { fds: {} } } }],
      });
    },
  );
});

describe('the launch chain', () => {
  const input: Parameters<typeof launchArguments>[0] = {
    programs: { bwrap: '', setpriv: '', prlimit: '', sh: '', ldd: '', python: '', node: '' },
    root: {
      ...{ kind: 'python', version: '', sha256: '', folder: '' },
      ...{ command: [], environment: {}, prlimit: '' },
    },
    limits: DEFAULT_LIMITS,
    joinFiles: [],
    anchor: '',
    uid: undefined,
    layer: undefined,
    egressSocket: undefined,
  };
  const [flag = '', script = ''] = launchArguments(input);
  const start = (joinFiles: string[], inherited?: number) => {
    const child = spawn('/bin/sh', [flag, script, 'sh', ...joinFiles, '--', '/bin/true'], {
      stdio: ['ignore', 'ignore', 'ignore', ...inherit(inherited)],
    });
    return new Promise((resolve) => child.once('exit', resolve));
  };

  it('lets a build have more files open than a tool', () => {
    expect(launchArguments(input)).toContain('--nofile=256');
    const limits = { ...DEFAULT_LIMITS, openFilesMax: 4_096 };
    expect(launchArguments({ ...input, limits })).toContain('--nofile=4096');
  });

  it('refuses to go on with a descriptor that nobody thought of', async () => {
    const fd = openSync('/etc/passwd', 'r');
    const nothing = openSync('/dev/null', 'r+');
    expect([await start([], fd), await start([], nothing)]).toEqual([98, await start([])]);
    for (const open of [fd, nothing]) closeSync(open);
  });

  it('refuses to go on outside of a control group it was to join', async () => {
    expect(await start(['/nowhere/tasks'])).toBe(97);
  });
});

describe('a gateway that is killed with calls in flight', () => {
  const hang = { toolName: 'ignore_signals', arguments: {}, runTimeoutMs: 60_000 };

  it.each(['auto', 'off'] as const)('leaves nothing after a sweep, with cgroups=%s', async (cgroups) => {
    const { child, lines } = startGateway({ cgroups, calls: Array.from({ length: 5 }, () => hang) });
    const ownerId = String((await lines.next()).ownerId);
    await untilTrue(async () => ((await findTraces(ownerId)).processes.length >= 10 ? true : undefined));
    child.kill('SIGKILL');
    await untilTrue(async () => (isOwnerDead(ownerId) ? true : undefined));
    const backend = testBackend({ cgroups });
    await backend.sweep();
    expect(await findTraces(ownerId)).toEqual(NO_TRACES);
    expect(await readdir(join(WORK_DIR, 'owners'))).not.toContain(ownerId);
    await backend.close();
  });

  it('leaves nothing after a restart, with 50 jails in flight', async () => {
    const { child, lines } = startGateway({ cgroups: 'auto', calls: Array.from({ length: 50 }, () => hang) });
    const ownerId = String((await lines.next()).ownerId);
    await untilTrue(async () => ((await findTraces(ownerId)).processes.length >= 100 ? true : undefined));
    child.kill('SIGKILL');
    await untilTrue(async () => (isOwnerDead(ownerId) ? true : undefined));
    // Starting is enough: the first look at the machine sweeps.
    const restarted = testBackend();
    expect(await restarted.status()).toMatchObject({ kind: 'ready' });
    expect(await findTraces(ownerId)).toEqual(NO_TRACES);
    expect(await readdir(join(WORK_DIR, 'owners'))).not.toContain(ownerId);
    expect((await readFile('/proc/mounts', 'utf8')).includes(ownerId)).toBe(false);
    await restarted.close();
  });

  it('leaves nothing of unfinished builds either, and what is left is counted', async () => {
    const folder = newFolder();
    chmodSync(folder, 0o755);
    const { owners, roots } = await prepareWorkDir(join(folder, 'sandbox'));
    const dead = ownOwnerId().replace(/^(\d+)-\d+/, '$1-1');
    for (const owner of [dead, ownOwnerId()]) {
      mkdirSync(join(owners, owner, 'backend/jail/code'), { recursive: true });
      mkdirSync(join(roots, `building-${owner}-0123abcd/root`), { recursive: true });
    }
    expect(await testBackend({ workDir: join(folder, 'sandbox'), cgroups: 'off' }).sweep()).toBe(2);
    expect([await readdir(owners), await readdir(roots)]).toEqual([
      [ownOwnerId()],
      [`building-${ownOwnerId()}-0123abcd`],
    ]);
  });

  it('is killed in any moment, also while its jails are being set up', async () => {
    for (const delayMs of [0, 8, 16, 25]) {
      const { child, lines } = startGateway({ cgroups: 'off', calls: Array.from({ length: 3 }, () => hang) });
      const ownerId = String((await lines.next()).ownerId);
      await untilTrue(async () => ((await findTraces(ownerId)).folders.length >= 1 ? true : undefined));
      await sleep(delayMs);
      child.kill('SIGKILL');
      await untilTrue(async () => (isOwnerDead(ownerId) ? true : undefined));
      const backend = testBackend({ cgroups: 'off' });
      await backend.sweep();
      expect(await findLastingTraces(ownerId)).toEqual(NO_TRACES);
      await backend.close();
    }
  });

  it('takes its jails with it even if nobody sweeps', async () => {
    const { child, lines } = startGateway({ cgroups: 'off', calls: [hang, hang] });
    const ownerId = String((await lines.next()).ownerId);
    await untilTrue(async () => ((await findTraces(ownerId)).processes.length >= 4 ? true : undefined));
    child.kill('SIGKILL');
    await untilTrue(async () => ((await findTraces(ownerId)).processes.length === 0 ? true : undefined));
    await testBackend().sweep();
  });

  it('is not mistaken for one that lives: a sweep touches nothing of that', async () => {
    const { child, lines } = startGateway({ cgroups: 'auto', calls: [hang, hang] });
    const ownerId = String((await lines.next()).ownerId);
    // Jails that start have processes that come and go.
    let last = await findTraces(ownerId);
    const before = await untilTrue(async () => {
      await sleep(300);
      const former = last;
      last = await findTraces(ownerId);
      return last.processes.length >= 4 && isDeepStrictEqual(last, former) ? last : undefined;
    });
    await testBackend().sweep();
    expect(await findTraces(ownerId)).toEqual(before);
    child.kill('SIGKILL');
    await untilTrue(async () => (isOwnerDead(ownerId) ? true : undefined));
    await testBackend().sweep();
  });
});

describe.runIf(isRoot)('an ordinary user', () => {
  it('runs jails too, without control groups and without changing user', async () => {
    const folder = newFolder();
    chownSync(folder, 12345, 12345);
    const { lines } = startGateway(
      {
        workDir: join(folder, 'sandbox'),
        cgroups: 'auto',
        calls: [
          { toolName: 'write_outside', arguments: {}, runTimeoutMs: 5000 },
          { toolName: 'read_code', arguments: {}, runTimeoutMs: 5000 },
          { toolName: 'fork_bomb', arguments: {}, runTimeoutMs: 5000 },
          { toolName: 'thread_bomb', arguments: {}, runTimeoutMs: 5000 },
          { toolName: 'memory_bomb', arguments: {}, runTimeoutMs: 30_000 },
        ],
      },
      { uid: 12345 },
    );
    expect(await lines.next()).toMatchObject({
      status: { kind: 'ready', capabilities: { memory: 'rlimit' } },
    });
    const { outcomes } = await lines.next();
    const [outside, code, fork, threads, memory] = outcomes as {
      result: { structuredContent: Record<string, unknown> };
    }[];
    expect(Object.values(outside?.result.structuredContent ?? { none: 'allowed' })).not.toContain('allowed');
    expect(code?.result.structuredContent).toMatchObject({ isPoisoned: false });
    expect(fork).toMatchObject({ kind: 'failed', reason: 'tool-error' });
    expect(threads?.result.structuredContent.started).toBeLessThan(34);
    expect(memory).toMatchObject({ kind: 'failed', reason: 'tool-error' });
  });
});

describe('the work folder', () => {
  it.runIf(isRoot)('is refused when it belongs to someone else', async () => {
    const folder = newFolder();
    chownSync(folder, 12345, 12345);
    await expect(prepareWorkDir(folder)).rejects.toThrow('belongs to another user');
    const backend = testBackend({ workDir: folder });
    expect(await backend.status()).toMatchObject({
      kind: 'unavailable',
      detail: expect.stringContaining('another user'),
    });
  });

  it('is refused when others can write it, or what is above it', async () => {
    const folder = newFolder();
    chmodSync(folder, 0o777);
    await expect(prepareWorkDir(folder)).rejects.toThrow('can be written by other users');
    await expect(prepareWorkDir(join(folder, 'inside'))).rejects.toThrow('other users can change');
  });

  it.runIf(isRoot)("is refused where jails' users could not reach it", async () => {
    const folder = newFolder();
    await expect(prepareWorkDir(join(folder, 'inside'))).rejects.toThrow('other users cannot enter');
  });

  it('opens itself to jails whatever the umask is, and builds a root that lost files anew', async () => {
    const folder = newFolder();
    chmodSync(folder, 0o755);
    const workDir = join(folder, 'sandbox');
    const umask = process.umask(0o077);
    try {
      const first = testBackend({ workDir });
      expect((await first.status()).kind).toBe('ready');
      await first.close();
      const names = await readdir(join(workDir, 'roots'));
      expect(names.map((name) => name.split('-')[0]).sort()).toEqual(['node', 'python']);
      for (const name of names) rmSync(join(workDir, 'roots', name, 'root/usr/lib'), { recursive: true });
      const second = testExecution(testBackend({ workDir }));
      const outcome = await call(second, { code: textStats, toolName: 'count', arguments: { text: 'x y' } });
      expect(outcome).toMatchObject({ kind: 'delivered' });
      await second.close();
      // The same ingredients, the same content, the same name.
      expect(await readdir(join(workDir, 'roots'))).toEqual(names);
      expect(await readdir(join(workDir, 'owners'))).toEqual([]);
    } finally {
      process.umask(umask);
    }
  });
});

describe('control groups', () => {
  it('are found where they are mounted, on both versions and in containers', () => {
    const mounts = parseMounts(`35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 /docker/abc /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
42 31 0:39 / /proc rw - proc proc rw`);
    expect(mounts.map(({ fileSystem, mountPoint, root }) => [fileSystem, mountPoint, root])).toEqual([
      ['cgroup', '/sys/fs/cgroup/memory', '/'],
      ['cgroup', '/sys/fs/cgroup/cpu,cpuacct', '/'],
      ['cgroup2', '/sys/fs/cgroup/unified', '/docker/abc'],
    ]);
    expect(mounts[1]?.controllers).toEqual(expect.arrayContaining(['cpu', 'cpuacct']));
  });

  it('hold every process of a jail, bwrap itself included', async () => {
    const execution = testExecution(testBackend());
    const status = await execution.status();
    const running = call(execution, {
      code: attacks,
      toolName: 'ignore_signals',
      limits: { runTimeoutMs: 1500 },
    });
    if (status.kind === 'ready' && status.capabilities.memory === 'cgroup') {
      const counts = await untilTrue(async () => {
        const found = await countCgroupProcesses((await findTraces()).cgroups[0] ?? '');
        return found.includes(3) ? found : undefined;
      });
      expect(new Set(counts)).toEqual(new Set([3]));
    }
    await running;
    await execution.close();
  });
});

async function countCgroupProcesses(name: string): Promise<number[]> {
  const bases = ['memory/millicent', 'pids/millicent', 'cpu/millicent', 'millicent'];
  const files = bases.map((base) => join('/sys/fs/cgroup', base, name, 'cgroup.procs'));
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  return texts.filter((text) => text !== '').map((text) => text.trim().split('\n').length);
}

it('an inspection of a hung server ends, with its stderr', async () => {
  const execution = testExecution(testBackend());
  const code = codeOf([], {
    'server.py': "import sys, time\nprint('waiting for a sign', file=sys.stderr)\ntime.sleep(600)",
  });
  const inspection = await execution.inspect(
    { server: { kind: 'hosted', code, limits: { ...DEFAULT_LIMITS, runTimeoutMs: 500 }, hosts: [] } },
    never,
  );
  expect(inspection).toEqual({
    kind: 'refused',
    detail: 'The server did not answer within 15000 ms.',
    stderr: 'waiting for a sign\n',
  });
  await execution.close();
});

type Line = Record<string, unknown>;

function startGateway(
  order: Omit<GatewayOrder, 'workDir'> & Partial<GatewayOrder>,
  options: { uid?: number; inherited?: number } = {},
): { child: ChildProcess; lines: { next(): Promise<Line> } } {
  const script = join(import.meta.dirname, 'children/gateway.ts');
  const program = options.uid === undefined ? ['--import', 'tsx', script] : [bundleReadably(script)];
  const child = spawn(process.execPath, [...program, JSON.stringify({ workDir: WORK_DIR, ...order })], {
    stdio: ['ignore', 'pipe', 'inherit', ...inherit(options.inherited)],
    ...(options.uid === undefined
      ? {}
      : { uid: options.uid, gid: options.uid, env: { PATH: process.env.PATH } }),
  });
  children.push(child);
  if (child.stdout === null) throw new Error('no stdout');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the gateway ended');
    return JSON.parse(value) as Line;
  };
  return { child, lines: { next } };
}

/** One file with all it needs beside it, for a user who may not look into the clone. */
function bundleReadably(script: string): string {
  const folder = newFolder();
  chmodSync(folder, 0o755);
  const outfile = join(folder, 'bundle/gateway.mjs');
  const banner = "import{createRequire}from'node:module';const require=createRequire(import.meta.url);";
  buildSync({
    ...{ entryPoints: [script], outfile, bundle: true, platform: 'node', format: 'esm' },
    ...{ banner: { js: banner }, logLevel: 'error' },
  });
  cpSync(SERVERS, join(folder, 'bundle/servers'), { recursive: true });
  // Roots take their bootstraps from beside the folder of the code that builds them.
  cpSync(BOOTSTRAPS, join(folder, 'bootstraps'), { recursive: true });
  return outfile;
}

const BOOTSTRAPS = join(import.meta.dirname, '../../src/execution/policy/bootstraps');

/** Beyond a gap, because Node itself closes what it inherits up to the first number that is free. */
const INHERITED_FD = 40;

function inherit(fd: number | undefined): ('ignore' | number)[] {
  return fd === undefined ? [] : [...Array.from({ length: INHERITED_FD - 3 }, () => 'ignore' as const), fd];
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'millicent-test-'));
  folders.push(folder);
  return folder;
}

async function listJailUids(): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const uids = await Promise.all(
    pids.map(async (pid) => {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      if (!line.includes(join('owners', ownOwnerId())) || !line.includes('bwrap')) return [];
      return stat(`/proc/${pid}`).then(
        ({ uid }) => [uid],
        () => [],
      );
    }),
  );
  return uids.flat();
}

async function untilTrue<T>(ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error('waited too long');
    await sleep(5);
  }
}
