import { parseArgs } from 'node:util';
import { ROW_NAMES, type RowName } from './targets.ts';

/** What a run measures, and for how long. */
export type Plan = {
  rows: readonly RowName[];
  isJson: boolean;
  rounds: number;
  /** One measurement of one variant. */
  seconds: number;
  /** Before the first round, unmeasured: compilers and caches settle. */
  warmSeconds: number;
  /** Accounts of the row that spreads its charges. */
  payers: number;
  /** How long the log is that is appended to and proven from. */
  leaves: number;
};

const FULL = { rounds: 5, seconds: 3, warmSeconds: 2, payers: 10_000, leaves: 1_000_000 };
/** Enough to see that every part works; its ratios mean little. */
const QUICK = { rounds: 2, seconds: 0.5, warmSeconds: 0.5, payers: 200, leaves: 20_000 };

export const USAGE = `npm run bench -- [--only <row>]... [--quick] [--json]
rows: ${ROW_NAMES.join(', ')}`;

/** Reads the command line; throws with a sentence for whoever typed it. */
export function readPlan(args: string[]): Plan {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', multiple: true },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const unknown = values.only?.find((name) => !ROW_NAMES.some((row) => row === name));
  if (unknown !== undefined) throw new TypeError(`There is no row "${unknown}".`);
  const rows = ROW_NAMES.filter((row) => values.only?.includes(row) ?? true);
  return { rows, isJson: values.json, ...(values.quick ? QUICK : FULL) };
}
