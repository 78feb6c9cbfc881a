import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';

/** A program that ends when we do, however we end. */
export type BoundChild = {
  /** The program's own pid. */
  pid: number;
  stdout: Readable;
  /** Resolves once the program is gone. */
  exited: Promise<void>;
  kill(): Promise<void>;
};

export type BoundChildOptions = { command: string; args: string[]; env?: NodeJS.ProcessEnv };

/** Used where the kernel cannot do it: the shell holds our end of a pipe and kills the program when it closes. */
const WATCHDOG = `
exec 3<&0
"$@" </dev/null 3<&- &
echo $!
while read -r line <&3; do :; done
kill -9 $! 2>/dev/null`;

/**
 * Starts a program that is killed with its parent, also when the parent is: by the kernel's parent-death
 * signal on Linux, else by a watchdog on a pipe.
 */
export async function spawnBound(options: BoundChildOptions): Promise<BoundChild> {
  const { command, args, env = process.env } = options;
  if (process.platform === 'linux' && findOnPath('setpriv') !== undefined) {
    // setpriv becomes the program, so the pid is the program's.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return toBoundChild(child, await waitForSpawn(child, command), child.stdout);
  }
  const child = spawn('/bin/sh', ['-c', WATCHDOG, 'watchdog', command, ...args], {
    env,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  await waitForSpawn(child, command);
  const [line] = await once(child.stdout, 'data');
  return toBoundChild(child, Number.parseInt(String(line), 10), child.stdout);
}

/** Where a program is on the PATH. */
export function findOnPath(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

async function waitForSpawn(child: ChildProcess, command: string): Promise<number> {
  await once(child, 'spawn');
  if (child.pid === undefined) throw new Error(`${command} did not start`);
  return child.pid;
}

function toBoundChild(child: ChildProcess, pid: number, stdout: Readable): BoundChild {
  const exited =
    child.exitCode !== null || child.signalCode !== null
      ? Promise.resolve()
      : once(child, 'exit').then(() => {});
  return {
    pid,
    stdout,
    exited,
    kill: async () => {
      // Closing the pipe is what the watchdog waits for; without one this does nothing.
      child.stdin?.end();
      if (child.stdin === null) child.kill('SIGKILL');
      await exited;
    },
  };
}
