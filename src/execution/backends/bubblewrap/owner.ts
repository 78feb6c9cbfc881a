import { readFileSync, readlinkSync } from 'node:fs';

/**
 * Names one process for good, for what it leaves on disk and in cgroups: pid, start time, pid namespace and
 * boot. A pid alone is reused.
 */
export type OwnerId = string;

const OWNER_ID = /^(\d+)-(\d+)-(\d+)-([0-9a-f]{8})$/;

/** The name of this process. */
export function ownOwnerId(): OwnerId {
  return [process.pid, readStartTicks(process.pid), readPidNamespace(), readBoot()].join('-');
}

export function isOwnerId(name: string): name is OwnerId {
  return OWNER_ID.test(name);
}

/** Whether that process is certainly gone. One in another pid namespace cannot be judged from here. */
export function isOwnerDead(id: OwnerId): boolean {
  const [, pid = '', startTicks, pidNamespace, boot] = OWNER_ID.exec(id) ?? [];
  if (boot !== readBoot()) return true;
  if (pidNamespace !== readPidNamespace()) return false;
  return readStartTicks(Number(pid)) !== startTicks;
}

/** Undefined when there is no such process, or only its zombie. */
function readStartTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // proc(5): the second field is the program's name in brackets, and may itself hold blanks and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function readPidNamespace(): string {
  return readlinkSync('/proc/self/ns/pid').replace(/\D/g, '');
}

function readBoot(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
}
