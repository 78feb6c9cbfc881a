import type { Reporter, TestModule } from 'vitest/node';

/**
 * Ends every run with one line that people and programs read alike: "N passed, N failed". A file in which something
 * failed has a line of its own before it, for `.ci/run`.
 */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    for (const module of modules) {
      if (module.state() === 'failed') console.log(`failed file: ${module.relativeModuleId}`);
    }
    if (unhandledErrors.length > 0) console.log('failed outside of every file');
    console.log(`\n${formatClosingLine(countTests(modules, unhandledErrors.length))}`);
  }
}

type Counts = { passed: number; failed: number; skipped: number };

/** Counts the tests; a file that failed outside of its tests, and an error outside of all, count as one each. */
function countTests(modules: readonly TestModule[], unhandledErrors: number): Counts {
  const counts = { passed: 0, failed: unhandledErrors, skipped: 0 };
  for (const module of modules) {
    const states = [...module.children.allTests()].map((test) => test.result().state);
    counts.passed += states.filter((state) => state === 'passed').length;
    counts.failed += states.filter((state) => state === 'failed').length;
    counts.skipped += states.filter((state) => state === 'skipped').length;
    if (module.state() === 'failed' && !states.includes('failed')) counts.failed += 1;
  }
  return counts;
}

function formatClosingLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
