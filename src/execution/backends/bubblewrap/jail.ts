import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../../core/log.ts';
import type { Exit, Jail, KillReason } from '../../backend.ts';
import type { Cgroup } from './cgroup.ts';
import { SECCOMP_FD, STATUS_FD } from './launch.ts';
import { findByCommandLine, killAll, listChildren, pollUntil } from './processes.ts';

export type JailInput = {
  id: string;
  /** The jail's own folder; its path is in the command line of each of its bwrap processes. */
  folder: string;
  shell: string;
  arguments: readonly string[];
  cgroup: Cgroup | undefined;
  seccompFile: string;
  /** Where bwrap's report goes, inside `folder`. */
  statusFile: string;
  /** Descriptors that would be inherited, each to be covered with /dev/null. */
  leakedFds: readonly number[];
  log: Log;
  /** Called once, when nothing of the jail is left. */
  onGone(exit: Exit): void;
};

/** How long bwrap may take to notice that its jail is dead before it is killed as well. */
const MONITOR_GRACE_MS = 500;
const GONE_TIMEOUT_MS = 10_000;

/** Starts the launch chain. Throws when not even that can be started. */
export function startJail(input: JailInput): Jail {
  const child = spawnChain(input);
  let isKilled = false;
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const exit = exited.then(async ({ code, signal }): Promise<Exit> => {
    const isOutOfMemory = (await input.cgroup?.isOutOfMemory()) ?? false;
    // A jail that was killed, by us or by the kernel, says nothing about the backend.
    const isBackendFailure = !isKilled && !isOutOfMemory && !hasStarted(input.statusFile);
    return { code, signal, isOutOfMemory, isBackendFailure };
  });
  const gone = exit.then(async (ending) => {
    await removeRest(input);
    input.onGone(ending);
  });
  // Whoever calls kill() hears of a failure; a jail that ends on its own must not end the gateway.
  gone.catch((error: unknown) =>
    input.log.error({ err: error, jail: input.id }, 'a jail left something behind'),
  );
  const kill = async (reason: KillReason) => {
    input.log.debug({ jail: input.id, reason }, 'killing a jail');
    isKilled ||= child.exitCode === null && child.signalCode === null;
    await endProcesses(child, exited);
    await gone;
  };
  return { id: input.id, ...openStreams(child), kill, exit };
}

function spawnChain(input: JailInput): ChildProcess {
  const nothing = openSync('/dev/null', 'r+');
  const seccomp = openSync(input.seccompFile, 'r');
  const status = openSync(input.statusFile, 'wx', 0o600);
  try {
    const stdio: ('pipe' | 'ignore' | number)[] = ['pipe', 'pipe', 'pipe'];
    stdio[SECCOMP_FD] = seccomp;
    stdio[STATUS_FD] = status;
    const lastLeaked = Math.max(STATUS_FD, ...input.leakedFds);
    // For a descriptor above 2 'ignore' means "leave it alone", which is right for all that is not inherited.
    for (let fd = STATUS_FD + 1; fd <= lastLeaked; fd += 1) {
      stdio[fd] = input.leakedFds.includes(fd) ? nothing : 'ignore';
    }
    // A session of its own makes the chain one process group, which can be killed as one.
    return spawn(input.shell, input.arguments, { stdio, env: {}, cwd: '/', detached: true });
  } finally {
    for (const fd of [nothing, seccomp, status]) closeSync(fd);
  }
}

function openStreams(child: ChildProcess): { stdin: Writable; stdout: Readable; stderr: Readable } {
  const { stdin, stdout, stderr, pid } = child;
  // The reason comes as an event later; that the jail is unusable is known now.
  child.on('error', () => {});
  if (pid === undefined || stdin === null || stdout === null || stderr === null) {
    throw new Error('the launch chain could not be started');
  }
  return { stdin, stdout, stderr };
}

/** bwrap reports an exit code only of a program that it managed to start (its NEWS for 0.5.0). */
function hasStarted(statusFile: string): boolean {
  try {
    return readFileSync(statusFile, 'utf8').includes('"exit-code"');
  } catch {
    // A disk cleaner took it; what we cannot know we do not claim.
    return false;
  }
}

/**
 * Kills the jail's first process, with which the kernel ends its whole pid namespace; bwrap outside then sees
 * its child die, reaps it and exits. Killed the other way round, the first process would be left to whoever
 * adopts orphans, and in a container that is often nobody.
 */
async function endProcesses(child: ChildProcess, exited: Promise<unknown>): Promise<void> {
  const { pid } = child;
  if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const inside = listChildren(pid);
  killAll(inside.length > 0 ? inside : [-pid, pid]);
  const waiting = new AbortController();
  const grace = sleep(MONITOR_GRACE_MS, 'late', { signal: waiting.signal }).catch(() => undefined);
  if ((await Promise.race([exited, grace])) === 'late') killAll([-pid, pid]);
  waiting.abort();
}

async function removeRest({ cgroup, folder }: JailInput): Promise<void> {
  if (cgroup === undefined) await killByCommandLine(folder);
  await cgroup?.destroy();
  await rm(folder, { recursive: true, force: true });
}

/** As long as anything of a jail lives its first process does, and that one is a bwrap with our folder's name. */
export async function killByCommandLine(folder: string): Promise<void> {
  const isGone = await pollUntil(async () => {
    const pids = await findByCommandLine(`${folder}/`);
    killAll(pids);
    return pids.length === 0;
  }, GONE_TIMEOUT_MS);
  if (!isGone) throw new Error(`processes of ${folder} cannot be killed`);
}
