import { readdirSync, readFileSync } from 'node:fs';

/** The parent of a process; the name before it stands in brackets and may hold anything. */
export function parentOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]);
}

/** All that a process has started, and these in turn, but for what compiles our sources. */
export function listBelow(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (!readFileSync(`/proc/${name}/stat`, 'utf8').includes('(esbuild)'))
        parents.set(Number(name), parentOf(Number(name)));
    } catch {
      // It ended while we looked.
    }
  }
  const isBelow = (pid: number): boolean => {
    const parent = parents.get(pid);
    return parent !== undefined && (parent === root || isBelow(parent));
  };
  return [...parents.keys()].filter(isBelow);
}

/** Stops processes in the middle of whatever they do, until then: for them no time passes. */
export async function freeze(pids: readonly number[], until: Promise<unknown>): Promise<void> {
  send(pids, 'SIGSTOP');
  await until.catch(() => {});
  send(pids, 'SIGCONT');
}

export function send(pids: readonly number[], signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended meanwhile.
    }
  }
}
