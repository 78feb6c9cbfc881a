import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
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

/** What TCP and UDP may buffer, which version 1 does not count as memory unless told. */
const SOCKET_BYTES_MAX = 16 * 1024 * 1024;

type Hierarchies = { memory: string; pids: string; cpu: string | undefined };

/** Version 1 (kernel, admin-guide/cgroup-v1): a hierarchy for each controller. */
export async function openCgroupsV1(mounts: readonly CgroupMount[]): Promise<Cgroups | undefined> {
  const [memory, pids, cpu] = await Promise.all([
    openHierarchy(mounts, 'memory'),
    openHierarchy(mounts, 'pids'),
    openHierarchy(mounts, 'cpu'),
  ]);
  if (memory === undefined || pids === undefined) return undefined;
  const hierarchies = { memory, pids, cpu };
  return {
    version: 1,
    async create(name, limits) {
      const cgroup = openCgroup(hierarchies, name);
      await Promise.all(foldersOf(hierarchies).map((folder) => mkdir(join(folder, name))));
      await setLimits(hierarchies, name, limits);
      return cgroup;
    },
    open: (name) => openCgroup(hierarchies, name),
    // One hierarchy may have lost a folder that another still has.
    list: async () => [...new Set((await Promise.all(foldersOf(hierarchies).map(listGroups))).flat())],
  };
}

async function openHierarchy(
  mounts: readonly CgroupMount[],
  controller: string,
): Promise<string | undefined> {
  const mount = mounts.find(
    ({ fileSystem, controllers }) => fileSystem === 'cgroup' && controllers.includes(controller),
  );
  if (mount === undefined) return undefined;
  const folder = join(mount.mountPoint, CGROUP_FOLDER);
  return (await tryMakeFolder(folder)) ? folder : undefined;
}

function foldersOf({ memory, pids, cpu }: Hierarchies): string[] {
  return cpu === undefined ? [memory, pids] : [memory, pids, cpu];
}

function openCgroup(hierarchies: Hierarchies, name: string): Cgroup {
  const folders = foldersOf(hierarchies).map((folder) => join(folder, name));
  return {
    // Not cgroup.procs: for that the kernel takes a lock over all processes, which costs milliseconds in each
    // hierarchy. A thread that moves itself needs no such lock (Linux 5.17).
    joinFiles: folders.map((folder) => join(folder, 'tasks')),
    async isOutOfMemory() {
      return ((await readCounter(join(hierarchies.memory, name), 'memory.oom_control', 'oom_kill')) ?? 0) > 0;
    },
    async destroy() {
      await Promise.all(folders.map((folder) => destroyGroup(folder, () => killListed(folder))));
    },
  };
}

async function setLimits(hierarchies: Hierarchies, name: string, limits: JailSpec['limits']): Promise<void> {
  const memory = join(hierarchies.memory, name);
  await set(memory, 'memory.limit_in_bytes', limits.memoryBytesMax);
  await Promise.all([
    // Memory and swap together; a kernel without swap accounting has no such file, and then no such need.
    trySet(memory, 'memory.memsw.limit_in_bytes', limits.memoryBytesMax),
    trySet(memory, 'memory.kmem.tcp.limit_in_bytes', SOCKET_BYTES_MAX),
    set(join(hierarchies.pids, name), 'pids.max', limits.pidsMax + LAUNCHER_PIDS),
  ]);
  if (hierarchies.cpu === undefined) return;
  const cpu = join(hierarchies.cpu, name);
  await trySet(cpu, 'cpu.cfs_period_us', CPU_PERIOD_US);
  await trySet(cpu, 'cpu.cfs_quota_us', CPU_PERIOD_US);
}
