import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS_MAX = 50;

/** Sends SIGKILL to each; one that is gone already is no error. A negative pid means its process group. */
export function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // ESRCH: it ended on its own.
    }
  }
}

/** The children of a process of one thread; empty where the kernel does not tell. */
export function listChildren(pid: number): number[] {
  try {
    return readPids(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'));
  } catch {
    return [];
  }
}

/** Every process whose command line holds `marker`; zombies have none. */
export async function findByCommandLine(marker: string): Promise<number[]> {
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    names.map(async (name) => {
      const commandLine = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
      return commandLine.includes(marker) ? [Number(name)] : [];
    }),
  );
  return found.flat().filter((pid) => pid !== process.pid);
}

export function readPids(text: string): number[] {
  return text.split(/\s+/).filter(Boolean).map(Number);
}

/** Asks again and again, ever slower, until the answer is true; false when time ran out. */
export async function pollUntil(isDone: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, POLL_MS_MAX)) {
    if (await isDone()) return true;
    if (Date.now() >= deadline) return false;
    await sleep(pauseMs);
  }
}
