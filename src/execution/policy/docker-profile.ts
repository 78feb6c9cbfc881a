import type { Architecture } from './seccomp.ts';
import numbers from './syscalls.json' with { type: 'json' };
import { type CallRule, type Condition, type Errno, systemCallPolicy } from './system-calls.ts';

/**
 * The policy of `system-calls.ts` as the JSON profile that container engines take (`--security-opt seccomp=`;
 * the format is moby's `profiles/seccomp`). libseccomp compiles it; what it adds, such as the death of a
 * program that enters the kernel as another architecture, is what our own compiler adds too.
 */
export function spellDockerProfile(arch: Architecture): string {
  const policy = systemCallPolicy({ fork: true, memfd: true });
  const refused = [...policy.refused, ...listUnnamed(arch, policy)];
  return JSON.stringify({
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: ERRNO.ENOSYS,
    architectures: [ARCHITECTURE[arch]],
    syscalls: [
      { names: [...policy.allowed, ...RUNTIME_CALLS], action: 'SCMP_ACT_ALLOW' },
      ...policy.conditional.flatMap(spellCall),
      ...(['EPERM', 'ENOSYS', 'EAFNOSUPPORT'] as const).flatMap((errno) => {
        const names = refused.filter((call) => call.errno === errno).map(({ name }) => name);
        return names.length === 0 ? [] : [{ names, action: 'SCMP_ACT_ERRNO', errnoRet: ERRNO[errno] }];
      }),
    ],
  });
}

const ARCHITECTURE = { x64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' } as const;
const ERRNO = { EPERM: 1, ENOSYS: 38, EAFNOSUPPORT: 97 } as const satisfies Record<Errno, number>;

/** What the engine's own runtime still needs between loading the filter and the first program. */
const RUNTIME_CALLS: readonly string[] = [];

/** Engines before 23 know no `defaultErrnoRet` and answer EPERM, at which libraries do not fall back: each by name. */
function listUnnamed(
  arch: Architecture,
  policy: ReturnType<typeof systemCallPolicy>,
): { name: string; errno: Errno }[] {
  const named = new Set([
    ...policy.allowed,
    ...policy.conditional.map(({ name }) => name),
    ...policy.refused.map(({ name }) => name),
  ]);
  return Object.keys(numbers[arch])
    .filter((name) => !named.has(name))
    .map((name) => ({ name, errno: 'ENOSYS' }));
}

type Argument = { index: number; op: 'SCMP_CMP_MASKED_EQ'; value: number; valueTwo: number };
type Rule = { names: string[]; action: string; errnoRet?: number; args?: Argument[] };

/**
 * A call under conditions, as rules that exclude each other: allowed where all conditions hold, and refused with
 * the error of the first that does not. Rules of one call are alternatives, and one rule can say only one thing
 * of each argument, so "none of these" has to be said as "any of those". Every comparison is masked: the kernel
 * ignores the upper half of these arguments, and one that looked at it could be passed by setting a bit there.
 */
function spellCall({ name, conditions }: CallRule): Rule[] {
  const rules: Rule[] = [];
  let holding: Argument[][] = [[]];
  for (const condition of conditions) {
    const [met, unmet] = splitByCondition(condition);
    const errnoRet = ERRNO[condition.otherwise];
    for (const args of combine(holding, unmet)) {
      rules.push({ names: [name], action: 'SCMP_ACT_ERRNO', errnoRet, args });
    }
    holding = combine(holding, met);
  }
  return [
    ...holding.map((args) => ({
      names: [name],
      action: 'SCMP_ACT_ALLOW',
      ...(args.length === 0 ? {} : { args }),
    })),
    ...rules,
  ];
}

function combine(some: readonly Argument[][], others: readonly Argument[]): Argument[][] {
  return some.flatMap((args) => others.map((other) => [...args, other]));
}

/** Comparisons of which one is true exactly when the condition holds, and those for when it does not. */
function splitByCondition({ argument, mask, is, values }: Condition): [Argument[], Argument[]] {
  const compare = (pattern: Pattern): Argument => ({
    index: argument,
    op: 'SCMP_CMP_MASKED_EQ',
    value: pattern.mask,
    valueTwo: pattern.value,
  });
  const listed = values.map((value) => compare({ mask, value }));
  const unlisted = complement(mask, values).map(compare);
  return is === 'one-of' ? [listed, unlisted] : [unlisted, listed];
}

type Pattern = { mask: number; value: number };

/**
 * Patterns that match every number but these, each number once, looking only at the bits of `mask`: bit by bit
 * from the top, a half without any of the values is one pattern, and the other half is looked at further.
 */
export function complement(mask: number, values: readonly number[]): Pattern[] {
  const bits = Array.from({ length: 32 }, (_, index) => 2 ** (31 - index)).filter(
    (bit) => (mask & bit) !== 0,
  );
  const search = (depth: number, prefix: Pattern, inside: readonly number[]): Pattern[] => {
    if (inside.length === 0) return [prefix];
    const bit = bits[depth];
    if (bit === undefined) return [];
    const halves = [0, bit].map((set) => {
      const half = { mask: prefix.mask + bit, value: prefix.value + set };
      return search(
        depth + 1,
        half,
        inside.filter((value) => (value & bit) >>> 0 === set),
      );
    });
    return halves.flat();
  };
  return search(0, { mask: 0, value: 0 }, values);
}
