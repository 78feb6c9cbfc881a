import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, release } from 'node:os';
import { z } from 'zod';
import type { Books } from './books.ts';
import { type Finding, ROW_NAMES, TARGETS, type Target, type Unit, verdictOf } from './targets.ts';

/** Everything a run found out. */
export type Report = {
  machine: string;
  /** When it began, ISO 8601. */
  at: string;
  /** Not enough to publish. */
  isQuick: boolean;
  load: string | undefined;
  findings: Finding[];
  books: Books[];
};

const HEAD = ['row', 'what', 'floor', 'goal', 'measured', 'spread', 'verdict', 'ours', 'peer'];

/** The report as a table for people. */
export function formatReport(report: Report): string {
  const lines = formatTable([HEAD, ...report.findings.map(toCells)]);
  return [...lines, '', ...toNotes(report)].join('\n');
}

/** The report as README.md shows it. */
export function toMarkdown(report: Report): string {
  const toCell = (cell: string) => cell.replaceAll('|', '\\|').replaceAll('<=', '≤').replaceAll('>=', '≥');
  const line = (cells: readonly string[]) => `| ${cells.map(toCell).join(' | ')} |`;
  const table = [HEAD, HEAD.map(() => '---'), ...report.findings.map(toCells)].map(line);
  const notes = toNotes(report).map((note) => `- ${note.replaceAll('\n', ' ')}`);
  return [...table, '', ...notes].join('\n');
}

/** What is wrong with a run beyond its speed: wrong books, or a row that could not be measured. */
export function faultsOf({ findings, books }: Report): string[] {
  return [
    ...books.filter(({ isRight }) => !isRight).map(({ label }) => `the books of ${label} are wrong`),
    ...findings.flatMap((finding) =>
      'failed' in finding ? [`${finding.row} failed: ${finding.failed}`] : [],
    ),
  ];
}

/** The report for programs. */
export function toJson(report: Report): string {
  const { findings, ...rest } = report;
  const rows = findings.map((finding) => {
    const { unit = 'x', ...target } = TARGETS[finding.row];
    return { ...finding, unit, ...target, verdict: verdictOf(finding) };
  });
  return JSON.stringify({ ...rest, rows }, null, 2);
}

const row = z.enum(ROW_NAMES);
const spread = z.object({ median: z.number(), min: z.number(), max: z.number() });
const reportSchema = z.object({
  machine: z.string(),
  at: z.iso.datetime(),
  isQuick: z.boolean(),
  load: z.string().optional(),
  rows: z.array(
    z.union([
      z.object({ row, measured: spread, ours: z.string(), peer: z.string() }),
      z.object({ row, skipped: z.string() }),
      z.object({ row, failed: z.string() }),
    ]),
  ),
  books: z.array(
    z.object({
      ...{ label: z.string(), acknowledged: z.int(), captured: z.int(), isRight: z.boolean() },
      discrepancies: z.array(z.string()),
    }),
  ),
});

/** A report that was printed with `--json`. */
export function readReport(json: string): Report {
  const { rows, load, ...rest } = reportSchema.parse(JSON.parse(json));
  return { ...rest, load, findings: rows };
}

/** Cores, processor, Node, Postgres and kernel: what a figure is worth nothing without. */
export function describeMachine(postgres: string): string {
  const cores = `${availableParallelism()} cores (${cpus()[0]?.model.trim()})`;
  return `machine: ${cores}, Node ${process.versions.node}, ${postgres}, ${process.platform} ${release()}, commit ${readCommit()}`;
}

function readCommit(): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, {
      cwd: import.meta.dirname,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  try {
    const isChanged = git('status', '--porcelain', '--untracked-files=no', '--', '../../src').trim() !== '';
    return `${git('rev-parse', '--short', 'HEAD').trim()}${isChanged ? ' with changes' : ''}`;
  } catch {
    return 'unknown';
  }
}

function toCells(finding: Finding): string[] {
  const target = TARGETS[finding.row];
  const bound = (value: number | undefined) =>
    value === undefined ? '-' : `${target.better === 'smaller' ? '<=' : '>='} ${spell(value, target.unit)}`;
  const cells = [finding.row, target.what, bound(target.floor), bound(target.goal)];
  if ('skipped' in finding) return [...cells, '-', '-', `skipped: ${finding.skipped}`, '', ''];
  if ('failed' in finding) return [...cells, '-', '-', `FAILED: ${toLine(finding.failed)}`, '', ''];
  const { median, min, max } = finding.measured;
  return [
    ...cells,
    spell(round(median, target), target.unit),
    `${round(min, target)}-${round(max, target)}`,
    verdictOf(finding),
    finding.ours,
    finding.peer,
  ];
}

function spell(figure: string | number, unit: Unit = 'x'): string {
  return unit === 'x' || unit === '%' ? `${figure}${unit}` : `${figure} ${unit}`;
}

function round(figure: number, { unit }: Target): string {
  if (unit === 'bytes') return figure.toFixed(0);
  return figure >= 10 ? figure.toFixed(1) : figure.toFixed(2);
}

function toNotes({ at, isQuick, load, machine, books }: Report): string[] {
  return [
    ...books.map(formatBooks),
    ...(load ? [`load generator: ${load}`] : []),
    machine,
    `measured on ${at.slice(0, 10)}${isQuick ? ', quickly: the figures mean little' : ''}`,
  ];
}

function formatBooks(books: Books): string {
  const counted = `${books.acknowledged.toLocaleString('en')} charges acknowledged, ${books.captured.toLocaleString('en')} captured`;
  if (books.isRight) return `books (${books.label}): balanced; ${counted}`;
  return [`books (${books.label}): WRONG; ${counted}`, ...books.discrepancies].join('\n  ');
}

/** A complaint may have many lines; a table has one for each row. */
function toLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').slice(0, 300);
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
