import type { Books } from './books.ts';
import { measureCharges } from './charges/charge-rows.ts';
import { measureEndurance } from './endurance/endurance-rows.ts';
import { measureHttp } from './http/http-rows.ts';
import { measureLog } from './log/log-rows.ts';
import type { Plan } from './plan.ts';
import type { ThrowAwayPostgres } from './postgres.ts';
import { measureCrypto } from './profile/crypto-rows.ts';
import { measureRemote } from './remote/remote-rows.ts';
import { describeMachine, type Report } from './report.ts';
import type { Progress } from './rounds.ts';
import { measureSandbox } from './sandbox/sandbox-rows.ts';
import { measureStart } from './start/start-row.ts';
import { type Finding, ROW_NAMES, type RowName, toFailed } from './targets.ts';
import { measureWorkers } from './workers/worker-rows.ts';

export type RunDeps = { postgres: ThrowAwayPostgres; progress: Progress };

/** What a group of rows found out. */
export type Part = { findings: Finding[]; books?: Books[]; load?: string | undefined };

type Group = { owns(row: RowName): boolean; measure(deps: RunDeps, plan: Plan): Promise<Part> };

const startsWith =
  (...prefixes: string[]) =>
  (row: RowName) =>
    prefixes.some((prefix) => row.startsWith(prefix));

/** Groups share their servers; each is given the rows that are asked for and are its own. */
const GROUPS: Group[] = [
  { owns: startsWith('charges-'), measure: measureCharges },
  { owns: startsWith('paid-', 'challenge-'), measure: measureHttp },
  { owns: startsWith('crypto-'), measure: measureCrypto },
  { owns: startsWith('workers-'), measure: measureWorkers },
  { owns: startsWith('memory-', 'bytes-'), measure: measureEndurance },
  { owns: startsWith('start-'), measure: measureStart },
  {
    owns: startsWith('remote-'),
    measure: async (deps, plan) => ({ findings: await measureRemote(deps, plan) }),
  },
  {
    owns: startsWith('sandbox-'),
    measure: async (deps, plan) => ({ findings: await measureSandbox(deps, plan) }),
  },
  { owns: startsWith('log-'), measure: async (deps, plan) => ({ findings: await measureLog(deps, plan) }) },
];

/** Measures every row of the plan, group by group; a group that fails hides no other. */
export async function runPlan(deps: RunDeps, plan: Plan): Promise<Report> {
  const at = new Date().toISOString();
  const parts: Part[] = [];
  for (const { owns, measure } of GROUPS) {
    const rows = plan.rows.filter(owns);
    if (rows.length === 0) continue;
    parts.push(
      await measure(deps, { ...plan, rows }).catch((cause: unknown) => {
        deps.progress(`${rows.join(', ')} failed: ${cause instanceof Error ? cause.message : cause}`);
        return { findings: rows.map((row) => toFailed(row, cause)) };
      }),
    );
  }
  return {
    ...{ machine: describeMachine(deps.postgres.version), at, isQuick: plan.isQuick },
    load: parts.find(({ load }) => load !== undefined)?.load,
    findings: parts
      .flatMap(({ findings }) => findings)
      .sort((a, b) => ROW_NAMES.indexOf(a.row) - ROW_NAMES.indexOf(b.row)),
    books: parts.flatMap(({ books = [] }) => books),
  };
}
