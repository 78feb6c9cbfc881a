import { spawnSync } from 'node:child_process';

const APT_TIMEOUT_MS = 300_000;

/** Installs a Debian package that only tests need; false where that cannot be done. */
export function installPackage(name: string): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const apt = (...args: string[]) =>
    spawnSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=240', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: 'ignore',
      timeout: APT_TIMEOUT_MS,
    }).status === 0;
  const install = () => apt('install', '-y', '--no-install-recommends', name);
  // A fresh image has no package lists, and old lists name versions that are gone.
  return install() || (apt('update') && install());
}
