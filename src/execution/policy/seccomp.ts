import { answer, assemble, type Instruction, jumpIfAtLeast, jumpIfEqual, load, mask } from './bpf.ts';
import numbers from './syscalls.json' with { type: 'json' };
import {
  type CallRule,
  type Condition,
  type Errno,
  type Freedoms,
  systemCallPolicy,
} from './system-calls.ts';

/** The processors that the table of numbers covers. */
export type Architecture = 'x64' | 'arm64';

/**
 * The seccomp filter (classic BPF, as PR_SET_SECCOMP and `bwrap --seccomp` load it) of the one policy in
 * `system-calls.ts`.
 */
export function compileSeccomp(input: { arch: Architecture } & Freedoms): Buffer {
  const table: Readonly<Record<string, number>> = numbers[input.arch];
  const policy = systemCallPolicy(input);
  const rule = (name: string, body: Instruction[]): Instruction[] => {
    const number = table[name];
    // Several old calls exist on x64 only.
    return number === undefined ? [] : [jumpIfEqual(number, 0, body.length), ...body];
  };
  return assemble([
    ...checkArchitecture(input.arch),
    load(DATA.number),
    ...(input.arch === 'x64' ? [jumpIfAtLeast(X32_BIT, 0, 1), answer(KILL_PROCESS)] : []),
    ...policy.conditional.flatMap((call) => rule(call.name, compileConditions(call))),
    ...policy.allowed.flatMap((name) => rule(name, [answer(ALLOW)])),
    ...policy.refused.flatMap(({ name, errno }) => rule(name, [answer(refusal(errno))])),
    answer(refusal('ENOSYS')),
  ]);
}

/** Offsets in `struct seccomp_data`; the low half of an argument comes first on little-endian machines. */
const DATA = { number: 0, architecture: 4, arguments: 16 } as const;
const ARGUMENT_BYTES = 8;

/** AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64. */
const AUDIT_ARCHITECTURE = { x64: 0xc000003e, arm64: 0xc00000b7 } as const;
/** Set in the number of a call that uses the x32 ABI: the same kernel, past a table made for x64. */
const X32_BIT = 0x40000000;

const ALLOW = 0x7fff0000;
const KILL_PROCESS = 0x80000000;
const RETURN_ERRNO = 0x00050000;
const ERRNO = { EPERM: 1, ENOSYS: 38, EAFNOSUPPORT: 97 } as const satisfies Record<Errno, number>;

function refusal(errno: Errno): number {
  return RETURN_ERRNO | ERRNO[errno];
}

/** `int $0x80` enters the kernel as another architecture, with other numbers: that is no accident. */
function checkArchitecture(arch: Architecture): Instruction[] {
  return [load(DATA.architecture), jumpIfEqual(AUDIT_ARCHITECTURE[arch], 1, 0), answer(KILL_PROCESS)];
}

function compileConditions(call: CallRule): Instruction[] {
  return [...call.conditions.flatMap(compileCondition), answer(ALLOW)];
}

/**
 * Refuses, or falls through to what follows. Only the low 32 bits of an argument are looked at: the kernel
 * takes family, type, ioctl command and clone flags from there and ignores the rest.
 */
function compileCondition(condition: Condition): Instruction[] {
  const { values } = condition;
  const isWanted = condition.is === 'one-of';
  const comparisons = values.map((value, index) => {
    const rest = values.length - index - 1;
    // A hit of one-of skips the other comparisons and the refusal; a hit of none-of lands on the refusal.
    return jumpIfEqual(value, isWanted ? rest + 1 : rest, !isWanted && rest === 0 ? 1 : 0);
  });
  return [
    load(DATA.arguments + condition.argument * ARGUMENT_BYTES),
    mask(condition.mask),
    ...comparisons,
    answer(refusal(condition.otherwise)),
  ];
}
