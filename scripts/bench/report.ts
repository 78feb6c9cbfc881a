import { availableParallelism, cpus } from 'node:os';
import type { Books } from './books.ts';
import { type Finding, judge, TARGETS } from './targets.ts';

/** Everything a run found out. */
export type Report = { machine: string; load: string | undefined; findings: Finding[]; books: Books[] };

const HEAD = ['what', 'floor', 'goal', 'measured', 'spread', 'verdict', 'ours', 'peer'];

/** The report as a table for people. */
export function formatReport(report: Report): string {
  const lines = formatTable([HEAD, ...report.findings.map(toCells)]);
  const books = report.books.map(formatBooks);
  const load = report.load ? [`load generator: ${report.load}`] : [];
  return [...lines, '', ...books, ...load, report.machine].join('\n');
}

/** The report for programs. */
export function toJson(report: Report): string {
  const rows = report.findings.map((finding) => {
    const target = TARGETS[finding.row];
    return 'skipped' in finding
      ? { ...finding, ...target }
      : { ...finding, ...target, verdict: judge(target, finding.ratio.median) };
  });
  const { machine, load, books } = report;
  return JSON.stringify({ machine, load, rows, books }, null, 2);
}

/** Cores, processor, Node and Postgres: what a figure is worth nothing without. */
export function describeMachine(postgres: string): string {
  return `machine: ${availableParallelism()} cores (${cpus()[0]?.model.trim()}), Node ${process.versions.node}, ${postgres}`;
}

function toCells(finding: Finding): string[] {
  const target = TARGETS[finding.row];
  const bound = (value: number | undefined) =>
    value === undefined ? '-' : `${target.better === 'smaller' ? '<=' : '>='} ${value}x`;
  const cells = [target.what, bound(target.floor), bound(target.goal)];
  if ('skipped' in finding) return [...cells, '-', '-', `skipped: ${finding.skipped}`, '', ''];
  const { median, min, max } = finding.ratio;
  return [
    ...cells,
    `${round(median)}x`,
    `${round(min)}-${round(max)}`,
    judge(target, median),
    finding.ours,
    finding.peer,
  ];
}

function round(value: number): string {
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function formatBooks(books: Books): string {
  const counted = `${books.acknowledged.toLocaleString('en')} charges acknowledged, ${books.captured.toLocaleString('en')} holds captured`;
  if (books.isRight) return `books (${books.label}): balanced; ${counted}`;
  return [`books (${books.label}): WRONG; ${counted}`, ...books.discrepancies].join('\n  ');
}

function formatTable(rows: readonly string[][]): string[] {
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
