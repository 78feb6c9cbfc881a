import { directAt, judgeMutant } from './directed.ts';
import { MUTANTS, type MutantName } from './mutants.ts';
import { readOptions, toCommand } from './options.ts';
import { spellReport } from './report.ts';
import { runStorm } from './run.ts';

/** `npm run torture`: one storm, and 0 when everything held; `--mutants`: one over each, and 0 when all are caught. */
async function main(): Promise<void> {
  const given = process.argv.slice(2);
  if (given.length === 1 && given[0] === '--mutants') return runMutants();
  const options = readOptions(given);
  console.log(`torture: ${toCommand(options)}`);
  const report = await runStorm(options);
  console.log(spellReport(report));
  process.exitCode = report.violations.length === 0 ? 0 : 1;
}

async function runMutants(): Promise<void> {
  for (const mutant of Object.keys(MUTANTS) as MutantName[]) {
    const fromMs = performance.now();
    const verdict = await judge(mutant);
    console.log(`mutant ${mutant}: ${verdict} (${Math.round((performance.now() - fromMs) / 1_000)} s)`);
  }
}

/** A storm that could not be held hides no other mutant's. */
async function judge(mutant: MutantName): Promise<string> {
  try {
    const { isCaught, broken, caughtBy } = judgeMutant(mutant, await runStorm(directAt(mutant)));
    if (isCaught) return `caught; broke ${broken.join(', ')}`;
    process.exitCode ||= 1;
    return `SURVIVED, and was to break one of ${caughtBy.join(', ')}; broke ${broken.join(', ') || 'nothing'}`;
  } catch (cause) {
    console.error(cause);
    process.exitCode = 2;
    return 'NO VERDICT, its storm came to no end';
  }
}

main().catch((cause: unknown) => {
  console.error(cause);
  process.exitCode = 2;
});
