import { spawnSync } from 'node:child_process';
import { installPackage } from './apt.ts';

const CANDIDATES = ['python3', '/usr/bin/python3'];

/** A Python with the `cryptography` package, which is installed when we may; throws one sentence when there is none. */
export function requirePython(): string {
  const found = find() ?? (installPackage('python3-cryptography') ? find() : undefined);
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
