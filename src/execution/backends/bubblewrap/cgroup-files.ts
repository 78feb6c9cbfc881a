import { constants } from 'node:fs';
import { access, mkdir, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { killAll, pollUntil, readPids } from './processes.ts';

const DESTROY_TIMEOUT_MS = 10_000;

/** False when we may not make it or make others in it, which is an ordinary state of a machine. */
export async function tryMakeFolder(path: string): Promise<boolean> {
  try {
    await mkdir(path, { recursive: true });
    await access(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** False when the kernel refuses the value or has no such file. */
export async function trySet(folder: string, file: string, value: string | number): Promise<boolean> {
  try {
    await set(folder, file, value);
    return true;
  } catch {
    return false;
  }
}

export async function set(folder: string, file: string, value: string | number): Promise<void> {
  // Never create: an ordinary file would look like a limit that was set. Never read: some files refuse it.
  await writeFile(join(folder, file), String(value), { flag: constants.O_WRONLY });
}

/** The number behind `key` in a file of `key value` lines; undefined when it is not there. */
export async function readCounter(folder: string, file: string, key: string): Promise<number | undefined> {
  const text = await readFile(join(folder, file), 'utf8').catch(() => '');
  const value = new RegExp(`^${key} (\\d+)$`, 'm').exec(text)?.[1];
  return value === undefined ? undefined : Number(value);
}

export async function listGroups(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

/** Kills and removes until the folder is gone: a process that forks while we read is met in the next round. */
export async function destroyGroup(folder: string, killInside: () => Promise<void>): Promise<void> {
  const isGone = await pollUntil(async () => {
    if (await tryRemove(folder)) return true;
    await killInside();
    return false;
  }, DESTROY_TIMEOUT_MS);
  if (!isGone) throw new Error(`The control group ${folder} cannot be emptied.`);
}

/** Kills what is listed now, one by one. */
export async function killListed(folder: string): Promise<void> {
  const text = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => '');
  killAll(readPids(text));
}

async function tryRemove(folder: string): Promise<boolean> {
  try {
    await rmdir(folder);
    return true;
  } catch {
    return !(await exists(folder));
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
