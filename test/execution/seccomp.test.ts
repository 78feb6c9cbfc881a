import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { answer, assemble, jumpIfEqual } from '../../src/execution/policy/bpf.ts';
import { compileSeccomp } from '../../src/execution/policy/seccomp.ts';
import numbers from '../../src/execution/policy/syscalls.json' with { type: 'json' };
import { systemCallPolicy } from '../../src/execution/policy/system-calls.ts';

const AUDIT = { x64: 0xc000003e, arm64: 0xc00000b7, i386: 0x40000003 };
const ARCHITECTURES = ['x64', 'arm64'] as const;
const VARIANTS = [
  { fork: true, memfd: true },
  { fork: false, memfd: false },
] as const;
const CLONE_THREAD_FLAGS = 0x3d0f00;
const NAMESPACE_FLAGS = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80];

type Call = { audit: number; number: number; arguments?: number[] };

/** What the kernel would answer: an interpreter of the few instructions that the compiler uses. */
function judge(filter: Buffer, call: Call): string {
  const [first = 0, second = 0, third = 0] = call.arguments ?? [];
  const words = new Map([
    [0, call.number],
    [4, call.audit],
    [16, first],
    [24, second],
    [32, third],
  ]);
  let accumulator = 0;
  for (let index = 0; index < filter.length / 8; index += 1) {
    const operand = filter.readUInt32LE(index * 8 + 4);
    const skip = (isTrue: boolean) => filter.readUInt8(index * 8 + (isTrue ? 2 : 3));
    switch (filter.readUInt16LE(index * 8)) {
      case 0x20:
        accumulator = words.get(operand) ?? Number.NaN;
        break;
      case 0x54:
        accumulator = (accumulator & operand) >>> 0;
        break;
      case 0x15:
        index += skip(accumulator === operand);
        break;
      case 0x35:
        index += skip(accumulator >= operand);
        break;
      case 0x06:
        return describeAction(operand);
      default:
        throw new Error('an instruction that the compiler should not emit');
    }
  }
  throw new Error('fell off the end');
}

function describeAction(value: number): string {
  if (value === 0x7fff0000) return 'allow';
  if (value === 0x80000000) return 'kill';
  return { 327681: 'EPERM', 327718: 'ENOSYS', 327777: 'EAFNOSUPPORT' }[value] ?? `?${value.toString(16)}`;
}

describe.each(ARCHITECTURES)('the seccomp filter of %s', (arch) => {
  const table: Record<string, number> = numbers[arch];
  const ask = (filter: Buffer, name: string, given: number[] = []) =>
    judge(filter, { audit: AUDIT[arch], number: table[name] ?? -1, arguments: given });

  it.each(VARIANTS)('answers every call of the table as the policy says, with fork=$fork', (freedoms) => {
    const filter = compileSeccomp({ arch, ...freedoms });
    const policy = systemCallPolicy(freedoms);
    const conditional = policy.conditional.map(({ name }) => name);
    for (const name of Object.keys(table)) {
      if (conditional.includes(name)) continue;
      const refusal = policy.refused.find((refused) => refused.name === name)?.errno ?? 'ENOSYS';
      expect(ask(filter, name), name).toBe(policy.allowed.includes(name) ? 'allow' : refusal);
    }
  });

  it('answers a number that nobody knows with ENOSYS, and never falls off its end', () => {
    const filter = compileSeccomp({ arch, fork: true, memfd: true });
    const known = new Set(Object.values(table));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0x3fffffff }), (number) => {
        fc.pre(!known.has(number));
        expect(judge(filter, { audit: AUDIT[arch], number })).toBe('ENOSYS');
      }),
    );
  });

  it('kills whoever calls the kernel as another architecture', () => {
    const filter = compileSeccomp({ arch, fork: true, memfd: true });
    const others = Object.values(AUDIT).filter((audit) => audit !== AUDIT[arch]);
    for (const audit of others) {
      for (const number of Object.values(table)) expect(judge(filter, { audit, number })).toBe('kill');
    }
  });

  it('lets no flags of clone make a namespace', () => {
    const filter = compileSeccomp({ arch, fork: true, memfd: true });
    expect(ask(filter, 'clone', [CLONE_THREAD_FLAGS, 0])).toBe('allow');
    expect(ask(filter, 'clone', [17, 0])).toBe('allow');
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.constantFrom(...NAMESPACE_FLAGS),
        (other, flag) => {
          expect(ask(filter, 'clone', [(other | flag) >>> 0, 0])).toBe('EPERM');
        },
      ),
    );
    expect(ask(filter, 'clone3')).toBe('ENOSYS');
  });

  it('leaves threads but no processes and no memfd without fork', () => {
    const filter = compileSeccomp({ arch, fork: false, memfd: false });
    expect(ask(filter, 'clone', [CLONE_THREAD_FLAGS, 0])).toBe('allow');
    expect(ask(filter, 'clone', [CLONE_THREAD_FLAGS | 0x10000000, 0])).toBe('EPERM');
    expect(ask(filter, 'clone', [17, 0])).toBe('EPERM');
    expect(ask(filter, 'clone', [0x4111, 0])).toBe('EPERM');
    expect(ask(filter, 'memfd_create')).toBe('EPERM');
    if (arch === 'x64') expect([ask(filter, 'fork'), ask(filter, 'vfork')]).toEqual(['EPERM', 'EPERM']);
  });

  it('opens stream and datagram sockets of unix and IP only', () => {
    const filter = compileSeccomp({ arch, fork: true, memfd: true });
    for (let family = 0; family < 64; family += 1) {
      for (let type = 0; type < 16; type += 1) {
        const isFamily = [1, 2, 10].includes(family);
        const expected = isFamily ? ([1, 2].includes(type) ? 'allow' : 'EPERM') : 'EAFNOSUPPORT';
        expect(ask(filter, 'socket', [family, type | 0x80800]), `${family}/${type}`).toBe(expected);
      }
    }
  });

  it('counts no socket memory that RLIMIT_AS does not: no large buffers, no TCP', () => {
    const filter = compileSeccomp({ arch, fork: false, memfd: false });
    expect([7, 8].map((option) => ask(filter, 'setsockopt', [3, 1, option]))).toEqual(['EPERM', 'EPERM']);
    expect(ask(filter, 'setsockopt', [3, 1, 2])).toBe('allow');
    expect([1, 2, 10].map((family) => ask(filter, 'socket', [family, 1]))).toEqual([
      ...['allow', 'EAFNOSUPPORT', 'EAFNOSUPPORT'],
    ]);
  });

  it('refuses to push characters into a terminal', () => {
    const filter = compileSeccomp({ arch, fork: true, memfd: true });
    expect(ask(filter, 'ioctl', [0, 0x5412])).toBe('EPERM');
    expect(ask(filter, 'ioctl', [0, 0x541c])).toBe('EPERM');
    expect(ask(filter, 'ioctl', [0, 0x5401])).toBe('allow');
  });
});

describe('the policy', () => {
  it('kills x32 calls, which are the same kernel under other numbers', () => {
    const filter = compileSeccomp({ arch: 'x64', fork: true, memfd: true });
    for (const number of Object.values(numbers.x64)) {
      expect(judge(filter, { audit: AUDIT.x64, number: (0x40000000 | number) >>> 0 })).toBe('kill');
    }
  });

  it.each(VARIANTS)('names no call twice, with fork=$fork', (freedoms) => {
    const { conditional, allowed, refused } = systemCallPolicy(freedoms);
    const names = [...conditional.map(({ name }) => name), ...allowed, ...refused.map(({ name }) => name)];
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  it('names only calls that exist', () => {
    const { conditional, allowed, refused } = systemCallPolicy({ fork: true, memfd: true });
    const known = new Set([...Object.keys(numbers.x64), ...Object.keys(numbers.arm64)]);
    const names = [...conditional.map(({ name }) => name), ...allowed, ...refused.map(({ name }) => name)];
    expect(names.filter((name) => !known.has(name))).toEqual([]);
  });

  it('cannot be assembled with a jump that does not fit or leads outside', () => {
    const long = Array.from({ length: 300 }, () => answer(0));
    expect(() => assemble([jumpIfEqual(1, 256, 0), ...long])).toThrow('too far');
    expect(() => assemble([jumpIfEqual(1, 1, 0), answer(0)])).toThrow('too far');
    expect(assemble([jumpIfEqual(1, 255, 0), ...long])).toHaveLength(301 * 8);
  });
});
