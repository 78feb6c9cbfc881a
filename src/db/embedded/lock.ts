import { randomUUID } from 'node:crypto';
import { readdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasErrorCode, readLinkIfThere } from './files.ts';
import { identifyProcess, isRunning } from './process-identity.ts';

const WAIT_MAX_MS = 180_000;
const POLL_MS = 20;
const FREE = 'free';
const PREFIX = 'lock.';

/**
 * Runs `work` while no other process does, among all that name the same folder. The lock of a process
 * that was killed is free.
 *
 * A lock is a numbered symbolic link whose target names its owner: made in one step, content included.
 * The highest number counts. A free or dead lock is never removed to be taken again, because two who saw
 * it dead could then both hold one; it is outbid with the next number, which only one can make.
 */
export async function withLock<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const number = await take(folder);
  try {
    return await work();
  } finally {
    await release(folder, number);
  }
}

async function take(folder: string): Promise<number> {
  const identity = identifyProcess(process.pid) ?? String(process.pid);
  const deadline = Date.now() + WAIT_MAX_MS;
  for (;;) {
    const highest = await findHighest(folder);
    const owner = highest === 0 ? FREE : await readOwner(folder, highest);
    if (owner === FREE || (owner !== undefined && !isRunning(owner))) {
      if (await outbid(folder, highest + 1, identity)) return highest + 1;
      continue;
    }
    if (Date.now() > deadline) {
      throw new Error(`The process ${owner?.split('@')[0]} has held the lock of ${folder} for too long.`);
    }
    await sleep(POLL_MS);
  }
}

async function outbid(folder: string, number: number, identity: string): Promise<boolean> {
  try {
    await symlink(identity, join(folder, `${PREFIX}${number}`));
  } catch (error) {
    if (hasErrorCode(error, 'EEXIST')) return false;
    throw error;
  }
  // A slow reader may have made a number that was already outbid and swept away, and is swept away again.
  const numbers = await listNumbers(folder);
  if (numbers.some((other) => other > number)) {
    await rm(join(folder, `${PREFIX}${number}`), { force: true });
    return false;
  }
  for (const other of numbers) {
    if (other < number) await rm(join(folder, `${PREFIX}${other}`), { force: true });
  }
  return true;
}

async function release(folder: string, number: number): Promise<void> {
  const free = join(folder, `free.${randomUUID()}`);
  await symlink(FREE, free);
  await rename(free, join(folder, `${PREFIX}${number}`));
}

async function findHighest(folder: string): Promise<number> {
  return Math.max(0, ...(await listNumbers(folder)));
}

async function listNumbers(folder: string): Promise<number[]> {
  const names = await readdir(folder);
  return names.filter((name) => name.startsWith(PREFIX)).map((name) => Number(name.slice(PREFIX.length)));
}

function readOwner(folder: string, number: number): Promise<string | undefined> {
  return readLinkIfThere(join(folder, `${PREFIX}${number}`));
}
