import { readFile } from 'node:fs/promises';
import { type Plan, readPlan, USAGE } from './plan.ts';
import { startThrowAwayPostgres } from './postgres.ts';
import { writeReadme } from './readme.ts';
import { faultsOf, formatReport, type Report, readReport, toJson } from './report.ts';
import { runPlan } from './run.ts';
import { touchMemory } from './touch-memory.ts';

/**
 * `npm run bench`: figures beside peers that are measured in the same run. Fails when the books are wrong or a row
 * could not be measured; a missed floor is said in the table.
 */
async function main(): Promise<void> {
  const plan = readPlanOrExplain();
  if (!plan) return;
  const report =
    plan.from === undefined ? await measure(plan) : readReport(await readFile(plan.from, 'utf8'));
  console.log(plan.isJson ? toJson(report) : `\n${formatReport(report)}`);
  const faults = faultsOf(report);
  for (const fault of faults) console.error(`bench: ${fault}`);
  if (faults.length > 0) process.exitCode = 1;
  if (!plan.writesReadme) return;
  try {
    await writeReadme(report);
  } catch (cause) {
    console.error(`bench: ${cause instanceof Error ? cause.message : cause}`);
    process.exitCode = 1;
  }
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
  if (!plan.isQuick) {
    progress('touching memory');
    await touchMemory();
  }
  progress('starting PostgreSQL');
  const postgres = await startThrowAwayPostgres();
  // The servers end with us; PostgreSQL would run on over data that nobody needs.
  const interrupt = () => {
    postgres.close().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    return await runPlan({ postgres, progress }, plan);
  } finally {
    await postgres.close();
  }
}

await main();
