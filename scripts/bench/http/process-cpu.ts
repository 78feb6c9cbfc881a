import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** USER_HZ, which Linux shows to programs as 100 on every common architecture. */
const TICK_MICROS = 10_000;

/** Whether the kernel tells what CPU a process has used. */
export const hasProcessCpu = existsSync('/proc/self/stat');

/** Why a row is left out where it does not. */
export const NO_PROCESS_CPU = 'the CPU of a process is read from /proc, which is not here';

/** User and system time of a process, all threads together, in microseconds. */
export function readCpuMicros(pid: number): number {
  const fields = readStat(pid);
  if (!fields) throw new Error(`process ${pid} is gone`);
  return readMicros(fields);
}

/** The same for a process and all that come from it: workers, or a simulator's runtime. */
export function readTreeCpuMicros(root: number): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const fields = /^[0-9]+$/.test(name) ? readStat(Number(name)) : undefined;
    if (fields) parents.set(Number(name), Number(fields[1]));
  }
  const isBelow = (pid: number | undefined): boolean =>
    pid !== undefined && (pid === root || isBelow(parents.get(pid)));
  const below = [...parents.keys()].filter((pid) => pid !== root && isBelow(pid));
  return below.reduce((sum, pid) => sum + readMicros(readStat(pid)), readCpuMicros(root));
}

/** The first thread of a process alone, where its JavaScript runs. */
export function readMainThreadCpuMicros(pid: number): number {
  return readMicros(readFields(`/proc/${pid}/task/${pid}/stat`));
}

/** Resident memory of a process in bytes. */
export function readResidentBytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kilobytes === undefined) throw new Error(`process ${pid} tells no resident memory`);
  return Number(kilobytes) * 1024;
}

function readStat(pid: number): string[] | undefined {
  return readFields(`/proc/${pid}/stat`);
}

/** The fields of proc_pid_stat(5) from the third on: the second may itself hold blanks and parentheses. */
function readFields(path: string): string[] | undefined {
  try {
    const text = readFileSync(path, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

function readMicros(fields: string[] | undefined): number {
  return fields ? (Number(fields[11]) + Number(fields[12])) * TICK_MICROS : 0;
}
