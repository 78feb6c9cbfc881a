import { expect, test } from 'vitest';
import { completeOptions, toCommand } from './options.ts';
import { createPlan } from './plan/plan.ts';
import { spellReport } from './report.ts';
import { runStorm } from './run.ts';

/** The long one is `npm run torture`. */
const SHORT = completeOptions({ seed: 1, seconds: 8, gateways: 2, keys: 40, rate: 60 });
const AROUND_MS = 600_000;

test(
  'after a short storm ledger, model, rails and receipts agree',
  async () => {
    console.log(`torture: ${toCommand(SHORT)}`);
    const report = await runStorm(SHORT);
    console.log(spellReport(report));
    expect(report.violations).toEqual([]);
    const charged = report.counts.find(([what]) => what === 'calls in the end: charged');
    expect(charged?.[1]).toBeGreaterThan(0);
  },
  SHORT.seconds * 1_000 + AROUND_MS,
);

test('the same seed plans the same storm, to the last request, and another seed another one', () => {
  expect(createPlan(SHORT)).toEqual(createPlan({ ...SHORT }));
  expect(createPlan(SHORT)).not.toEqual(createPlan({ ...SHORT, seed: 2 }));
});
