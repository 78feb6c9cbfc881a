import { spawnSync } from 'node:child_process';

const CANDIDATES = ['python3', '/usr/bin/python3'];

/** A Python with the `cryptography` package, which `debian-packages.ts` installs; throws one sentence when there is none. */
export function requirePython(): string {
  const found = find();
  if (found !== undefined) return found;
  throw new Error(
    'Python has no cryptography: install it (on Debian, as root: apt-get install python3-cryptography).',
  );
}

function find(): string | undefined {
  return CANDIDATES.find(
    (python) => spawnSync(python, ['-c', 'import cryptography'], { stdio: 'ignore' }).status === 0,
  );
}
