import { mkdir } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { JailSpec } from '../../backend.ts';
import {
  CGROUP_FOLDER,
  type Cgroup,
  type CgroupMount,
  type Cgroups,
  CPU_PERIOD_US,
  LAUNCHER_PIDS,
} from './cgroup.ts';
import {
  destroyGroup,
  killListed,
  listGroups,
  readCounter,
  set,
  tryMakeFolder,
  trySet,
} from './cgroup-files.ts';

/**
 * Version 2 (kernel, admin-guide/cgroup-v2): one tree. Root finds room at its top; an ordinary user only
 * where a part was delegated: in our own group, or beside it (systemd's Delegate= and DelegateSubgroup=).
 */
export async function openCgroupsV2(
  mounts: readonly CgroupMount[],
  ownGroups: string,
): Promise<Cgroups | undefined> {
  const mount = mounts.find(({ fileSystem }) => fileSystem === 'cgroup2');
  if (mount === undefined) return undefined;
  const own = findOwnGroup(mount, ownGroups);
  for (const parent of new Set([mount.mountPoint, own, dirname(own)])) {
    if (!parent.startsWith(mount.mountPoint)) continue;
    const base = await openBase(parent);
    if (base !== undefined) return createCgroups(base);
  }
  return undefined;
}

/** Where `0::<path>` of /proc/self/cgroup is under the mount. */
function findOwnGroup(mount: CgroupMount, ownGroups: string): string {
  const path = /^0::(.*)$/m.exec(ownGroups)?.[1] ?? '/';
  return join(mount.mountPoint, relative(mount.root, path));
}

/** Our folder under `parent`, ready to have children with limits; undefined when it cannot be. */
async function openBase(parent: string): Promise<string | undefined> {
  const base = join(parent, CGROUP_FOLDER);
  if (!(await tryHandDown(parent))) return undefined;
  if (!(await tryMakeFolder(base))) return undefined;
  return (await tryHandDown(base)) ? base : undefined;
}

/** Refused with EBUSY where processes live beside the groups ("no internal processes"). */
async function tryHandDown(folder: string): Promise<boolean> {
  const isEnabled = await trySet(folder, 'cgroup.subtree_control', '+memory +pids');
  if (isEnabled) await trySet(folder, 'cgroup.subtree_control', '+cpu');
  return isEnabled;
}

function createCgroups(base: string): Cgroups {
  return {
    version: 2,
    async create(name, limits) {
      const folder = join(base, name);
      await mkdir(folder);
      await setLimits(folder, limits);
      return openCgroup(folder);
    },
    open: (name) => openCgroup(join(base, name)),
    list: () => listGroups(base),
  };
}

function openCgroup(folder: string): Cgroup {
  return {
    joinFiles: [join(folder, 'cgroup.procs')],
    isOutOfMemory: async () => ((await readCounter(folder, 'memory.events', 'oom_kill')) ?? 0) > 0,
    destroy: () =>
      destroyGroup(folder, async () => {
        // cgroup.kill came with Linux 5.14.
        if (!(await trySet(folder, 'cgroup.kill', 1))) await killListed(folder);
      }),
  };
}

async function setLimits(folder: string, limits: JailSpec['limits']): Promise<void> {
  await Promise.all([
    set(folder, 'memory.max', limits.memoryBytesMax),
    // A kernel without swap has no such file, and then no such need.
    trySet(folder, 'memory.swap.max', 0),
    // All or nothing: a server that lost one of its processes is not to be trusted with an answer.
    trySet(folder, 'memory.oom.group', 1),
    set(folder, 'pids.max', limits.pidsMax + LAUNCHER_PIDS),
    trySet(folder, 'cpu.max', `${CPU_PERIOD_US} ${CPU_PERIOD_US}`),
  ]);
}
