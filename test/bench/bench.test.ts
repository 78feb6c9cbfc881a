import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { hasProcessCpu } from '../../scripts/bench/http/process-cpu.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const BENCH_TIMEOUT_MS = 180_000;

const reportSchema = z.object({
  machine: z.string(),
  load: z.string().optional(),
  rows: z.array(z.looseObject({ row: z.string(), ratio: z.object({ median: z.number() }) })),
  books: z.array(
    z.object({
      label: z.string(),
      acknowledged: z.int(),
      captured: z.int(),
      isRight: z.boolean(),
      discrepancies: z.array(z.string()),
    }),
  ),
});

async function runBench(args: string[], env: Record<string, string> = {}) {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', 'scripts/bench/main.ts', '--quick', '--json', ...args],
    { cwd: ROOT, env: { ...process.env, ...env }, timeout: BENCH_TIMEOUT_MS },
  );
  return reportSchema.parse(JSON.parse(stdout));
}

test(
  'every acknowledged charge is one captured hold, of the charger and of the naive transaction alike',
  async () => {
    const report = await runBench(['--only', 'charges-hot', '--only', 'charges-spread']);
    expect(report.rows.map(({ row }) => row)).toEqual(['charges-hot', 'charges-spread']);
    expect(report.books.map(({ label }) => label)).toEqual(['exactly-once', 'naive']);
    for (const { acknowledged, captured, isRight, discrepancies } of report.books) {
      expect({ isRight, discrepancies }).toEqual({ isRight: true, discrepancies: [] });
      expect(acknowledged).toBeGreaterThan(0);
      expect(captured).toBe(acknowledged);
    }
  },
  BENCH_TIMEOUT_MS,
);

test.runIf(hasProcessCpu)(
  'a machine without wrk and taskset measures the gateway with the generator that is built in',
  async () => {
    const empty = mkdtempSync(join(tmpdir(), 'millicent-empty-path-'));
    try {
      const report = await runBench(['--only', 'paid-64', '--only', 'challenge-bare'], { PATH: empty });
      expect(report.load).toMatch(/^built in .*nothing pinned$/);
      expect(report.rows.map(({ row }) => row)).toEqual(['paid-64', 'challenge-bare']);
      for (const { ratio } of report.rows) expect(ratio.median).toBeGreaterThan(0);
      expect(report.books).toMatchObject([{ label: 'example', isRight: true }]);
    } finally {
      rmSync(empty, { recursive: true, force: true });
    }
  },
  BENCH_TIMEOUT_MS,
);
