import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { hasProcessCpu } from '../../scripts/bench/http/process-cpu.ts';
import { readPlan } from '../../scripts/bench/plan.ts';
import { startThrowAwayPostgres } from '../../scripts/bench/postgres.ts';
import { faultsOf, type Report, toJson } from '../../scripts/bench/report.ts';
import { runPlan } from '../../scripts/bench/run.ts';
import { ROW_NAMES } from '../../scripts/bench/targets.ts';
import { openDatabase } from '../../src/db/index.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const BENCH_TIMEOUT_MS = 480_000;

const spread = z.strictObject({ median: z.number(), min: z.number(), max: z.number() });
const reportSchema = z.strictObject({
  machine: z.string().regex(/^machine: \d+ cores \(.+\), Node \d+.+, PostgreSQL \d+.+, \S+ \S+, commit \S+/),
  at: z.iso.datetime(),
  isQuick: z.literal(true),
  load: z.string().optional(),
  rows: z.array(
    z.strictObject({
      row: z.enum(ROW_NAMES),
      what: z.string(),
      unit: z.enum(['x', '%', 's', 'bytes']),
      better: z.enum(['smaller', 'larger']),
      floor: z.number().optional(),
      goal: z.number().optional(),
      isTold: z.boolean().optional(),
      measured: spread,
      verdict: z.enum(['meets the goal', 'meets the floor', 'MISSES THE FLOOR', 'told']),
      ours: z.string(),
      peer: z.string(),
    }),
  ),
  books: z.array(
    z.strictObject({
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
    expect(report.rows).toMatchObject([
      { unit: 'x', floor: 40, goal: 100 },
      { unit: 'x', floor: 10, goal: 25 },
    ]);
    expect(report.books.map(({ label }) => label)).toEqual(['exactly-once', 'naive']);
    for (const { acknowledged, captured, isRight, discrepancies } of report.books) {
      expect({ isRight, discrepancies }).toEqual({ isRight: true, discrepancies: [] });
      expect(acknowledged).toBeGreaterThan(0);
      expect(captured).toBe(acknowledged);
    }
  },
  BENCH_TIMEOUT_MS,
);

test('whoever runs the bench learns of wrong books from its exit code, also when the table looks well', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'millicent-report-'));
  const show = (isRight: boolean) => {
    const report: Report = {
      ...{ machine: 'this one', at: '2026-11-21T18:00:00.000Z', isQuick: false, load: 'wrk' },
      findings: [{ row: 'paid-64', measured: { median: 1.2, min: 1, max: 2 }, ours: '', peer: '' }],
      books: [{ label: 'gateway', acknowledged: 3, captured: 2, isRight, discrepancies: [] }],
    };
    const path = join(folder, 'report.json');
    writeFileSync(path, toJson(report));
    const args = ['--import', 'tsx', 'scripts/bench/main.ts', '--from', path];
    return promisify(execFile)(process.execPath, args, { cwd: ROOT, timeout: BENCH_TIMEOUT_MS });
  };
  try {
    expect((await show(true)).stdout).toContain('meets the goal');
    await expect(show(false)).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringContaining('WRONG; 3 charges acknowledged, 2 captured'),
      stderr: expect.stringContaining('bench: the books of gateway are wrong'),
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test(
  'a database that loses what was charged makes the bench fail, and so does one that cannot be measured',
  async () => {
    const postgres = await startThrowAwayPostgres();
    const lossy = {
      ...postgres,
      async createDatabase(name: string) {
        const url = await postgres.createDatabase(name);
        const { sql, close } = openDatabase({ url, poolMax: 1, applicationName: 'lossy' });
        // Every third charge leaves the balance as it was: what a missing lock does.
        await sql.unsafe(`CREATE SEQUENCE lost;
          CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.balance < OLD.balance AND nextval('lost') % 3 = 0 THEN NEW.balance := OLD.balance; END IF;
            RETURN NEW;
          END $$;
          CREATE TRIGGER lose BEFORE UPDATE ON ledger_payer FOR EACH ROW EXECUTE FUNCTION lose()`);
        await close();
        return url;
      },
    };
    const plan = readPlan(['--only', 'charges-hot', '--quick']);
    try {
      const wrong = await runPlan({ postgres: lossy, progress: () => {} }, plan);
      expect(wrong.books).toMatchObject([{ isRight: false }, { isRight: false }]);
      expect(wrong.books[0]?.discrepancies.join()).toContain('balance');
      expect(faultsOf(wrong)).toEqual([
        'the books of exactly-once are wrong',
        'the books of naive are wrong',
      ]);
      const none = { ...postgres, createDatabase: () => Promise.reject(new Error('the disk is full')) };
      const failed = await runPlan({ postgres: none, progress: () => {} }, plan);
      expect(faultsOf(failed)).toEqual(['charges-hot failed: the disk is full']);
    } finally {
      await postgres.close();
    }
  },
  BENCH_TIMEOUT_MS,
);

test.runIf(hasProcessCpu)(
  'a machine without wrk and taskset measures the gateway with the generator that is built in',
  async () => {
    const empty = mkdtempSync(join(tmpdir(), 'millicent-empty-path-'));
    const rows = [
      ...['paid-64', 'paid-commit-64', 'crypto-share', 'crypto-share-receipt'],
      ...['bytes-per-call', 'challenge-bare'],
    ];
    try {
      const report = await runBench(
        rows.flatMap((row) => ['--only', row]),
        { PATH: empty },
      );
      expect(report.load).toMatch(/^built in .*nothing pinned$/);
      expect(report.rows.map(({ row }) => row)).toEqual(rows);
      for (const { measured } of report.rows) expect(measured.median).toBeGreaterThan(0);
      const cryptoMicros = (name: string) =>
        Number.parseFloat(report.rows.find(({ row }) => row === name)?.ours ?? '');
      // A signature for each answer instead of one for each batch shows, or the profile sees no crypto.
      expect(cryptoMicros('crypto-share-receipt')).toBeGreaterThan(2 * cryptoMicros('crypto-share'));
      expect(report.books.map(({ label }) => label)).toEqual(['gateway', 'profiled', 'bytes_per_call']);
      for (const { acknowledged, isRight } of report.books) {
        expect(isRight).toBe(true);
        expect(acknowledged).toBeGreaterThan(0);
      }
    } finally {
      rmSync(empty, { recursive: true, force: true });
    }
  },
  BENCH_TIMEOUT_MS,
);
