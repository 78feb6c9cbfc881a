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
    const { isCaught, broken, caughtBy } = judgeMutant(mutant, await runStorm(directAt(mutant)));
    const verdict = isCaught ? 'caught' : `SURVIVED, and was to break one of ${caughtBy.join(', ')}`;
    console.log(`mutant ${mutant}: ${verdict}; broke ${broken.join(', ') || 'nothing'}`);
    if (!isCaught) process.exitCode = 1;
  }
}

main().catch((cause: unknown) => {
  console.error(cause);
  process.exitCode = 2;
});
