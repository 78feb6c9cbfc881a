import { expect, test } from 'vitest';
import { readWrk } from '../../scripts/bench/http/load-wrk.ts';
import { readPlan } from '../../scripts/bench/plan.ts';
import { compareRounds, median } from '../../scripts/bench/ratios.ts';
import { formatReport } from '../../scripts/bench/report.ts';
import { measureRounds } from '../../scripts/bench/rounds.ts';
import { judge, ROW_NAMES, TARGETS } from '../../scripts/bench/targets.ts';

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

test('requests per second are told and never judged', () => {
  expect(judge(TARGETS['paid-rate-512'], 0.01)).toBe('told');
});

test('every round measures every variant once', async () => {
  const order: string[] = [];
  const variants = ['a', 'b', 'c'].map((name) => ({ name, measure: async () => order.push(name) }));
  const samples = await measureRounds(variants, { rounds: 4, progress: () => {} });
  expect([...samples.values()].map((values) => values.length)).toEqual([4, 4, 4]);
  for (let round = 0; round < 4; round++) {
    expect(order.slice(round * 3, round * 3 + 3).sort()).toEqual(['a', 'b', 'c']);
  }
});

test('a row can be named, and a name that is none is an error', () => {
  expect(readPlan([]).rows).toEqual(ROW_NAMES);
  expect(readPlan(['--only', 'charges-hot', '--quick'])).toMatchObject({ rows: ['charges-hot'], rounds: 2 });
  expect(() => readPlan(['--only', 'charges'])).toThrow('There is no row "charges"');
  expect(() => readPlan(['--fast'])).toThrow();
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

test('the report says of each row what was measured against what, and why one was left out', () => {
  const text = formatReport({
    machine: 'machine: this one',
    load: 'wrk',
    findings: [
      { row: 'paid-64', ratio: { median: 1.4, min: 1.31, max: 12.3 }, ours: '19.0 us', peer: '13.6 us' },
      { row: 'challenge-x402', skipped: '@x402/hono is not installed' },
    ],
    books: [
      { label: 'naive', acknowledged: 2, captured: 3, isRight: false, discrepancies: ['capture x: y'] },
    ],
  });
  expect(text).toMatch(/<= 1\.6x +<= 1\.25x +1\.40x +1\.31-12\.3 +meets the floor +19\.0 us +13\.6 us/);
  expect(text).toContain('skipped: @x402/hono is not installed');
  expect(text).toContain('WRONG; 2 charges acknowledged, 3 holds captured');
  expect(text).toContain('capture x: y');
});
