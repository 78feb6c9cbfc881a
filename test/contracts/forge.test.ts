import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { findForge, runForge } from '../../scripts/forge/forge.ts';

const CONTRACTS = fileURLToPath(new URL('../../contracts', import.meta.url));
const FORGE_TIMEOUT_MS = 240_000;
const FUZZ_RUNS = 256;
/** `anchor` as measured when the formats were decided; 15 % above is the most that is allowed. */
const PLANNED = [
  { leaves: 1e3, gasMax: 94_000 },
  { leaves: 1e6, gasMax: 106_000 },
  { leaves: 1e9, gasMax: 117_000 },
];
const MARGIN = 1.15;

const gasSchema = z.record(z.string(), z.coerce.number());
const suitesSchema = z.record(
  z.string(),
  z.object({
    test_results: z.record(
      z.string(),
      z.object({
        status: z.string(),
        reason: z.string().nullable(),
        counterexample: z.unknown(),
        gas_snapshots: z.object({ VersionAnchor: gasSchema }).partial(),
        kind: z.looseObject({ Fuzz: z.object({ runs: z.number() }).optional() }),
      }),
    ),
  }),
);
type TestResult = z.infer<typeof suitesSchema>[string]['test_results'][string] & { name: string };

const forge = findForge();

describe.skipIf(forge === undefined)(
  'VersionAnchor in Solidity (skipped where npm has no forge for the platform and none is on the PATH)',
  () => {
    let suites: string[];
    let results: TestResult[];
    let gas: Record<string, number>;

    beforeAll(async () => {
      const run = { args: ['test', '--json'], timeoutMs: FORGE_TIMEOUT_MS };
      const { output, errors } = await runForge(forge ?? '', run);
      const report = suitesSchema.parse(parseReport(output, errors));
      suites = Object.keys(report).map((suite) => suite.split(':')[0] ?? '');
      results = Object.values(report).flatMap(({ test_results }) =>
        Object.entries(test_results).map(([name, result]) => ({ name, ...result })),
      );
      gas = Object.assign({}, ...results.map(({ gas_snapshots }) => gas_snapshots.VersionAnchor));
    }, FORGE_TIMEOUT_MS + 10_000);

    test('every unit, fuzz and invariant test passes, of every file', async () => {
      const files = (await readdir(join(CONTRACTS, 'test'))).filter((file) => file.endsWith('.t.sol'));
      expect(suites.sort()).toEqual(files.map((file) => `test/${file}`).sort());
      expect(results.filter(({ status }) => status !== 'Success')).toEqual([]);
      expect(results.length).toBeGreaterThan(40);
    });

    test('every property was tried on as many inputs as it should be', () => {
      const properties = results.filter(({ name }) => name.startsWith('testFuzz_'));
      expect(properties.length).toBeGreaterThan(10);
      for (const { name, kind } of properties) expect(kind.Fuzz?.runs, name).toBe(FUZZ_RUNS);
    });

    test('transactions cost the gas that is committed', async () => {
      const text = await readFile(join(CONTRACTS, 'snapshots/VersionAnchor.json'), 'utf8');
      expect(gas).toEqual(gasSchema.parse(JSON.parse(text)));
    });

    test.each(PLANNED)('anchoring at $leaves leaves costs no more than planned', ({ leaves, gasMax }) => {
      // The names begin with a size, and all sizes lie a little above a thousand, a million or a billion.
      const figures = Object.entries(gas).filter(([name]) => {
        const size = Number(/^[\d,]+/.exec(name)?.[0].replaceAll(',', ''));
        return size >= leaves && size < leaves * 2;
      });
      expect(figures.length).toBeGreaterThan(1);
      for (const [name, cost] of figures) expect(cost, name).toBeLessThan(gasMax * MARGIN);
    });
  },
);

/** Forge's report; where it made none, for the sources do not compile, its words are the error. */
function parseReport(output: string, errors: string): unknown {
  try {
    return JSON.parse(output);
  } catch {
    throw new Error(`forge made no report:\n${output}${errors}`);
  }
}
