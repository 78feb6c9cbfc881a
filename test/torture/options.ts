import { MUTANTS, type MutantName } from './mutants.ts';

/** All that decides a storm. With the same ones the plan is the same, to the last request. */
export type StormOptions = {
  seed: number;
  /** How long things are sent; starting, mending and auditing come on top. */
  seconds: number;
  gateways: number;
  /** Keys with an account of their own; children come on top. */
  keys: number;
  /** Calls a second, over all gateways. */
  rate: number;
  /** How many of a hundred calls are of hosted tools, which run in a sandbox; the others run in the gateway. */
  hosted: number;
  /** Payments on all four rails, and their faults. */
  hasRails: boolean;
  /** Gateways, Postgres and jails are killed. */
  hasKills: boolean;
  hasClockJumps: boolean;
  mutant: MutantName | undefined;
};

const DEFAULTS: Omit<StormOptions, 'seed'> = {
  ...{ seconds: 180, gateways: 3, keys: 2_000, rate: 150, hosted: 15, hasRails: true },
  ...{ hasKills: true, hasClockJumps: true, mutant: undefined },
};

const SEEDS = 2 ** 31;

/** `given` over the defaults, with a seed of its own where none is given. */
export function completeOptions(given: Partial<StormOptions>): StormOptions {
  return { seed: Math.floor(Math.random() * SEEDS), ...DEFAULTS, ...given };
}

/** Reads the command line; throws with the mistake in words. */
export function readOptions(args: readonly string[]): StormOptions {
  const given: Partial<StormOptions> = {};
  const rest = [...args];
  while (rest.length > 0) {
    const name = rest.shift() ?? '';
    if (name === '--no-kills') given.hasKills = false;
    else if (name === '--no-clock-jumps') given.hasClockJumps = false;
    else if (name === '--no-rails') given.hasRails = false;
    else if (name === '--mutant') given.mutant = readMutant(rest.shift());
    else Object.assign(given, readNumber(name, rest.shift()));
  }
  return completeOptions(given);
}

/** The command that makes the same storm again. */
export function toCommand(options: StormOptions): string {
  const { seed, seconds, gateways, keys, rate, hosted, mutant } = options;
  return [
    ...['npm run torture --', '--seed', seed, '--seconds', seconds, '--gateways', gateways],
    ...['--keys', keys, '--rate', rate, '--hosted', hosted],
    ...(options.hasRails ? [] : ['--no-rails']),
    ...(options.hasKills ? [] : ['--no-kills']),
    ...(options.hasClockJumps ? [] : ['--no-clock-jumps']),
    ...(mutant === undefined ? [] : ['--mutant', mutant]),
  ].join(' ');
}

/** The least of each: with one gateway nothing races over two. */
const NUMBERS = { seed: 0, seconds: 1, gateways: 1, keys: 12, rate: 1, hosted: 0 } as const;

function readNumber(name: string, text: string | undefined): Partial<StormOptions> {
  const key = name.replace(/^--/, '');
  if (!name.startsWith('--') || !(key in NUMBERS)) throw new Error(`unknown option ${name}`);
  const least = NUMBERS[key as keyof typeof NUMBERS];
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`${name} is a whole number from ${least} up`);
  return { [key]: value };
}

function readMutant(text = ''): MutantName {
  if (!(text in MUTANTS)) throw new Error(`--mutant is one of ${Object.keys(MUTANTS).join(', ')}`);
  return text as MutantName;
}
