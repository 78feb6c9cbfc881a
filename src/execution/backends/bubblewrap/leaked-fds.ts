import { readdirSync, readFileSync } from 'node:fs';

const FIRST_EXTRA_FD = 3;
const O_CLOEXEC = 0o2000000;

/**
 * Descriptors that a child of ours would inherit: Node opens its own with O_CLOEXEC, but whoever started us,
 * or a native module, may have opened some without it.
 */
export function findLeakedFds(): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => fd >= FIRST_EXTRA_FD && isInherited(fd));
}

function isInherited(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
    return (Number.parseInt(flags, 8) & O_CLOEXEC) === 0;
  } catch {
    // It was the descriptor that listed the directory.
    return false;
  }
}
