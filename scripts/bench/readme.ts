import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { faultsOf, type Report, toMarkdown } from './report.ts';
import { ROW_NAMES } from './targets.ts';

const README = resolve(import.meta.dirname, '../../README.md');
const [BEGIN, END] = ['<!-- bench: begin -->', '<!-- bench: end -->'];

/** Replaces the table in README.md by that of a whole run without faults. */
export async function writeReadme(report: Report, path = README): Promise<void> {
  const faults = faultsOf(report);
  if (faults.length > 0) throw new Error(`README.md stays as it is: ${faults.join('; ')}`);
  if (report.isQuick || report.findings.length < ROW_NAMES.length) {
    throw new Error('README.md stays as it is: it shows whole runs only');
  }
  await writeFile(path, replaceTable(await readFile(path, 'utf8'), toMarkdown(report)));
}

/** Puts a table between the marks of a document. */
export function replaceTable(document: string, table: string): string {
  const [before, rest, ...others] = document.split(BEGIN);
  const [, after, ...more] = rest?.split(END) ?? [];
  if (before === undefined || after === undefined || others.length + more.length > 0) {
    throw new Error(`README.md needs ${BEGIN} and ${END} once each`);
  }
  return `${before}${BEGIN}\n${table}\n${END}${after}`;
}
