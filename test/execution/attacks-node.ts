import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type Attacker, MB, SMALL } from './attack-suite.ts';

const ENDED = ['timeout', 'out-of-memory', 'crashed'];
const allowedOnes = (results: object) => Object.entries(results).filter(([, result]) => result === 'allowed');

/** What differs in Node: an engine with its own heap, threads and loaders. */
export function describeNodeAttacks({ attack, report, failure }: Attacker): void {
  it('fork bomb', async () => {
    expect(ENDED).toContain((await failure('fork_bomb', {}, { runTimeoutMs: 2000 })).reason);
  });

  it('thread bomb', async () => {
    // Node itself may refuse the thread that the kernel refuses.
    expect([...ENDED, 'tool-error']).toContain(
      (await failure('thread_bomb', {}, { runTimeoutMs: 3000 })).reason,
    );
  });

  it('memory bomb outside of the heap', async () => {
    expect(await failure('memory_bomb', {}, SMALL)).toMatchObject({ reason: 'out-of-memory' });
  });

  it('memory bomb in shared buffers', async () => {
    expect(await failure('shared_buffer_bomb', {}, SMALL)).toMatchObject({ reason: 'out-of-memory' });
  });

  it('memory bomb in the heap', async () => {
    const { reason } = await failure('heap_bomb', {}, { ...SMALL, runTimeoutMs: 20_000 });
    // The engine ends itself when its heap is full.
    expect(['out-of-memory', 'crashed']).toContain(reason);
  });

  it('disk fill', async () => {
    const { bytes, end } = await report('disk_fill');
    expect(end).toBe('ENOSPC');
    expect(bytes).toBeLessThanOrEqual(64 * MB);
  });

  it('write outside /tmp', async () => {
    const results = await report('write_outside');
    expect(Object.keys(results).length).toBe(9);
    expect(allowedOnes(results)).toEqual([]);
  });

  it('changing its own code for the next caller', async () => {
    await report('write_code');
    expect(await report('read_code')).toEqual({ isPoisoned: false, code: ['attacks.mjs', 'mcp.mjs'] });
  });

  it('host files, secrets, docker.sock, /proc, /sys', async () => {
    const found = await report('host_files', {
      paths: [import.meta.dirname, process.cwd(), process.execPath],
    });
    const { [process.execPath]: _engine, ...paths } = Object(found.paths);
    expect(new Set(Object.values(paths))).toEqual(new Set(['ENOENT']));
    expect(found.writes).not.toContain('allowed');
    expect(found).toMatchObject({ tmp: [], identity: [65534, 65534, 'mcp'] });
  });

  it('environment and inherited descriptors', async () => {
    const { environment, fds } = await report('inheritance');
    const ours =
      /^(HOME|HOSTNAME|LANG|LD_LIBRARY_PATH|MILLICENT_EGRESS|NODE_[A-Z_]+|PATH|PWD|TMPDIR|UV_[A-Z_]+)$/;
    const names = Array.isArray(environment) ? environment.map(String) : ['no list'];
    expect(names).toContain('HOME');
    expect(names.filter((name) => !ours.test(name))).toEqual([]);
    expect(fds).toEqual({});
  });

  it('loopback, metadata, DNS, abstract and path unix sockets', async () => {
    const abstract = `millicent-node-${process.pid}-${Date.now()}`;
    const path = join(tmpdir(), `${abstract}.sock`);
    const servers = await Promise.all(
      [{ port: 0, host: '127.0.0.1' }, { path: `\0${abstract}` }, { path }].map(
        (where) =>
          new Promise<ReturnType<typeof createServer>>((resolve) => {
            const server = createServer((socket) => socket.end('reached'));
            server.listen(where, () => resolve(server));
          }),
      ),
    );
    const address = servers[0]?.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    try {
      const results = await report('network', { port, abstract, path });
      expect(Object.keys(results).length).toBe(8);
      expect(allowedOnes(results)).toEqual([]);
    } finally {
      for (const server of servers) server.close();
    }
  });

  it('stdout flood', async () => {
    expect(await failure('stdout_flood')).toMatchObject({ reason: 'output-too-large' });
  });

  it('CPU spin', async () => {
    expect(await failure('cpu_spin', {}, { runTimeoutMs: 1000 })).toMatchObject({ reason: 'timeout' });
  });

  it('ignoring signals and sleeping past the timeout', async () => {
    expect(await failure('ignore_signals', {}, { runTimeoutMs: 1000 })).toMatchObject({ reason: 'timeout' });
  });

  it('daemonised orphan', async () => {
    expect((await attack('orphan')).kind).toBe('delivered');
  });

  it('signalling the gateway', async () => {
    expect(await report('signal_everyone', { gateway: process.pid })).toEqual({ host: 'ESRCH' });
  });

  it('a debugger that nobody outside reaches', async () => {
    await report('inspector');
  });
}
