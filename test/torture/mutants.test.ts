import { describe, expect, inject, test } from 'vitest';
import { createTestDatabase } from '../harness/database.ts';
import { directAt, judgeMutant } from './directed.ts';
import { replacePiece } from './gateway/replace-piece.mjs';
import { findMutant, MUTANTS, type MutantName } from './mutants.ts';
import { toCommand } from './options.ts';
import { runStorm } from './run.ts';

/** One of each kind; all of them are `npm run torture -- --mutants`. */
const SHOWN: readonly MutantName[] = [
  ...(['row-lock', 'claim-key', 'settle-before-run', 'answer-early'] as const),
  ...(['release', 'receipt-number', 'hour-cap', 'revocation', 'conflict'] as const),
  ...(['revoked-in-whole', 'receipt-payer'] as const),
];
const AROUND_MS = 240_000;

describe('the storm notices', () => {
  test.each(SHOWN)(
    'the mutant %s',
    async (mutant) => {
      expect(inject('testDatabase').serverUrl).toBeDefined();
      const database = await createTestDatabase({ poolMax: 4 });
      const options = directAt(mutant);
      console.log(`torture: ${toCommand(options)}`);
      try {
        const { isCaught, broken, caughtBy } = judgeMutant(mutant, await runStorm(options, database));
        expect(isCaught, `broken: ${broken.join(', ')}; one of ${caughtBy.join(', ')} has to be`).toBe(true);
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
