import type { Readable, Writable } from 'node:stream';
import type { Limits } from './limits.ts';

/** What interprets a publisher's code. `elf` is a static Linux binary, which the Python jail starts. */
export type Runtime = 'python' | 'node' | 'elf';

/** A publisher's code as it was logged. */
export type Code = {
  /** SHA-256 of `archive`, hex. */
  sha256: string;
  runtime: Runtime;
  /** The file the runtime starts, a path in the archive. */
  entrypoint: string;
  /** The canonical ustar archive of the files (`core/archive.ts`). */
  archive: Uint8Array;
  /** The layer of dependencies it was published with, by content hash. */
  layer?: Layer | undefined;
  /** The root file system it was published on, by content hash; another one of the runtime stands in for it. */
  rootSha256?: string | undefined;
};

/** Dependencies that a build installed once: a read-only folder named by its content. */
export type Layer = {
  /** SHA-256 of the canonical archive, hex. */
  sha256: string;
  /**
   * That archive, which `readArchive(bytes, { longPaths: 'pax' })` reads: `python/...` is put on Python's path,
   * `node_modules/...` is where Node looks.
   */
  read(): Promise<Uint8Array>;
};

/** A root file system that a backend starts jails with. */
export type Root = {
  /** Such as `3.11.2`. */
  version: string;
  /** Over every path, mode and content, hex. */
  sha256: string;
};

/** What a backend really isolates on this machine, found out at start and never assumed. */
export type Capabilities = {
  isolation: 'namespaces' | 'gvisor' | 'vm';
  /** Whether memory and process count are capped by the kernel, or by the stated fallback. */
  memory: 'cgroup' | 'rlimit';
  pids: boolean;
  /** Whether a jail can be given a way to the egress proxy, and to nothing else. */
  egress: 'none' | 'proxy';
  /** What it can run. */
  roots: Readonly<Partial<Record<Runtime, Root>>>;
};

export type BackendStatus =
  | { kind: 'ready'; capabilities: Capabilities }
  /** `detail` is public and says what to install or change. */
  | { kind: 'unavailable'; detail: string };

export type KillReason = 'timeout' | 'output' | 'protocol' | 'cancelled' | 'done' | 'shutdown';

export type Exit = {
  code: number | null;
  signal: string | null;
  isOutOfMemory: boolean;
  /** The jail ended by itself before its bootstrap ever ran: the backend failed, and not the tool. */
  isBackendFailure: boolean;
};

/** One jail with one process tree of hostile code in it; used for one call, then gone. */
export type Jail = {
  readonly id: string;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Ends every process of the jail. Resolves once nothing of it is left; safe to repeat. */
  kill(reason: KillReason): Promise<void>;
  readonly exit: Promise<Exit>;
};

/**
 * A jail before it has any code: what decides how it is made, and so which calls it can serve. Time and output
 * are bounded above the port.
 */
export type JailSpec = {
  runtime: Runtime;
  limits: Pick<Limits, 'memoryBytesMax' | 'pidsMax' | 'tmpBytesMax'> & {
    /** Files that each process may have open; `OPEN_FILES_MAX` when left out. */
    openFilesMax?: number;
  };
  /** Mounted read-only at `/layers/<sha256>`. */
  layer?: Layer | undefined;
  rootSha256?: string | undefined;
  /** The unix socket of an egress proxy on this machine, which is all that the jail reaches. */
  egressSocket?: string | undefined;
};

/**
 * Starts jails. What runs in one is the bootstrap of its runtime (`policy/bootstraps`), which says that it is
 * ready and then waits for code on stdin (`inject.ts`). Framing, output caps, the deadline and the pool live
 * above it, so that every backend is only a byte stream and a kill switch.
 */
export type Backend = {
  readonly name: 'bubblewrap' | 'docker' | 'kubernetes' | 'none';
  /** Looks again each time it is asked, so that an installed package is noticed without a restart. */
  status(): Promise<BackendStatus>;
  /** Throws a `Problem('unavailable')` when it cannot start a jail of this kind. */
  acquire(spec: JailSpec, signal: AbortSignal): Promise<Jail>;
  /** Removes what an earlier process that died left behind; answers how many things it removed. */
  sweep(): Promise<number>;
  /** Kills every jail. */
  close(): Promise<void>;
};
