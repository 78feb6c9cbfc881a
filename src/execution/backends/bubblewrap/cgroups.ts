import { readFile } from 'node:fs/promises';
import type { CgroupMount, Cgroups } from './cgroup.ts';
import { openCgroupsV1 } from './cgroups-v1.ts';
import { openCgroupsV2 } from './cgroups-v2.ts';

/** The control groups that we may use here; undefined when memory and processes cannot both be capped. */
export async function openCgroups(): Promise<Cgroups | undefined> {
  const mounts = parseMounts(await readFile('/proc/self/mountinfo', 'utf8'));
  // A hybrid machine has both, and the controllers are then in version 1.
  return (
    (await openCgroupsV1(mounts)) ??
    (await openCgroupsV2(mounts, await readFile('/proc/self/cgroup', 'utf8')))
  );
}

/** The control group mounts of proc_pid_mountinfo(5). */
export function parseMounts(mountInfo: string): CgroupMount[] {
  return mountInfo.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, mountPoint] = before.split(' ');
    const [fileSystem, , options = ''] = after.split(' ');
    if (fileSystem !== 'cgroup' && fileSystem !== 'cgroup2') return [];
    if (root === undefined || mountPoint === undefined) return [];
    return [{ fileSystem, mountPoint, root, controllers: options.split(',') }];
  });
}
