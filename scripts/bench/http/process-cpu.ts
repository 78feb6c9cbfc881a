import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** USER_HZ, which Linux shows to programs as 100 on every common architecture. */
const TICK_MICROS = 10_000;

/** Whether the kernel tells what CPU a process has used. */
export const hasProcessCpu = existsSync('/proc/self/stat');

/** User and system time of a process, all threads together, in microseconds. */
export function readCpuMicros(pid: number): number {
  const fields = readStat(pid);
  if (!fields) throw new Error(`process ${pid} is gone`);
  return (Number(fields[11]) + Number(fields[12])) * TICK_MICROS;
}

/** The same for all children of a process: Postgres has one for each connection. */
export function readChildrenCpuMicros(parent: number): number {
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name));
  return pids.reduce((sum, name) => {
    const fields = readStat(Number(name));
    return Number(fields?.[1]) === parent
      ? sum + (Number(fields?.[11]) + Number(fields?.[12])) * TICK_MICROS
      : sum;
  }, 0);
}

export function readParent(pid: number): number {
  return Number(readStat(pid)?.[1]);
}

/** The fields of proc_pid_stat(5) from the third on: the second may itself hold blanks and parentheses. */
function readStat(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}
