import type { Reporter, TestModule, TestRunEndReason } from 'vitest/node';

/**
 * Ends every run with one line that people and programs read alike: "N passed, N failed". A file in which something
 * failed has a line of its own before it, for `.ci/run`.
 */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(
    modules: readonly TestModule[],
    unhandledErrors: readonly unknown[],
    reason: TestRunEndReason,
  ): void {
    const all: Counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      const counts = countTests(module);
      for (const state of STATES) all[state] += counts[state];
      if (counts.failed > 0) console.log(`failed file: ${module.relativeModuleId}: ${spellCounts(counts)}`);
    }
    // What comes up before the first file is in none of them.
    if (reason !== 'passed') all.failed = Math.max(all.failed, 1);
    console.log(`\n${spellCounts(all)}`);
  }
}

const STATES = ['passed', 'failed', 'skipped'] as const;
type Counts = Record<(typeof STATES)[number], number>;

/** The tests of a file; one that failed outside of its tests counts as one. */
function countTests(module: TestModule): Counts {
  const states = [...module.children.allTests()].map((test) => test.result().state);
  const [passed, failed, skipped] = STATES.map((wanted) => states.filter((state) => state === wanted).length);
  const isBroken = module.state() === 'failed' && failed === 0;
  return { passed: passed ?? 0, failed: isBroken ? 1 : (failed ?? 0), skipped: skipped ?? 0 };
}

function spellCounts({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
