import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type Attacker, callNumbers, MB, SMALL } from './attack-suite.ts';

const REFUSED_CALLS = {
  'ptrace, process_vm_readv, pidfd_getfd': [
    ...['ptrace', 'process_vm_readv', 'process_vm_writev', 'pidfd_getfd', 'kcmp'],
  ],
  'mount, pivot_root, mknod': [
    ...['mount', 'umount2', 'pivot_root', 'chroot', 'mknodat', 'fsopen', 'open_tree', 'move_mount'],
  ],
  'unshare, setns': ['unshare', 'setns'],
  'keyring, io_uring, perf, bpf, userfaultfd, modules': [
    ...['keyctl', 'add_key', 'request_key', 'io_uring_setup', 'io_uring_enter', 'perf_event_open', 'bpf'],
    ...['userfaultfd', 'init_module', 'finit_module', 'delete_module', 'kexec_load', 'open_by_handle_at'],
  ],
};

/** The filter or a missing privilege said no: the kernel has not looked at any argument. */
const isRefused = (result: unknown) => result === 'EPERM' || result === 'ENOSYS' || result === 'EACCES';
const allowedOnes = (results: object) => Object.entries(results).filter(([, result]) => result === 'allowed');

/** What a jail may have in its environment; all of it is ours. */
const ENVIRONMENT =
  /^(HOME|HOSTNAME|LANG|LD_LIBRARY_PATH|MILLICENT_EGRESS|NODE_[A-Z_]+|PATH|PWD|PYTHON[A-Z]+|TMPDIR|UV_[A-Z_]+)$/;

export function describePythonAttacks(attacker: Attacker): void {
  describeResourceAttacks(attacker);
  describeFileAttacks(attacker);
  describeKernelAttacks(attacker);
  describeBehaviour(attacker);
}

function describeResourceAttacks({ attack, report, failure, bench }: Attacker): void {
  it('fork bomb', async () => {
    const { reason } = await failure('fork_bomb', {}, { runTimeoutMs: 1500 });
    expect(reason).toBe(bench().hasForks ? 'timeout' : 'tool-error');
  });

  it('thread bomb', async () => {
    expect((await report('thread_bomb')).started).toBeLessThan(34);
  });

  it('memory bomb in one process', async () => {
    const { reason, detail } = await failure('memory_bomb', {}, SMALL);
    expect(reason).toBe(bench().hasForks ? 'out-of-memory' : 'tool-error');
    expect(detail).toMatch(/memory/i);
  });

  it('memory bomb in forks', async () => {
    const outcome = await attack('memory_bomb_in_forks', {}, SMALL);
    if (!bench().hasForks) expect(outcome).toMatchObject({ kind: 'failed', reason: 'tool-error' });
    // The kernel may choose a fork as its victim, or the server that waits for them.
    else if (outcome.kind === 'delivered')
      expect(outcome.result.structuredContent?.killed).toBeGreaterThan(0);
    else expect(outcome).toMatchObject({ kind: 'failed', reason: 'out-of-memory' });
  });

  it('memory in anonymous files', async () => {
    const { reason } = await failure('memfd_bomb', {}, SMALL);
    expect(reason).toBe(bench().hasForks ? 'out-of-memory' : 'tool-error');
  });

  it('memory in /dev/shm and SysV segments', async () => {
    const { bytes, end, sysv } = await report('shared_memory', { shmget: callNumbers.shmget ?? -1 });
    expect({ end, sysv }).toEqual({ end: 'ENOSPC', sysv: 'EPERM' });
    expect(bytes).toBeLessThanOrEqual(MB);
  });

  it('disk fill', async () => {
    const { bytes, end } = await report('disk_fill');
    expect(end).toBe('ENOSPC');
    expect(bytes).toBeLessThanOrEqual(64 * MB);
  });

  it('disk fill in /mcp', async () => {
    const { bytes } = await report('code_fill');
    expect(bytes).toBeLessThanOrEqual(64 * MB);
  });

  it('inode bomb', async () => {
    const { reason } = await failure('inode_bomb', {}, { runTimeoutMs: 2000, ...SMALL });
    expect(['timeout', 'out-of-memory', 'tool-error']).toContain(reason);
  });

  it('socket-buffer memory', async () => {
    const outcome = await attack('socket_buffers');
    // How large one buffer may be is the machine's setting; what all may hold is ours.
    if (bench().hasForks && outcome.kind === 'failed') return expect(outcome.reason).toBe('out-of-memory');
    if (outcome.kind !== 'delivered') throw new Error(JSON.stringify(outcome));
    const { bytes, end } = outcome.result.structuredContent ?? {};
    expect(end).toBe('EMFILE');
    expect(bytes).toBeLessThan(bench().hasForks ? 512 * MB : 128 * MB);
  });
}

function describeFileAttacks({ report, bench }: Attacker): void {
  it('write outside /tmp', async () => {
    expect(allowedOnes(await report('write_outside'))).toEqual([]);
  });

  it('changing its own code for the next caller', async () => {
    // A jail's user owns its copy and may change it back to writable; the copy dies with the call.
    await report('write_code');
    expect(await report('read_code')).toEqual({ isPoisoned: false, code: ['attacks.py', 'mcp.py'] });
  });

  it('host files, secrets, docker.sock', async () => {
    const { paths, ...folders } = await report('host_files', { paths: [import.meta.dirname, process.cwd()] });
    expect(new Set(Object.values(Object(paths)))).toEqual(new Set(['ENOENT']));
    expect(folders).toMatchObject({ tmp: [], layers: [], run: [] });
  });

  it('/proc leaks, /proc/self/exe, core_pattern, release_agent', async () => {
    const { writes, environments } = await report('kernel_files');
    const results = Object.values(Object(writes));
    expect(results.length).toBeGreaterThan(5);
    if (bench().hasProc) expect(results).not.toContain('allowed');
    else expect(new Set(results)).toEqual(new Set(['ENOENT']));
    const names = Array.isArray(environments) ? environments.map(String) : ['no list'];
    expect(names.filter((name) => !ENVIRONMENT.test(name))).toEqual([]);
  });

  it("other tenants' files", async () => {
    const [one, other] = await Promise.all([report('other_tenant'), report('other_tenant')]);
    expect([one.seen, other.seen]).toEqual([[], []]);
    expect([one.uid, one.host]).toEqual([65534, 'mcp']);
  });

  it('environment and inherited descriptors', async () => {
    process.env.MILLICENT_TEST_SECRET = 'the secret';
    const { environment, fds } = await report('inheritance');
    const names = Array.isArray(environment) ? environment.map(String) : ['no list'];
    expect(names).toContain('HOME');
    expect(names.filter((name) => !ENVIRONMENT.test(name))).toEqual([]);
    expect(fds).toEqual({});
  });

  it('loopback, metadata, DNS, abstract and path unix sockets', async () => {
    const abstract = `millicent-test-${process.pid}-${Date.now()}`;
    const path = join(tmpdir(), `${abstract}.sock`);
    const servers = await Promise.all([listen(0), listen(`\0${abstract}`), listen(path)]);
    const address = servers[0]?.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    try {
      const results = await report('network', { port: port ?? 0, abstract, path });
      expect(Object.keys(results).length).toBe(7);
      expect(allowedOnes(results)).toEqual([]);
    } finally {
      for (const server of servers) server.close();
    }
  });
}

function describeKernelAttacks({ report, attack, failure, bench }: Attacker): void {
  it('raw, packet, netlink, vsock, alg, xdp sockets', async () => {
    const { raw, raw6, ...others } = await report('sockets');
    expect([raw, raw6].filter((result) => result !== 'EPERM' && result !== 'EAFNOSUPPORT')).toEqual([]);
    expect(new Set(Object.values(others))).toEqual(new Set(['EAFNOSUPPORT']));
  });

  it.each(Object.entries(REFUSED_CALLS))('%s', async (_name, calls) => {
    const known = calls.filter((name) => callNumbers[name] !== undefined);
    const numbers = Object.fromEntries(known.map((name) => [name, callNumbers[name] ?? -1]));
    const results = await report('system_calls', { numbers });
    expect(Object.keys(results)).toEqual(known);
    expect(Object.entries(results).filter(([, result]) => !isRefused(result))).toEqual([]);
  });

  it('clone with new namespaces, and clone3', async () => {
    const results = await report('clone_flags', { clone: callNumbers.clone ?? -1 });
    expect(new Set(Object.values(results))).toEqual(new Set(['EPERM']));
    const numbers = { clone3: callNumbers.clone3 ?? -1 };
    expect(await report('system_calls', { numbers })).toEqual({ clone3: 'ENOSYS' });
  });

  it('setuid exec, capabilities, set-id files', async () => {
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
    const names = bench().hasForks ? [] : ['RLIMIT_AS', 'RLIMIT_NPROC'];
    const results = await report('raise_limits', { names });
    expect(Object.keys(results).length).toBeGreaterThan(2);
    expect(allowedOnes(results)).toEqual([]);
  });

  it('TIOCSTI and the controlling terminal', async () => {
    const { controlling, ...pushes } = await report('terminal');
    expect(controlling).not.toBe('allowed');
    expect(Object.values(pushes).filter((result) => !isRefused(result))).toEqual([]);
  });

  it.runIf(process.arch === 'x64')('int80 bypass', async () => {
    expect(await failure('int80')).toMatchObject({
      reason: 'crashed',
      detail: expect.stringMatching(/159|SIGSYS/),
    });
  });

  it.runIf(process.arch === 'x64')('x32 bypass', async () => {
    const outcome = await attack('x32');
    if (outcome.kind === 'delivered') expect(isRefused(outcome.result.structuredContent?.result)).toBe(true);
    else expect(outcome).toMatchObject({ reason: 'crashed', detail: expect.stringMatching(/159|SIGSYS/) });
  });
}

function describeBehaviour({ attack, report, failure, bench }: Attacker): void {
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
    expect(runMs).toBeLessThan(2500);
  });

  it('CPU spin', async () => {
    expect(await failure('cpu_spin', {}, { runTimeoutMs: 1000 })).toMatchObject({ reason: 'timeout' });
  });

  it('closing stdout and sleeping on', async () => {
    const { reason } = await failure('close_output', {}, { runTimeoutMs: 1000 });
    expect(['timeout', 'crashed']).toContain(reason);
  });

  it('daemonised orphan', async () => {
    const outcome = await attack('orphan');
    expect(outcome.kind).toBe(bench().hasForks ? 'delivered' : 'failed');
  });

  it('signalling the parent and everyone else', async () => {
    const outcome = await attack('signal_everyone', { gateway: process.pid });
    // Where its parent is nobody, it has killed itself.
    if (outcome.kind !== 'delivered') return expect(outcome).toMatchObject({ reason: 'crashed' });
    expect(outcome.result.structuredContent).toMatchObject({ host: 'ESRCH' });
  });

  it('protocol abuse: wrong ids, a second reply, deep JSON, __proto__', async () => {
    for (const kind of ['wrong id', 'second reply', 'deep', 'proto']) {
      expect([kind, (await failure('protocol_abuse', { kind })).reason]).toEqual([kind, 'protocol']);
    }
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
    expect(await report('read_code')).toMatchObject({ isPoisoned: false });
  });
}

function listen(where: number | string): Promise<Server> {
  const server = createServer((socket) => socket.end('reached'));
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    if (typeof where === 'number') server.listen(where, '127.0.0.1', () => resolve(server));
    else server.listen(where, () => resolve(server));
  });
}
