import { measureCharges } from './charges/charge-rows.ts';
import { measureHttp } from './http/http-rows.ts';
import { measureLog } from './log/log-rows.ts';
import { type Plan, readPlan, USAGE } from './plan.ts';
import { startThrowAwayPostgres } from './postgres.ts';
import { measureRemote } from './remote/remote-rows.ts';
import { describeMachine, formatReport, type Report, toJson } from './report.ts';
import { measureSandbox } from './sandbox/sandbox-rows.ts';
import { ROW_NAMES } from './targets.ts';

/** `npm run bench`: figures as ratios against peers measured in the same run. Fails when the books are wrong. */
async function main(): Promise<void> {
  const plan = readPlanOrExplain();
  if (!plan) return;
  const report = await measure(plan);
  console.log(plan.isJson ? toJson(report) : `\n${formatReport(report)}`);
  if (report.books.some(({ isRight }) => !isRight)) process.exitCode = 1;
}

function readPlanOrExplain(): Plan | undefined {
  try {
    return readPlan(process.argv.slice(2));
  } catch (cause) {
    console.error(`${cause instanceof Error ? cause.message : cause}\n${USAGE}`);
    process.exitCode = 2;
    return undefined;
  }
}

async function measure(plan: Plan): Promise<Report> {
  const started = Date.now();
  const progress = (step: string) => {
    process.stderr.write(`${String(Math.round((Date.now() - started) / 1_000)).padStart(4)} s  ${step}\n`);
  };
  progress('starting PostgreSQL');
  const postgres = await startThrowAwayPostgres();
  // The servers end with us; PostgreSQL would run on over data that nobody needs.
  const interrupt = () => {
    postgres.close().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    const charges = await measureCharges({ postgres, progress }, plan);
    const http = await measureHttp({ postgres, progress }, plan);
    const remote = await measureRemote({ progress }, plan);
    const sandbox = await measureSandbox({ progress }, plan);
    const log = await measureLog({ postgres, progress }, plan);
    const findings = [...charges.findings, ...http.findings, ...remote, ...sandbox, ...log].sort(
      (a, b) => ROW_NAMES.indexOf(a.row) - ROW_NAMES.indexOf(b.row),
    );
    const machine = describeMachine(postgres.version);
    return { machine, load: http.load, findings, books: [...charges.books, ...http.books] };
  } finally {
    await postgres.close();
  }
}

await main();
