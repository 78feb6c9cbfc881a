import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const PS_TIMEOUT_MS = 5000;

/**
 * A name that no other process ever has: the pid, when it started, and in which boot. A pid alone is
 * reused. Undefined when there is no such process, or only its zombie.
 */
export function identifyProcess(pid: number): string | undefined {
  const startedAt = process.platform === 'linux' ? readLinuxStart(pid) : readStartFromPs(pid);
  return startedAt === undefined ? undefined : `${pid}@${startedAt}`;
}

/** Whether the very process that was once named so still runs. */
export function isRunning(identity: string): boolean {
  return identifyProcess(Number.parseInt(identity, 10)) === identity;
}

/** Whether there is such a process and it was started with this argument. */
export function hasArgument(pid: number, argument: string): boolean {
  if (process.platform !== 'linux') return readFromPs(pid, 'command=').includes(argument);
  try {
    // Unlike the working directory, this is readable without CAP_SYS_PTRACE, which containers lack.
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(argument);
  } catch {
    return false;
  }
}

function readLinuxStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in brackets and may itself hold blanks and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startTicks] = [fields[0], fields[19]];
    if (state === 'Z' || state === 'X' || startTicks === undefined) return undefined;
    return `${startTicks}@${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}`;
  } catch {
    // The process ended before or while it was looked at.
    return undefined;
  }
}

function readStartFromPs(pid: number): string | undefined {
  const [state, ...startedAt] = readFromPs(pid, 'stat=,lstart=').split(/\s+/);
  return startedAt.length === 0 || state?.startsWith('Z') ? undefined : startedAt.join('-');
}

function readFromPs(pid: number, columns: string): string {
  try {
    return execFileSync('/bin/ps', ['-ww', '-o', columns, '-p', String(pid)], {
      encoding: 'utf8',
      timeout: PS_TIMEOUT_MS,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    // `ps` exits with 1 when there is no such process.
    return '';
  }
}
