import { parseArgs } from 'node:util';
import { ROW_NAMES, type RowName } from './targets.ts';

/** What a run measures, and for how long. */
export type Plan = {
  rows: readonly RowName[];
  isJson: boolean;
  isQuick: boolean;
  /** Puts the table into README.md. */
  writesReadme: boolean;
  /** A report of an earlier run, by `--json`, that is shown instead of measuring. */
  from: string | undefined;
  rounds: number;
  /** One measurement of one variant. */
  seconds: number;
  /** Before the first round, unmeasured: compilers and caches settle. */
  warmSeconds: number;
  /** Accounts of the row that spreads its charges. */
  payers: number;
  /** How long the log is that is appended to and proven from. */
  leaves: number;
  /** Paid calls before memory is read for the first and for the last time. */
  memoryCalls: { first: number; last: number };
  /** Paid calls that bytes on disk are told from. */
  bytesCalls: number;
  /** Second starts that are timed. */
  starts: number;
};

const FULL = {
  ...{ rounds: 5, seconds: 3, warmSeconds: 8, payers: 10_000, leaves: 1_000_000 },
  ...{ memoryCalls: { first: 10_000, last: 1_000_000 }, bytesCalls: 50_000, starts: 5 },
};
/** Enough to see that every part works; its figures mean little. */
const QUICK = {
  ...{ rounds: 2, seconds: 0.5, warmSeconds: 0.5, payers: 200, leaves: 20_000 },
  ...{ memoryCalls: { first: 500, last: 3_000 }, bytesCalls: 1_000, starts: 1 },
};

export const USAGE = `npm run bench -- [--only <row>]... [--quick] [--json] [--write-readme] [--from <report.json>]
rows: ${ROW_NAMES.join(', ')}`;

/** Reads the command line; throws with a sentence for whoever typed it. */
export function readPlan(args: string[]): Plan {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', multiple: true },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      'write-readme': { type: 'boolean', default: false },
      from: { type: 'string' },
    },
  });
  const unknown = values.only?.find((name) => !ROW_NAMES.some((row) => row === name));
  if (unknown !== undefined) throw new TypeError(`There is no row "${unknown}".`);
  const [only, isQuick, from] = [values.only, values.quick, values.from];
  if (values['write-readme'] && (only !== undefined || isQuick)) {
    throw new TypeError('README.md shows whole runs only: --write-readme goes without --only and --quick.');
  }
  if (from !== undefined && (only !== undefined || isQuick)) {
    throw new TypeError('--from shows a report as it was measured: it goes without --only and --quick.');
  }
  return {
    rows: ROW_NAMES.filter((row) => only?.includes(row) ?? true),
    ...{ isJson: values.json, isQuick, writesReadme: values['write-readme'], from },
    ...(isQuick ? QUICK : FULL),
  };
}
