import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const FOLDER = import.meta.dirname;
const MODULES = join(FOLDER, 'node_modules');
const WORK = resolve(FOLDER, '../../.millicent/stock-clients');
const ATTEMPTS_MAX = 2;
const NPM_TIMEOUT_MS = 600_000;
const OUTPUT_BYTES_MAX = 10_000_000;

/** The longest it takes, for the hook that calls it. */
export const STOCK_CLIENTS_TIMEOUT_MS = ATTEMPTS_MAX * NPM_TIMEOUT_MS;

/**
 * Installs the clients of this folder's lock file where they are missing. They come with half a gigabyte of
 * packages, so they are none of the project's own; whoever runs at the same time installs as well, and the
 * first one to finish is used by all.
 */
export function ensureStockClients(): void {
  if (isInstalled()) return;
  const place = join(WORK, randomUUID());
  mkdirSync(place, { recursive: true });
  try {
    for (const name of ['package.json', 'package-lock.json', '.npmrc'])
      cpSync(join(FOLDER, name), join(place, name));
    install(place);
    replaceModules(place);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
  if (!isInstalled()) throw new Error('the stock clients are not what package-lock.json says');
}

/** A module of one of the clients: this folder's packages are not on the way from a test. */
export function importStockClient(path: string): Promise<unknown> {
  return import(pathToFileURL(join(MODULES, path)).href);
}

/** Whether what npm wrote down of its installation has the versions of the lock file. */
function isInstalled(): boolean {
  const record = join(MODULES, '.package-lock.json');
  if (!existsSync(record)) return false;
  const there = readVersions(record);
  return [...readVersions(join(FOLDER, 'package-lock.json'))].every(
    ([path, { version, isOptional }]) => there.get(path)?.version === version || isOptional,
  );
}

type Version = { version: string; isOptional: boolean };

function readVersions(path: string): Map<string, Version> {
  const lock: { packages: Record<string, { version: string; optional?: boolean }> } = JSON.parse(
    readFileSync(path, 'utf8'),
  );
  const packages = Object.entries(lock.packages).filter(([folder]) => folder !== '');
  return new Map(
    packages.map(([folder, { version, optional }]) => [folder, { version, isOptional: optional === true }]),
  );
}

function install(place: string): void {
  // `npm run` tells where its npm is; the one on the PATH may be of another Node.
  const own = process.env.npm_execpath?.endsWith('npm-cli.js') ? process.env.npm_execpath : undefined;
  const [command, ...first] = own === undefined ? ['npm'] : [process.execPath, own];
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const complaints: string[] = [];
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    const { status, stderr, error } = spawnSync(command ?? 'npm', [...first, 'ci', ...flags], {
      cwd: place,
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
      maxBuffer: OUTPUT_BYTES_MAX,
      timeout: NPM_TIMEOUT_MS,
    });
    if (status === 0) return;
    complaints.push(`${error?.message ?? ''} ${stderr}`);
  }
  throw new Error(`npm ci of the stock clients failed: ${complaints.join('\n')}`);
}

/** A rename is all or nothing; when another was quicker, what it brought serves as well. */
function replaceModules(place: string): void {
  const stale = join(place, 'stale');
  if (existsSync(MODULES) && !isInstalled()) renameSync(MODULES, stale);
  try {
    renameSync(join(place, 'node_modules'), MODULES);
  } catch (error) {
    if (!isInstalled()) throw error;
  }
}
