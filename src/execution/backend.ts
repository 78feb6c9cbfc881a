import type { Readable, Writable } from 'node:stream';
import type { Limits } from './limits.ts';

/** What interprets a publisher's code. */
export type Runtime = 'python' | 'node' | 'elf';

/** A publisher's code as it was logged: the hash covers `files` (`core/archive.ts`). */
export type Code = {
  /** SHA-256 of the canonical archive of `files`, hex. */
  sha256: string;
  runtime: Runtime;
  /** The file the runtime starts, a key of `files`. */
  entrypoint: string;
  /** Relative POSIX path to content. */
  files: ReadonlyMap<string, Uint8Array>;
};

/** What a backend really isolates on this machine, found out at start and never assumed. */
export type Capabilities = {
  isolation: 'namespaces' | 'gvisor' | 'vm';
  /** Whether memory and process count are capped by the kernel, or by the stated fallback. */
  memory: 'cgroup' | 'rlimit';
  pids: boolean;
  egress: 'none' | 'proxy';
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
  /** The jail ended by itself before the code ever ran: the backend failed, and not the tool. */
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

export type JailSpec = { code: Code; limits: Limits };

/**
 * Starts jails. Framing, output caps, the deadline and (later) the pool live above it, so that every backend
 * is only a byte stream and a kill switch.
 */
export type Backend = {
  readonly name: 'bubblewrap' | 'docker' | 'kubernetes' | 'none';
  /** Looks again each time it is asked, so that an installed package is noticed without a restart. */
  status(): Promise<BackendStatus>;
  /** Throws a `Problem('unavailable')` when it cannot start a jail. */
  acquire(spec: JailSpec, signal: AbortSignal): Promise<Jail>;
  /** Removes what an earlier process that died left behind; answers how many things it removed. */
  sweep(): Promise<number>;
  /** Kills every jail. */
  close(): Promise<void>;
};
