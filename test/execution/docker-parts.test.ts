import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { readDocker } from '../../src/config/docker.ts';
import { readArchive, writeArchive } from '../../src/core/archive.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { openStreams } from '../../src/execution/backends/docker/attachment.ts';
import { createDockerBackend } from '../../src/execution/backends/docker/index.ts';
import { makeExecutable } from '../../src/execution/backends/docker/layer-archive.ts';
import { complement, spellDockerProfile } from '../../src/execution/policy/docker-profile.ts';
import numbers from '../../src/execution/policy/syscalls.json' with { type: 'json' };
import { type CallRule, systemCallPolicy } from '../../src/execution/policy/system-calls.ts';

const folder = mkdtempSync(join(tmpdir(), 'millicent-docker-'));
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the profile for container engines', () => {
  type Rule = {
    names: string[];
    action: string;
    errnoRet?: number;
    args?: { index: number; op: string; value: number; valueTwo: number }[];
  };
  const ERRNO = { EPERM: 1, ENOSYS: 38, EAFNOSUPPORT: 97 } as const;
  const policy = systemCallPolicy({ fork: true, memfd: true });
  /** 64-bit arguments, as a kernel compares them under a mask. */
  const matches = (rule: Rule, args: readonly bigint[]) =>
    (rule.args ?? []).every(
      ({ index, value, valueTwo }) => ((args[index] ?? 0n) & BigInt(value)) === BigInt(valueTwo),
    );
  const decide = (rules: readonly Rule[], name: string, args: readonly bigint[]) => {
    const answers = rules.filter((rule) => rule.names.includes(name) && matches(rule, args));
    return answers.map(({ action, errnoRet }) => (action === 'SCMP_ACT_ALLOW' ? 0 : errnoRet));
  };
  const expected = (call: CallRule, args: readonly bigint[]): number => {
    for (const { argument, mask, is, values, otherwise } of call.conditions) {
      const value = Number(BigInt.asUintN(32, args[argument] ?? 0n) & BigInt(mask));
      if (values.includes(value) !== (is === 'one-of')) return ERRNO[otherwise];
    }
    return 0;
  };

  describe.each(['x64', 'arm64'] as const)('of %s', (arch) => {
    const profile = JSON.parse(spellDockerProfile(arch)) as { defaultErrnoRet: number; syscalls: Rule[] };

    it('says one thing of every system call, and the same as our own filter', () => {
      const conditional = new Set(policy.conditional.map(({ name }) => name));
      for (const name of Object.keys(numbers[arch]).filter((each) => !conditional.has(each))) {
        const refusal = policy.refused.find((call) => call.name === name);
        const wanted = policy.allowed.includes(name) ? 0 : ERRNO[refusal?.errno ?? 'ENOSYS'];
        expect([name, decide(profile.syscalls, name, [])]).toEqual([name, [wanted]]);
      }
      expect(profile.defaultErrnoRet).toBe(ERRNO.ENOSYS);
    });

    it.each(policy.conditional.map((call) => [call.name, call] as const))(
      'decides %s by its arguments as our own filter does, whatever their upper half says',
      (name, call) => {
        const near = [0n, 1n, 2n, 10n, 16n, 40n, 0x5412n, 0x541cn, 0x10000000n, 0x7e020080n, 0x100005412n];
        const argument = fc.oneof(
          fc.constantFrom(...near),
          fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
          fc.bigInt({ min: 0n, max: 64n }),
          fc.constantFrom(...near).map((low) => low + 2n ** 32n),
        );
        fc.assert(
          fc.property(fc.tuple(argument, argument, argument), (args) => {
            expect(decide(profile.syscalls, name, args)).toEqual([expected(call, args)]);
          }),
          { numRuns: 500 },
        );
      },
    );

    it('says one thing of each argument in a rule, for a runtime takes two as alternatives', () => {
      for (const { args = [] } of profile.syscalls) {
        expect(new Set(args.map(({ index }) => index)).size).toBe(args.length);
      }
    });
  });

  it('patterns match every number but the given ones, each once', () => {
    const bits = fc.integer({ min: 1, max: 255 });
    fc.assert(
      fc.property(bits, fc.uniqueArray(fc.integer({ min: 0, max: 255 }), { minLength: 1 }), (mask, given) => {
        const values = given.map((value) => value & mask);
        const patterns = complement(mask, values);
        for (let number = 0; number < 256; number += 1) {
          const hits = patterns.filter((pattern) => (number & pattern.mask) === pattern.value).length;
          expect(hits).toBe(values.includes(number & mask) ? 0 : 1);
        }
      }),
    );
  });
});

describe('what comes over an attached connection', () => {
  const frame = (stream: number, content: Buffer) => {
    const header = Buffer.alloc(8);
    header.writeUInt8(stream, 0);
    header.writeUInt32BE(content.length, 4);
    return Buffer.concat([header, content]);
  };
  const connect = () => {
    const written: Buffer[] = [];
    const socket = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        written.push(chunk);
        done();
      },
    });
    return { socket, written, streams: openStreams(socket) };
  };

  it('is the two streams that went in, wherever it is cut', async () => {
    const piece = fc.record({ stream: fc.constantFrom(1, 2), content: fc.uint8Array({ maxLength: 40 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 20 }),
        fc.integer({ min: 1, max: 30 }),
        async (pieces, cut) => {
          const bytes = Buffer.concat(
            pieces.map(({ stream, content }) => frame(stream, Buffer.from(content))),
          );
          const { socket, streams } = connect();
          const reading = Promise.all([streams.stdout.toArray(), streams.stderr.toArray()]);
          for (let at = 0; at < bytes.length; at += cut) socket.push(bytes.subarray(at, at + cut));
          socket.push(null);
          const [out, err] = (await reading).map((chunks) => Buffer.concat(chunks));
          const sent = (stream: number) =>
            Buffer.concat(
              pieces.filter((each) => each.stream === stream).map(({ content }) => Buffer.from(content)),
            );
          expect([out, err]).toEqual([sent(1), sent(2)]);
        },
      ),
    );
  });

  it('is not taken from the connection while nobody reads one of its streams', async () => {
    const { socket, streams } = connect();
    for (let count = 0; count < 100; count += 1) socket.push(frame(1, Buffer.alloc(64 * 1024)));
    streams.stderr.resume();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(streams.stdout.readableLength).toBeLessThan(1024 * 1024);
    socket.push(null);
    expect((await text(streams.stdout)).length).toBe(100 * 64 * 1024);
  });

  it('ends both streams when the connection breaks, and throws nothing', async () => {
    const { socket, streams } = connect();
    const reading = Promise.all([text(streams.stdout), text(streams.stderr)]);
    socket.destroy(new Error('the engine is gone'));
    expect(await reading).toEqual(['', '']);
    streams.stdin.write('too late');
    await new Promise((resolve) => setTimeout(resolve, 5));
  });

  it('goes on after stdin was ended', async () => {
    const { socket, written, streams } = connect();
    streams.stdin.end('order');
    socket.push(frame(1, Buffer.from('answer')));
    socket.push(null);
    expect(await text(streams.stdout)).toBe('answer');
    expect(Buffer.concat(written).toString()).toBe('order');
  });
});

it('an archive made executable has the same files, and only its modes and checksums differ', () => {
  const files = new Map([
    ['node_modules/a/cli.js', Buffer.from('x'.repeat(1000))],
    [`node_modules/${'deep/'.repeat(60)}file.js`, Buffer.from('y')],
  ]);
  const archive = writeArchive(files, { longPaths: 'pax' });
  const executable = makeExecutable(archive);
  expect(executable.length).toBe(archive.length);
  expect(executable.toString('latin1').match(/0000555\0/g)?.length).toBe(3);
  const restored = Buffer.from(executable.toString('latin1').replaceAll('0000555\0', '0000644\0'), 'latin1');
  for (let offset = 0; offset < archive.length; offset += 512) {
    if (archive.toString('latin1', offset + 257, offset + 262) !== 'ustar') continue;
    archive.copy(restored, offset + 148, offset + 148, offset + 156);
  }
  expect(readArchive(restored, { longPaths: 'pax' })).toEqual(files);
});

describe('an engine that lacks what jails need is refused in one sentence:', () => {
  const GOOD = {
    OSType: 'linux',
    Architecture: process.arch === 'arm64' ? 'aarch64' : 'x86_64',
    NCPU: 2,
    KernelVersion: '6.1.0',
    MemoryLimit: true,
    PidsLimit: true,
    CpuCfsQuota: true,
    CgroupDriver: 'systemd',
    SecurityOptions: ['name=seccomp,profile=default'],
    Runtimes: { runc: { path: 'runc' } },
  };
  it.each([
    ['seccomp', { SecurityOptions: ['name=apparmor'] }, /no support for seccomp/],
    ['no options at all', { SecurityOptions: null }, /no support for seccomp/],
    ['memory', { MemoryLimit: false }, /cannot limit memory/],
    ['processes', { PidsLimit: false }, /cannot limit processes/],
    ['control groups', { CgroupDriver: 'none' }, /cannot limit anything/],
    ['another processor', { Architecture: 's390x' }, /its processor is s390x/],
    ['another system', { OSType: 'windows' }, /jails need Linux/],
    ['the runtime', { Runtimes: {} }, /no runtime named runc/],
  ])('%s', async (name, lack, reason) => {
    const socketPath = join(folder, `${name.replaceAll(' ', '-')}.sock`);
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ ...GOOD, ...lack }));
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    const backend = createDockerBackend({
      ...{ hosts: [{ kind: 'unix', socketPath }], workDir: folder, clock: systemClock, log: silentLog },
    });
    const status = await backend.status();
    expect(status).toEqual({ kind: 'unavailable', detail: expect.stringMatching(reason) });
    expect(status.kind === 'unavailable' && status.detail).toMatch(
      /^The Docker host cannot run jails: [^\n]*\.$/,
    );
    // Nothing was started there, and nothing brought.
    expect(asked).toEqual(['GET /info']);
    await backend.close();
  });
});

describe('an engine that keeps failing', () => {
  it('is asked ever less often, at most once a minute, and taken back when it answers', async () => {
    let now = 0;
    let asked = 0;
    const socketPath = join(folder, 'failing.sock');
    const server = createServer((_request, response) => {
      asked += 1;
      response.writeHead(500).end('{"message":"down"}');
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    const backend = createDockerBackend({
      hosts: [{ kind: 'unix', socketPath }],
      ...{ workDir: folder, clock: { now: () => new Date(now) }, log: silentLog },
    });
    const askedAt: number[] = [];
    for (; now < 200_000; now += 500) {
      const before = asked;
      expect((await backend.status()).kind).toBe('unavailable');
      if (asked > before) askedAt.push(now / 1000);
    }
    expect(askedAt).toEqual([0, 1, 3, 7, 15, 31, 63, 123, 183]);
    await backend.close();
  });
});

describe('the configuration', () => {
  const pem = (name: string) => {
    const path = join(folder, `${name}.pem`);
    writeFileSync(path, `-----BEGIN CERTIFICATE-----\n${name}\n-----END CERTIFICATE-----\n`);
    return path;
  };
  const tls = { DOCKER_TLS_CA: pem('ca'), DOCKER_TLS_CERT: pem('cert'), DOCKER_TLS_KEY: pem('key') };

  it('is none when nothing is set', () => {
    expect(readDocker({})).toBeUndefined();
  });

  it('names engines by socket and by address', () => {
    const DOCKER_HOSTS = 'unix:///var/run/docker.sock, tcp://10.0.0.7:2377,tcp://[fd00::7]';
    const ca = expect.stringContaining('ca');
    const cert = expect.stringContaining('cert');
    const key = expect.stringContaining('key');
    expect(readDocker({ DOCKER_HOSTS, ...tls, DOCKER_RUNTIME: 'runsc' })).toEqual({
      runtime: 'runsc',
      hosts: [
        { kind: 'unix', socketPath: '/var/run/docker.sock' },
        { kind: 'tls', host: '10.0.0.7', port: 2377, ca, cert, key },
        { kind: 'tls', host: 'fd00::7', port: 2376, ca, cert, key },
      ],
    });
    expect(readDocker({ DOCKER_HOSTS: 'unix:///run/docker.sock' })?.runtime).toBe('runc');
  });

  it.each([
    [{ DOCKER_RUNTIME: 'runsc' as const }, /DOCKER_RUNTIME is set: DOCKER_HOSTS must say/],
    [{ ...tls }, /DOCKER_TLS_CA is set: DOCKER_HOSTS/],
    [{ DOCKER_HOSTS: ' , ' }, /names no engine/],
    [{ DOCKER_HOSTS: 'tcp://10.0.0.7' }, /DOCKER_TLS_CA, DOCKER_TLS_CERT, DOCKER_TLS_KEY must be set/],
    [{ DOCKER_HOSTS: 'tcp://10.0.0.7', ...tls, DOCKER_TLS_KEY: undefined }, /: DOCKER_TLS_KEY must be set/],
    [
      { DOCKER_HOSTS: 'tcp://10.0.0.7', ...tls, DOCKER_TLS_KEY: '/nowhere' },
      /DOCKER_TLS_KEY is not the path/,
    ],
    [{ DOCKER_HOSTS: 'unix:///a', ...tls }, /DOCKER_TLS_CA is set, but DOCKER_HOSTS names no tcp/],
    [{ DOCKER_HOSTS: 'ssh://root@10.0.0.7' }, /not reached by ssh/],
    [{ DOCKER_HOSTS: 'http://10.0.0.7' }, /must be unix:/],
    [{ DOCKER_HOSTS: 'docker.sock' }, /must be unix:/],
    [{ DOCKER_HOSTS: 'tcp://10.0.0.7/prefix', ...tls }, /must be unix:/],
  ])('%j is refused, and the error names the variable', (env, reason) => {
    expect(() => readDocker(env as Parameters<typeof readDocker>[0])).toThrow(reason);
  });
});
