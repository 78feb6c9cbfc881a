import { execFile } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findOnPath } from '../dev/bound-child.ts';

export type ForgeRun = {
  args: string[];
  timeoutMs: number;
  /** Where gas figures are written; left out, they go the way of everything else that is built. */
  snapshotFolder?: string;
};

export type ForgeResult = { code: number | null; output: string; errors: string };

const CONTRACTS = fileURLToPath(new URL('../../contracts', import.meta.url));
const COMPILER = fileURLToPath(new URL('solc.mjs', import.meta.url));
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Runs forge over `contracts/` with npm's compiler, without a network, and without a trace: what it builds and
 * remembers lies in a folder that is gone afterwards.
 */
export async function runForge(forge: string, run: ForgeRun): Promise<ForgeResult> {
  const folder = await mkdtemp(join(tmpdir(), 'millicent-forge-'));
  try {
    const solc = await writeCompiler(folder);
    const env = {
      PATH: process.env.PATH,
      HOME: folder,
      NO_COLOR: '1',
      FOUNDRY_SOLC: solc,
      FOUNDRY_OUT: join(folder, 'out'),
      FOUNDRY_CACHE_PATH: join(folder, 'cache'),
      FOUNDRY_FUZZ_FAILURE_PERSIST_DIR: join(folder, 'fuzz'),
      FOUNDRY_INVARIANT_FAILURE_PERSIST_DIR: join(folder, 'invariant'),
      FOUNDRY_SNAPSHOTS: run.snapshotFolder ?? join(folder, 'snapshots'),
    };
    const options = { cwd: CONTRACTS, env, timeout: run.timeoutMs, maxBuffer: OUTPUT_BYTES_MAX };
    return await new Promise<ForgeResult>((resolve) => {
      const child = execFile(forge, run.args, options, (error, output, errors) => {
        // Without an exit code it did not start or was ended; its own words do not say so.
        const why = child.exitCode === null ? `forge had no exit code: ${error?.message ?? ''}\n` : '';
        resolve({ code: child.exitCode, output, errors: `${why}${errors}` });
      });
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The binary that npm installed for this platform, else the one on the PATH; undefined when there is none. */
export function findForge(): string | undefined {
  const name = `@foundry-rs/forge-${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'bin', 'forge');
  } catch {
    return findOnPath('forge');
  }
}

/** Forge starts its compiler as a program; this one runs on the same Node as we do. */
async function writeCompiler(folder: string): Promise<string> {
  const path = join(folder, 'solc');
  await writeFile(path, `#!/bin/sh\nexec ${quote(process.execPath)} ${quote(COMPILER)} "$@"\n`);
  await chmod(path, 0o700);
  return path;
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
