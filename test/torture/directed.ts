import { MUTANTS, type MutantName } from './mutants.ts';
import { completeOptions, type StormOptions } from './options.ts';
import type { Report } from './run.ts';

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
  'answer-early': { seconds: 4, hosted: 0 },
  release: { hosted: 40 },
  // Keys have to end while every gateway remembers them, which it does for a second.
  revocation: { seconds: 12, hosted: 0 },
  'revoked-in-whole': { seconds: 12, hosted: 0, keys: 400, rate: 100 },
  'revoked-alone': { seconds: 12, hosted: 0, keys: 400, rate: 100 },
  'text-alone': { hosted: 40 },
  'fee-share': { hosted: 40 },
  'promo-earned': { hosted: 40 },
  // Children have to spend what they may within an hour.
  'hour-cap': { keys: 12, rate: 150 },
  // What these do is met on rails, mostly when the storm is over.
  exposure: { hasRails: true },
  'paused-hides': { hasRails: true },
  'never-cancelled': { hasRails: true },
  'any-payee': { hasRails: true },
  'other-quote': { hasRails: true },
  'attached-once': { hasRails: true },
  'left-in-hands': { hasRails: true },
  'final-at-once': { hasRails: true },
  // Gateways have to be killed while they settle.
  'settles-alone-never': { hasRails: true, hasKills: true, seconds: 15 },
};

/** The storm that a mutant is let loose in. */
export function directAt(mutant: MutantName): StormOptions {
  return completeOptions({ ...DIRECTED, ...NEEDS[mutant], mutant });
}

/** The rules that a storm over a mutant broke, and whether one of them is of those that have to notice it. */
export function judgeMutant(
  mutant: MutantName,
  { violations }: Pick<Report, 'violations'>,
): { isCaught: boolean; broken: string[]; caughtBy: readonly string[] } {
  const broken = [...new Set(violations.map(({ rule }) => rule))];
  const caughtBy: readonly string[] = MUTANTS[mutant].caughtBy;
  return { isCaught: broken.some((rule) => caughtBy.includes(rule)), broken, caughtBy };
}
