import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readWrk } from '../../scripts/bench/http/load-wrk.ts';
import { readPlan } from '../../scripts/bench/plan.ts';
import { compareRounds, median, spreadOf } from '../../scripts/bench/ratios.ts';
import { replaceTable, writeReadme } from '../../scripts/bench/readme.ts';
import { faultsOf, formatReport, type Report, readReport, toJson } from '../../scripts/bench/report.ts';
import { measureRounds } from '../../scripts/bench/rounds.ts';
import { findEach, judge, ROW_NAMES, TARGETS } from '../../scripts/bench/targets.ts';

test('a ratio is taken within each round, so a machine that slows down between rounds does not change it', () => {
  expect(compareRounds([20, 40, 80], [10, 20, 40])).toEqual({ median: 2, min: 2, max: 2 });
  expect(compareRounds([30, 20, 20, 10], [10, 10, 10, 10])).toEqual({ median: 2, min: 1, max: 3 });
  expect(median([3, 1])).toBe(2);
  expect(() => compareRounds([1], [1, 2])).toThrow('every round');
});

test('CPU is better when smaller and a rate when larger', () => {
  expect([1.2, 1.5, 1.7].map((ratio) => judge(TARGETS['paid-64'], ratio))).toEqual([
    'meets the goal',
    'meets the floor',
    'MISSES THE FLOOR',
  ]);
  expect([120, 50, 39].map((ratio) => judge(TARGETS['charges-hot'], ratio))).toEqual([
    'meets the goal',
    'meets the floor',
    'MISSES THE FLOOR',
  ]);
});

test('a row without bounds is told and never judged', () => {
  expect(judge(TARGETS['workers-2'], 0.01)).toBe('told');
  expect(judge(TARGETS['challenge-bare'], 100)).toBe('told');
});

test('every round measures every variant once', async () => {
  const order: string[] = [];
  const variants = ['a', 'b', 'c'].map((name) => ({ name, measure: async () => order.push(name) }));
  const samples = await measureRounds(variants, { rounds: 4, progress: () => {} });
  expect(['a', 'b', 'c'].map((name) => samples.of(name).length)).toEqual([4, 4, 4]);
  for (let round = 0; round < 4; round++) {
    expect(order.slice(round * 3, round * 3 + 3).sort()).toEqual(['a', 'b', 'c']);
  }
});

test('a row can be named, and a name that is none is an error', () => {
  expect(readPlan([]).rows).toEqual(ROW_NAMES);
  expect(readPlan(['--only', 'charges-hot', '--quick'])).toMatchObject({ rows: ['charges-hot'], rounds: 2 });
  expect(() => readPlan(['--only', 'charges'])).toThrow('There is no row "charges"');
  expect(() => readPlan(['--fast'])).toThrow();
  expect(() => readPlan(['--write-readme', '--quick'])).toThrow('whole runs only');
  expect(() => readPlan(['--write-readme', '--only', 'paid-64'])).toThrow('whole runs only');
});

test('what wrk prints is read, with refused answers and broken connections', () => {
  const output = `Running 3s test @ http://127.0.0.1:1/
  Socket errors: connect 1, read 2, write 0, timeout 3
  90210 requests in 3.01s, 20.30MB read
  Non-2xx or 3xx responses: 17
Requests/sec:  29970.10
`;
  expect(readWrk(output)).toEqual({ answers: 90_210, perSecond: 29_970.1, refused: 17, broken: 6 });
  expect(() => readWrk('unable to connect')).toThrow('wrk printed no figures');
});

test('a variant that fails is told in the rows that need it, and the others are measured', async () => {
  let attempts = 0;
  const broken = {
    name: 'broken',
    measure: async () => {
      attempts++;
      throw new Error('no answer');
    },
  };
  const cold = { name: 'cold', warm: () => Promise.reject(new Error('not warm')), measure: async () => 2 };
  const variants = [broken, cold, { name: 'well', measure: async () => 1 }];
  const samples = await measureRounds<number>(variants, { rounds: 3, progress: () => {} });
  expect(attempts).toBe(1);
  const needs = { 'paid-64': 'broken', 'paid-512': 'cold', 'charges-hot': 'well' } as const;
  const findings = findEach(['paid-64', 'paid-512', 'charges-hot'] as const, (row) => ({
    ...{ measured: spreadOf(samples.of(needs[row])), ours: '', peer: '' },
  }));
  expect(findings).toEqual([
    { row: 'paid-64', failed: 'no answer' },
    { row: 'paid-512', failed: 'not warm' },
    { row: 'charges-hot', measured: { median: 1, min: 1, max: 1 }, ours: '', peer: '' },
  ]);
});

const REPORT: Report = {
  ...{ machine: 'machine: this one', at: '2026-11-21T18:00:00.000Z', isQuick: false, load: 'wrk' },
  findings: [
    { row: 'paid-64', measured: { median: 1.4, min: 1.31, max: 12.3 }, ours: '19.0 us', peer: '13.6 us' },
    { row: 'crypto-share', measured: { median: 8, min: 7, max: 9 }, ours: '1.2 us of 15 us', peer: '' },
    { row: 'start-up', measured: { median: 6.5, min: 6, max: 7 }, ours: '6.50 s', peer: '' },
    { row: 'challenge-x402', skipped: '@x402/hono is not installed' },
  ],
  books: [{ label: 'naive', acknowledged: 2, captured: 2, isRight: true, discrepancies: [] }],
};

test('the report says of each row what was measured against what, and why one was left out', () => {
  const wrong = {
    label: 'naive',
    acknowledged: 2,
    captured: 3,
    isRight: false,
    discrepancies: ['capture x: y'],
  };
  const text = formatReport({ ...REPORT, books: [wrong] });
  expect(text).toMatch(/<= 1\.6x +<= 1\.25x +1\.40x +1\.31-12\.3 +meets the floor +19\.0 us +13\.6 us/);
  expect(text).toMatch(/<= 25% +<= 10% +8\.00% +7\.00-9\.00 +meets the goal/);
  expect(text).toMatch(/<= 5 s +<= 2 s +6\.50 s +6\.00-7\.00 +MISSES THE FLOOR/);
  expect(text).toContain('skipped: @x402/hono is not installed');
  expect(text).toContain('WRONG; 2 charges acknowledged, 3 captured');
  expect(text).toContain('capture x: y');
});

test('the report for programs has unit, bounds and verdict of every row, and is read back', () => {
  const json = toJson(REPORT);
  expect(JSON.parse(json)).toMatchObject({
    rows: [
      { row: 'paid-64', unit: 'x', floor: 1.6, goal: 1.25, verdict: 'meets the floor' },
      { row: 'crypto-share', unit: '%', floor: 25, goal: 10, verdict: 'meets the goal' },
      { row: 'start-up', unit: 's', floor: 5, goal: 2, verdict: 'MISSES THE FLOOR' },
      { row: 'challenge-x402', verdict: 'skipped' },
    ],
  });
  expect(readReport(json)).toEqual(REPORT);
});

test('wrong books and rows that could not be measured are faults; a missed floor and a skipped row are none', () => {
  expect(faultsOf(REPORT)).toEqual([]);
  const books = REPORT.books.map((book) => ({ ...book, isRight: false }));
  expect(faultsOf({ ...REPORT, books })).toEqual(['the books of naive are wrong']);
  const failed = { row: 'paid-512', failed: 'no answer' } as const;
  expect(faultsOf({ ...REPORT, findings: [failed] })).toEqual(['paid-512 failed: no answer']);
});

test('README.md gets the table of a whole run without faults, between its marks and nowhere else', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'millicent-readme-'));
  const path = join(folder, 'README.md');
  const before = 'Fast.\n\n<!-- bench: begin -->\nlast year\n<!-- bench: end -->\n\nAnd so on.\n';
  try {
    writeFileSync(path, before);
    const whole: Report = {
      ...REPORT,
      findings: ROW_NAMES.map((row) => ({
        ...{ row, measured: { median: 1, min: 1, max: 1 }, ours: 'a | b', peer: '' },
      })),
    };
    const wrong = REPORT.books.map((book) => ({ ...book, isRight: false }));
    for (const refused of [REPORT, { ...whole, isQuick: true }, { ...whole, books: wrong }]) {
      await expect(writeReadme(refused, path)).rejects.toThrow('stays as it is');
      expect(readFileSync(path, 'utf8')).toBe(before);
    }
    await writeReadme(whole, path);
    const after = readFileSync(path, 'utf8');
    expect(after).toMatch(/^Fast\.\n\n<!-- bench: begin -->\n\| row \|/);
    expect(after).toContain('| paid-64 |');
    expect(after).toContain('a \\| b');
    expect(after).not.toContain('last year');
    expect(after).toMatch(/<!-- bench: end -->\n\nAnd so on\.\n$/);
    await writeReadme(whole, path);
    expect(readFileSync(path, 'utf8')).toBe(after);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  expect(() => replaceTable('no marks', 'table')).toThrow('once each');
});

test('the README of the project has the marks', () => {
  const document = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
  expect(replaceTable(document, 'table')).toContain('<!-- bench: begin -->\ntable\n<!-- bench: end -->');
});
