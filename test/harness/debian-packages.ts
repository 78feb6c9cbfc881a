import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';

/** What only tests need, and how to see that it is there. */
const PACKAGES = [
  { name: 'docker.io', isThere: () => succeeds('dockerd', ['--version']) },
  { name: 'golang-go', isThere: () => succeeds('go', ['version']) },
  { name: 'gnupg', isThere: () => succeeds('gpg', ['--version']) },
  { name: 'openssh-client', isThere: () => succeeds('ssh', ['-V']) },
  { name: 'minisign', isThere: () => succeeds('minisign', ['-v']) },
  {
    name: 'python3-cryptography',
    isThere: () =>
      ['python3', '/usr/bin/python3'].some((python) => succeeds(python, ['-c', 'import cryptography'])),
  },
] as const;

const LOCK = '/tmp/millicent-test-packages.lock';
const TIMEOUT_MS = 900_000;
const run = promisify(execFile);

/**
 * Installs them once, before any test runs: test files run at the same time, and apt-get lets one in at a time. What
 * cannot be installed here is named by the tests that need it.
 */
export default async function setup(): Promise<void> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !succeeds('apt-get', ['--version'])) return;
  const missing = PACKAGES.filter(({ isThere }) => !isThere()).map(({ name }) => name);
  if (missing.length === 0) return;
  console.error(`setup: installing ${missing.join(', ')} for the tests (apt-get)`);
  const install = () => apt('install', '-y', '--no-install-recommends', ...missing);
  // A fresh image has no package lists, and old lists name versions that are gone.
  await install()
    .catch(async () => {
      await apt('update');
      await install();
    })
    .catch((error: unknown) => console.error(`setup: ${String(error).slice(0, 400)}`));
}

/** One at a time, whoever else runs tests on this machine. */
async function apt(...args: string[]): Promise<void> {
  await run('flock', [LOCK, 'apt-get', '-qq', '-o', 'DPkg::Lock::Timeout=240', ...args], {
    // RUNLEVEL keeps docker.io from starting an engine for the whole machine.
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    timeout: TIMEOUT_MS,
    maxBuffer: 64 * 1024 * 1024,
  });
}

function succeeds(program: string, args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}
