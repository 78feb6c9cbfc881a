import { describe, expect, inject, test } from 'vitest';
import { createTestDatabase } from '../harness/database.ts';
import { replacePiece } from './gateway/replace-piece.mjs';
import { findMutant, MUTANTS, type MutantName } from './mutants.ts';
import { completeOptions, type StormOptions, toCommand } from './options.ts';
import { runStorm } from './run.ts';

/** Short and directed: few keys that both gateways race for. What a mutant needs to show itself comes on top. */
const DIRECTED: Partial<StormOptions> = {
  ...{ seed: 11, seconds: 6, gateways: 2, keys: 16, rate: 60, hosted: 10 },
  ...{ hasRails: false, hasKills: false, hasClockJumps: false },
};
const NEEDS: Partial<Record<MutantName, Partial<StormOptions>>> = {
  // All at once, so that two gateways are at one account at the same moment.
  'row-lock': { seconds: 1, rate: 900 },
  // Somebody has to leave a hold behind.
  expiry: { hasKills: true, hosted: 60, seconds: 8 },
  'settle-before-run': { hosted: 40 },
  'settle-failed': { hosted: 40 },
  undelivered: { hosted: 40 },
  release: { hosted: 40 },
};
const AROUND_MS = 240_000;

describe('the storm notices', () => {
  test.each(Object.keys(MUTANTS) as MutantName[])(
    'the mutant %s',
    async (mutant) => {
      expect(inject('testDatabase').serverUrl).toBeDefined();
      const database = await createTestDatabase({ poolMax: 4 });
      const options = completeOptions({ ...DIRECTED, ...NEEDS[mutant], mutant });
      console.log(`torture: ${toCommand(options)}`);
      try {
        const { violations } = await runStorm(options, database);
        const broken = new Set(violations.map(({ rule }) => rule));
        const { caughtBy } = MUTANTS[mutant];
        expect([...broken], caughtBy.join(' or ')).toSatisfy((rules: string[]) =>
          rules.some((rule) => (caughtBy as readonly string[]).includes(rule)),
        );
      } finally {
        await database.close();
      }
    },
    AROUND_MS,
  );
});

test('a mutant whose piece of source is no longer there, or there twice, is refused', () => {
  for (const mutant of Object.keys(MUTANTS)) findMutant(mutant as MutantName);
  const piece = { file: 'a.ts', find: 'lock', replace: '' };
  expect(() => replacePiece('nothing of it', piece)).toThrow('has 0 times, and not 1');
  expect(() => replacePiece('lock and lock', piece)).toThrow('has 2 times, and not 1');
  expect(replacePiece('one lock', piece)).toBe('one ');
});
