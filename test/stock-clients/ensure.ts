import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { hasLockedPackages } from '../../scripts/locked-packages.ts';
import { identifyProcess } from '../../src/db/embedded/process-identity.ts';

const FOLDER = import.meta.dirname;
const MODULES = join(FOLDER, 'node_modules');
const WORK = resolve(FOLDER, '../../.millicent/stock-clients');
const ATTEMPTS_MAX = 2;
const NPM_TIMEOUT_MS = 600_000;
const OUTPUT_BYTES_MAX = 10_000_000;
const POLL_MS = 250;

/** The longest it takes, for the hook that calls it. */
export const STOCK_CLIENTS_TIMEOUT_MS = 2 * ATTEMPTS_MAX * NPM_TIMEOUT_MS;

/**
 * Installs the clients of this folder's lock file where they are missing. They come with half a gigabyte of
 * packages, so they are none of the project's own. Of several processes the first one installs, in a folder
 * aside that is moved into place when it is whole; the others wait for it.
 */
export async function ensureStockClients(): Promise<void> {
  if (hasLockedPackages(FOLDER)) return;
  const identity = identifyProcess(process.pid)?.replace(/[^0-9A-Za-z@]/g, '-') ?? '';
  const place = join(WORK, `${Date.now()}_${identity}_${randomUUID()}`);
  mkdirSync(place, { recursive: true });
  try {
    await waitForTurn(basename(place));
    if (hasLockedPackages(FOLDER)) return;
    for (const name of ['package.json', 'package-lock.json', '.npmrc']) {
      cpSync(join(FOLDER, name), join(place, name));
    }
    await install(place);
    replaceModules(place);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
  if (!hasLockedPackages(FOLDER)) throw new Error('the stock clients are not what package-lock.json says');
}

/** A module of one of the clients: this folder's packages are not on the way from a test. */
export function importStockClient(path: string): Promise<unknown> {
  return import(pathToFileURL(join(MODULES, path)).href);
}

/** Folders begin with when they were made, so the first in the alphabet was there first. */
async function waitForTurn(own: string): Promise<void> {
  const deadline = Date.now() + ATTEMPTS_MAX * NPM_TIMEOUT_MS;
  for (;;) {
    const [first = own] = readdirSync(WORK).filter(isAlive).sort();
    if (first === own || hasLockedPackages(FOLDER)) return;
    if (Date.now() > deadline) throw new Error('another installation does not come to an end');
    await sleep(POLL_MS);
  }
}

/** What a killed process left behind waits for nobody. */
function isAlive(folder: string): boolean {
  const [, identity = ''] = folder.split('_');
  const current = identifyProcess(Number.parseInt(identity, 10));
  return current?.replace(/[^0-9A-Za-z@]/g, '-') === identity;
}

async function install(place: string): Promise<void> {
  // `npm run` tells where its npm is; the one on the PATH may be of another Node.
  const own = process.env.npm_execpath?.endsWith('npm-cli.js') ? process.env.npm_execpath : undefined;
  const [command, first] = own === undefined ? ['npm', []] : [process.execPath, [own]];
  const args = [...first, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const limits = { cwd: place, maxBuffer: OUTPUT_BYTES_MAX, timeout: NPM_TIMEOUT_MS };
  for (let attempt = 1; ; attempt += 1) {
    try {
      await promisify(execFile)(command, args, limits);
      return;
    } catch (cause) {
      // Only the network gets better by trying again, and it is what usually fails.
      if (attempt === ATTEMPTS_MAX) throw new Error('npm ci of the stock clients failed', { cause });
    }
  }
}

/** A rename is all or nothing. */
function replaceModules(place: string): void {
  if (existsSync(MODULES)) renameSync(MODULES, join(place, 'stale'));
  renameSync(join(place, 'node_modules'), MODULES);
}
