import type { JailSpec } from '../../backend.ts';

/** One jail's control group; on version 1 a folder in each hierarchy. */
export type Cgroup = {
  /** A process of one thread joins by writing 0 into each of these files. */
  readonly joinFiles: readonly string[];
  /** Whether the kernel killed a process of it for want of memory. */
  isOutOfMemory(): Promise<boolean>;
  /** Kills every process in it and removes it; safe to repeat. Throws when it will not go. */
  destroy(): Promise<void>;
};

export type Cgroups = {
  readonly version: 1 | 2;
  create(name: string, limits: JailSpec['limits']): Promise<Cgroup>;
  /** One that is there already. */
  open(name: string): Cgroup;
  list(): Promise<string[]>;
};

/** bwrap's own two processes count as well. */
export const LAUNCHER_PIDS = 2;
/** One processor's worth of time, whatever the number of processes. */
export const CPU_PERIOD_US = 100_000;
/** Our folder in every hierarchy. */
export const CGROUP_FOLDER = 'millicent';

export type CgroupMount = {
  fileSystem: 'cgroup' | 'cgroup2';
  mountPoint: string;
  /** Which part of the hierarchy is mounted there: `/`, except in some containers. */
  root: string;
  controllers: string[];
};
