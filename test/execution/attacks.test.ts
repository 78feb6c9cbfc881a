import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Limits, Outcome } from '../../src/execution/index.ts';
import numbers from '../../src/execution/policy/syscalls.json' with { type: 'json' };
import {
  call,
  codeOf,
  findLastingTraces,
  NO_TRACES,
  testBackend,
  testExecution,
  textStats,
} from './harness.ts';

const MB = 1024 * 1024;
/** So that a slow machine fills it within the timeout. */
const SMALL = { memoryBytesMax: 128 * MB };
const attacks = codeOf(['mcp.py', 'attacks.py']);
const table: Record<string, number> = process.arch === 'arm64' ? numbers.arm64 : numbers.x64;

const REFUSED_CALLS = {
  'ptrace, process_vm_readv, pidfd_getfd': [
    'ptrace',
    'process_vm_readv',
    'process_vm_writev',
    'pidfd_getfd',
    'kcmp',
  ],
  'mount, pivot_root, mknod': [
    'mount',
    'umount2',
    'pivot_root',
    'chroot',
    'mknodat',
    'fsopen',
    'open_tree',
    'move_mount',
  ],
  'unshare, setns': ['unshare', 'setns'],
  'keyring, io_uring, perf, bpf, userfaultfd, modules': [
    ...['keyctl', 'add_key', 'request_key', 'io_uring_setup', 'io_uring_enter', 'perf_event_open', 'bpf'],
    ...['userfaultfd', 'init_module', 'finit_module', 'delete_module', 'kexec_load', 'open_by_handle_at'],
  ],
} as const;

describe.each([
  { name: 'control groups', cgroups: 'auto' },
  { name: 'no control groups', cgroups: 'off' },
] as const)('an attack is contained with $name:', ({ cgroups }) => {
  const backend = testBackend({ cgroups });
  const execution = testExecution(backend);
  let hasCgroups = false;

  beforeAll(async () => {
    const status = await execution.status();
    if (status.kind === 'unavailable') throw new Error(status.detail);
    hasCgroups = status.capabilities.memory === 'cgroup';
    if (cgroups === 'off') expect(hasCgroups).toBe(false);
  });
  afterEach(async () => {
    expect(await findLastingTraces()).toEqual(NO_TRACES);
    const next = await call(execution, {
      code: textStats,
      toolName: 'count',
      arguments: { text: 'still alive' },
    });
    expect(next).toMatchObject({ kind: 'delivered', result: { structuredContent: { words: 2 } } });
    expect(await findLastingTraces()).toEqual(NO_TRACES);
  });
  afterAll(() => execution.close());

  const attack = (
    toolName: string,
    given: Parameters<typeof call>[1]['arguments'] = {},
    limits: Partial<Limits> = {},
  ) => call(execution, { code: attacks, toolName, arguments: given, limits });
  const report = async (...input: Parameters<typeof attack>): Promise<Record<string, unknown>> => {
    const outcome = await attack(...input);
    if (outcome.kind === 'failed') throw new Error(`${outcome.reason}: ${outcome.detail}`);
    return { ...outcome.result.structuredContent };
  };
  const failure = async (
    ...input: Parameters<typeof attack>
  ): Promise<Extract<Outcome, { kind: 'failed' }>> => {
    const outcome = await attack(...input);
    if (outcome.kind === 'delivered') throw new Error(`delivered: ${JSON.stringify(outcome.result)}`);
    return outcome;
  };

  it('fork bomb', async () => {
    const { reason } = await failure('fork_bomb', {}, { runTimeoutMs: 1500 });
    expect(reason).toBe(hasCgroups ? 'timeout' : 'tool-error');
  });

  it('thread bomb', async () => {
    const { started } = await report('thread_bomb');
    expect(started).toBeLessThan(34);
  });

  it('memory bomb in one process', async () => {
    const { reason, detail } = await failure('memory_bomb', {}, SMALL);
    expect(reason).toBe(hasCgroups ? 'out-of-memory' : 'tool-error');
    expect(detail).toMatch(/memory/i);
  });

  it('memory bomb in forks', async () => {
    const outcome = await attack('memory_bomb_in_forks', {}, SMALL);
    if (!hasCgroups) expect(outcome).toMatchObject({ kind: 'failed', reason: 'tool-error' });
    // The kernel may choose a fork as its victim, or the server that waits for them.
    else if (outcome.kind === 'failed') expect(outcome.reason).toBe('out-of-memory');
    else expect(outcome.result.structuredContent?.killed).toBeGreaterThan(0);
  });

  it('memory in anonymous files', async () => {
    const { reason } = await failure('memfd_bomb', {}, SMALL);
    expect(reason).toBe(hasCgroups ? 'out-of-memory' : 'tool-error');
  });

  it('memory in /dev/shm and SysV segments', async () => {
    const { bytes, end, sysv } = await report('shared_memory', { shmget: table.shmget ?? -1 });
    expect({ end, sysv }).toEqual({ end: 'ENOSPC', sysv: 'EPERM' });
    expect(bytes).toBeLessThanOrEqual(MB);
  });

  it('disk fill', async () => {
    const { bytes, end } = await report('disk_fill');
    expect(end).toBe('ENOSPC');
    expect(bytes).toBeLessThanOrEqual(64 * MB);
  });

  it('inode bomb', async () => {
    const { reason } = await failure('inode_bomb', {}, { runTimeoutMs: 2000, memoryBytesMax: 128 * MB });
    expect(['timeout', 'out-of-memory', 'tool-error']).toContain(reason);
  });

  it('write outside /tmp', async () => {
    const results = await report('write_outside');
    expect(new Set(Object.values(results))).toEqual(new Set(['EROFS']));
  });

  it('changing its own code for the next caller', async () => {
    const results = Object.values(await report('write_code'));
    expect(results.filter((result) => result !== 'EROFS' && result !== 'EACCES')).toEqual([]);
  });

  it('host files, secrets, docker.sock, /proc leaks, core_pattern, release_agent', async () => {
    const { paths, ...folders } = await report('host_files', { paths: [import.meta.dirname] });
    expect(new Set(Object.values(paths as object))).toEqual(new Set(['ENOENT']));
    expect(folders).toEqual({
      root: ['bin', 'dev', 'etc', 'lib', 'lib64', 'mcp', 'tmp', 'usr'],
      etc: ['group', 'hosts', 'nsswitch.conf', 'passwd'],
      tmp: [],
      code: ['attacks.py', 'mcp.py'],
    });
  });

  it("other tenants' files", async () => {
    const [one, other] = await Promise.all([report('other_tenant'), report('other_tenant')]);
    expect([one.seen, other.seen]).toEqual([[], []]);
    expect([one.uid, one.host]).toEqual([65534, 'mcp']);
  });

  it('environment and inherited descriptors', async () => {
    const { environment, fds } = await report('inheritance');
    const given = [
      'HOME',
      'LANG',
      'PATH',
      'PWD',
      'PYTHONDONTWRITEBYTECODE',
      'PYTHONNOUSERSITE',
      'PYTHONUNBUFFERED',
    ];
    expect(environment).toEqual([...given, 'TMPDIR'].sort());
    expect(fds).toEqual({});
  });

  it('loopback, metadata, DNS, abstract and path unix sockets', async () => {
    const abstract = `millicent-test-${process.pid}-${cgroups}`;
    const path = join(tmpdir(), `${abstract}.sock`);
    const servers = await Promise.all([listen(0), listen(`\0${abstract}`), listen(path)]);
    const address = servers[0]?.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    try {
      const results = await report('network', { port: port ?? 0, abstract, path });
      expect(results).toMatchObject({
        loopback: hasCgroups ? 'ECONNREFUSED' : 'EAFNOSUPPORT',
        metadata: hasCgroups ? 'ENETUNREACH' : 'EAFNOSUPPORT',
        internet: hasCgroups ? 'ENETUNREACH' : 'EAFNOSUPPORT',
        abstract: 'ECONNREFUSED',
        path: 'ENOENT',
      });
      expect([results.internet6, results.dns]).not.toContain('allowed');
    } finally {
      for (const server of servers) server.close();
    }
  });

  it('raw, packet, netlink, vsock, alg, xdp sockets', async () => {
    const results = await report('sockets');
    const refusal = hasCgroups ? 'EPERM' : 'EAFNOSUPPORT';
    expect(results).toMatchObject({ raw: refusal, raw6: refusal });
    const { raw, raw6, ...others } = results;
    expect(new Set(Object.values(others))).toEqual(new Set(['EAFNOSUPPORT']));
  });

  it.each(Object.entries(REFUSED_CALLS))('%s', async (_name, calls) => {
    const known = calls.filter((name) => table[name] !== undefined);
    const results = await report('system_calls', {
      numbers: Object.fromEntries(known.map((name) => [name, table[name] ?? -1])),
    });
    expect(results).toEqual(Object.fromEntries(known.map((name) => [name, 'EPERM'])));
  });

  it('clone with new namespaces, and clone3', async () => {
    const results = await report('clone_flags', { clone: table.clone ?? -1 });
    expect(new Set(Object.values(results))).toEqual(new Set(['EPERM']));
    expect(await report('system_calls', { numbers: { clone3: table.clone3 ?? -1 } })).toEqual({
      clone3: 'ENOSYS',
    });
  });

  it('socket-buffer memory', async () => {
    const outcome = await attack('socket_buffers');
    // How large one buffer may be is the machine's setting; what all may hold is ours.
    if (hasCgroups && outcome.kind === 'failed') return expect(outcome.reason).toBe('out-of-memory');
    if (outcome.kind === 'failed') throw new Error(outcome.detail);
    const { bytes, end } = outcome.result.structuredContent ?? {};
    expect(end).toBe('EMFILE');
    expect(bytes).toBeLessThan(hasCgroups ? 512 * MB : 128 * MB);
  });

  it('stdout flood', async () => {
    expect(await failure('stdout_flood')).toMatchObject({ reason: 'output-too-large' });
  });

  it('stderr flood', async () => {
    expect(await failure('stderr_flood')).toMatchObject({ reason: 'output-too-large' });
  });

  it('endless line', async () => {
    expect(await failure('endless_line')).toMatchObject({ reason: 'protocol' });
  });

  it('endless message', async () => {
    expect(await failure('endless_message')).toMatchObject({ reason: 'output-too-large' });
  });

  it('ignoring signals and sleeping past the timeout', async () => {
    const { reason, runMs } = await failure('ignore_signals', {}, { runTimeoutMs: 1000 });
    expect(reason).toBe('timeout');
    expect(runMs).toBeLessThan(1500);
  });

  it('CPU spin', async () => {
    expect(await failure('cpu_spin', {}, { runTimeoutMs: 1000 })).toMatchObject({ reason: 'timeout' });
  });

  it('closing stdout and sleeping on', async () => {
    expect(await failure('close_output', {}, { runTimeoutMs: 1000 })).toMatchObject({ reason: 'timeout' });
  });

  it('daemonised orphan', async () => {
    const outcome = await attack('orphan');
    expect(outcome.kind).toBe(hasCgroups ? 'delivered' : 'failed');
  });

  it('signalling the parent and everyone else', async () => {
    const results = await report('signal_everyone', { gateway: process.pid });
    // Its pid 1 is bwrap, deaf to signals from inside; nobody else is there.
    expect(results).toEqual({
      parent: 'allowed',
      parent_pid: 1,
      everyone: expect.any(String),
      host: 'ESRCH',
    });
  });

  it('setuid, capabilities, set-id files', async () => {
    expect(await report('identity')).toEqual({
      uid: 65534,
      groups: expect.toSatisfy((groups: number[]) => groups.every((group) => group === 65534)),
      setuid: 'EPERM',
      setgid: 'EPERM',
      set_ids: [],
      capabilities: 0,
      no_new_privs: 1,
    });
  });

  it('raising rlimits', async () => {
    const names = hasCgroups ? [] : ['RLIMIT_AS', 'RLIMIT_NPROC'];
    const results = await report('raise_limits', { names });
    expect(Object.values(results).filter((result) => result === 'allowed')).toEqual([]);
  });

  it('TIOCSTI and the controlling terminal', async () => {
    expect(await report('terminal')).toEqual({ TIOCSTI: 'EPERM', TIOCLINUX: 'EPERM', controlling: 'ENXIO' });
  });

  it.runIf(process.arch === 'x64')('int80 and x32 bypass', async () => {
    for (const name of ['int80', 'x32']) {
      expect(await failure(name)).toMatchObject({
        reason: 'crashed',
        detail: expect.stringMatching(/159|SIGSYS/),
      });
    }
  });
});

function listen(where: number | string): Promise<Server> {
  const server = createServer((socket) => socket.end('reached'));
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    if (typeof where === 'number') server.listen(where, '127.0.0.1', () => resolve(server));
    else server.listen(where, () => resolve(server));
  });
}
