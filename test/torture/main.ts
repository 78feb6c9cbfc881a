import { readOptions, toCommand } from './options.ts';
import { spellReport } from './report.ts';
import { runStorm } from './run.ts';

/** `npm run torture`: one storm, and 0 when everything held. */
async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  console.log(`torture: ${toCommand(options)}`);
  const report = await runStorm(options);
  console.log(spellReport(report));
  process.exitCode = report.violations.length === 0 ? 0 : 1;
}

main().catch((cause: unknown) => {
  console.error(cause);
  process.exitCode = 2;
});
