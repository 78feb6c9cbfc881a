/**
 * The attack specification, one test a line, for every backend that claims isolation. A backend's own test opens a
 * bench and runs all of it: `describeAttacks({ name, open, runtimes })`.
 */
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import type { Execution, Limits, Outcome, Runtime } from '../../src/execution/index.ts';
import numbers from '../../src/execution/policy/syscalls.json' with { type: 'json' };
import { describeElfAttacks } from './attacks-elf.ts';
import { describeNodeAttacks } from './attacks-node.ts';
import { describePythonAttacks } from './attacks-python.ts';
import { call, codeOf, textStats } from './harness.ts';
import { answeringElf } from './tiny-elf.ts';

/** One backend behind a whole execution, and a look at what it leaves on the machine. */
export type AttackBench = {
  execution: Execution;
  /** What jails have left: processes, control groups, containers, mounts, files. Waits a while for nothing. */
  findTraces(): Promise<string[]>;
  /** Whether a program may start others. Where it may not, memory is held by RLIMIT_AS. */
  hasForks: boolean;
  /** Whether a jail has a /proc, of its own processes only. */
  hasProc: boolean;
};

export type AttackSuite = {
  name: string;
  /** Called once; throws when the backend is not ready. */
  open(): Promise<AttackBench>;
  runtimes: readonly Runtime[];
};

/** How the attacks of one runtime are carried out. */
export type Attacker = {
  bench(): AttackBench;
  attack(
    toolName: string,
    given?: Parameters<typeof call>[1]['arguments'],
    limits?: Partial<Limits>,
  ): Promise<Outcome>;
  /** What the attack reports of itself; throws when it was ended. */
  report(...input: Parameters<Attacker['attack']>): Promise<Record<string, unknown>>;
  /** How the attack was ended; throws when it was not. */
  failure(...input: Parameters<Attacker['attack']>): Promise<Extract<Outcome, { kind: 'failed' }>>;
};

export const MB = 1024 * 1024;
/** So that a slow machine fills it within the timeout. */
export const SMALL = { memoryBytesMax: 128 * MB };
export const callNumbers: Record<string, number> = process.arch === 'arm64' ? numbers.arm64 : numbers.x64;

/** Each attack ends as an outcome or reports itself refused; then an honest call works, and nothing is left. */
export function describeAttacks({ name, open, runtimes }: AttackSuite): void {
  describe(`an attack is contained with ${name}`, () => {
    let opened: AttackBench | undefined;
    const bench = () => {
      if (opened === undefined) throw new Error('the bench is not open');
      return opened;
    };
    beforeAll(async () => {
      opened = await open();
      const status = await opened.execution.status();
      if (status.kind === 'unavailable') throw new Error(status.detail);
      expect(Object.keys(status.capabilities.roots)).toEqual(expect.arrayContaining([...runtimes]));
    }, 120_000);
    afterAll(() => opened?.execution.close());

    for (const runtime of runtimes) {
      describe(`in ${runtime}:`, () => {
        afterEach(async () => {
          expect(await bench().findTraces()).toEqual([]);
          expect(await call(bench().execution, HONEST[runtime])).toMatchObject({
            kind: 'delivered',
            result: { structuredContent: { words: 2 } },
          });
          expect(await bench().findTraces()).toEqual([]);
        }, 30_000);
        ATTACKS[runtime](createAttacker(bench, runtime));
      });
    }
  });
}

const ATTACKS = { python: describePythonAttacks, node: describeNodeAttacks, elf: describeElfAttacks };

const nodeAttacks = { ...codeOf(['mcp.mjs', 'attacks.mjs']), runtime: 'node' } as const;

const HONEST = {
  python: { code: textStats, toolName: 'count', arguments: { text: 'still alive' } },
  node: { code: nodeAttacks, toolName: 'count', arguments: { text: 'still alive' } },
  elf: { code: answeringElf('{"words":2}'), toolName: 'count' },
} as const;

const HOSTILE = { python: codeOf(['mcp.py', 'attacks.py']), node: nodeAttacks } as const;

function createAttacker(bench: () => AttackBench, runtime: Runtime): Attacker {
  const attack: Attacker['attack'] = (toolName, given = {}, limits = {}) => {
    const code = runtime === 'elf' ? answeringElf('{}', toolName) : HOSTILE[runtime];
    return call(bench().execution, { code, toolName, arguments: given, limits });
  };
  return {
    bench,
    attack,
    async report(...input) {
      const outcome = await attack(...input);
      if (outcome.kind === 'failed') throw new Error(`${outcome.reason}: ${outcome.detail}`);
      return { ...outcome.result.structuredContent };
    },
    async failure(...input) {
      const outcome = await attack(...input);
      if (outcome.kind !== 'failed') throw new Error(`not ended: ${JSON.stringify(outcome)}`);
      return outcome;
    },
  };
}
