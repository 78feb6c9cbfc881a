import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/harness/longest-first.ts';

// Tests write programs and folders that jails of other users run and read. Whoever starts them may have a stricter mask;
// what the gateway itself needs whatever the mask is has tests of its own.
process.umask(0o022);

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', './test/harness/closing-line-reporter.ts'],
    globalSetup: ['test/harness/debian-packages.ts', 'test/harness/global-setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
  },
});
