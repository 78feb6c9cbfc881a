import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { sha256Hex } from '../../src/core/bytes.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const ENTRY = join(ROOT, 'scripts/dev/lightning-node.ts');
/** Below `node_modules`, so that what stays outside of the bundle is found. */
const CACHE = join(ROOT, 'node_modules/.cache/millicent');
const KEPT_MS = 24 * 3_600_000;
const SOURCES = ['scripts/dev', 'src/core', 'src/payments/rails/lightning/embedded'];

/**
 * What to start Node with for the process of a Lightning node: its program in one file, made once per version
 * of the sources. LDK alone is 700 modules, which take seconds to load one by one.
 */
export async function prepareNodeProgram(): Promise<string[]> {
  const path = join(CACHE, `lightning-node-${hashSources()}.mjs`);
  if (existsSync(path)) return [path];
  mkdirSync(CACHE, { recursive: true });
  const draft = join(CACHE, `draft-${randomUUID()}.mjs`);
  await build({
    entryPoints: [ENTRY],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: draft,
    logLevel: 'error',
  });
  // Renamed into place: who starts at the same time finds a whole file or none.
  renameSync(draft, path);
  dropOld();
  return [path];
}

/** Bundles of sources that nobody has any more; a running process has read its own already. */
function dropOld(): void {
  for (const name of readdirSync(CACHE)) {
    const path = join(CACHE, name);
    if (name.endsWith('.mjs') && Date.now() - statSync(path).mtimeMs > KEPT_MS) rmSync(path, { force: true });
  }
}

function hashSources(): string {
  const files = SOURCES.flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith('.ts'))
      .map((name) => readFileSync(join(ROOT, folder, name))),
  );
  return sha256Hex(readFileSync(join(ROOT, 'package-lock.json')), ...files).slice(0, 16);
}
