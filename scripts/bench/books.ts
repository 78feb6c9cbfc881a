import type { Sql } from '../../src/db/index.ts';
import { checkLedger } from '../../src/ledger/index.ts';

/** What callers were told, and what the ledger says. */
export type Books = {
  label: string;
  acknowledged: number;
  captured: number;
  isRight: boolean;
  discrepancies: string[];
};

export type BooksInput = {
  /** What the books are called in the report. */
  name?: string;
  /** The label of the calls to count. */
  label: string;
  acknowledged: number;
  /** How many callers may have gone away before they heard: charged, and counted by nobody. */
  cutOffMax: number;
};

/** Proves every balance from the entries, and that each acknowledged charge is one captured hold. */
export async function proveBooks(sql: Sql, input: BooksInput): Promise<Books> {
  const { isBalanced, discrepancies } = await checkLedger(sql);
  const [row] = await sql<{ captured: number }[]>`
    SELECT count(*)::int AS captured FROM ledger_hold WHERE label = ${input.label} AND state = 'captured'`;
  const captured = row?.captured ?? 0;
  return {
    label: input.name ?? input.label,
    acknowledged: input.acknowledged,
    captured,
    isRight: isBalanced && isCountRight({ ...input, captured }),
    discrepancies: discrepancies.map(({ rule, subject, detail }) => `${rule} ${subject}: ${detail}`),
  };
}

/** Nothing that was acknowledged is missing, and nothing was charged that nobody can have asked for. */
export function isCountRight(input: { captured: number; acknowledged: number; cutOffMax: number }): boolean {
  const unheard = input.captured - input.acknowledged;
  return unheard >= 0 && unheard <= input.cutOffMax;
}
