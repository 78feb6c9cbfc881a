import { toCommand } from './options.ts';
import type { Report } from './run.ts';

/** What happened, as a table; then the verdict in one line, and on failure how to have it again. */
export function spellReport({ options, counts, violations }: Report): string {
  const width = Math.max(...counts.map(([what]) => what.length));
  const table = counts.map(([what, times]) => `  ${what.padEnd(width)}  ${String(times).padStart(7)}`);
  if (violations.length === 0) {
    return [...table, 'torture: held. Ledger, model, rails and receipts agree.'].join('\n');
  }
  return [
    ...table,
    ...violations.map(({ rule, detail }) => `  BROKEN ${rule}: ${detail}`),
    `torture: broken. Again with: ${toCommand(options)}`,
  ].join('\n');
}
