import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256Hex } from '../../core/bytes.ts';
import type { WitnessStore } from './witness.ts';
import { writeDurably } from './write-durably.ts';

export type WitnessFolder = WitnessStore & { close(): Promise<void> };

export type WitnessFolderOptions = {
  folder: string;
  /** Of the witness that this is the state of. */
  vkey: string;
  /** A key that was made just now has cosigned nothing, so its state may be empty. */
  isKeyNew: boolean;
};

const [OWNER, LOCK] = ['vkey', 'lock'];

/**
 * A folder that says what a witness cosigned last: a file for each log, named by the SHA-256 of its origin and holding
 * the cosigned checkpoint. A key whose state is gone would cosign a fork, so it is refused: `vkey` says whose state
 * this is. One process has it at a time.
 */
export async function openWitnessFolder(options: WitnessFolderOptions): Promise<WitnessFolder> {
  const { folder } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const release = await lockFolder(folder);
  try {
    await checkOwner(options);
  } catch (cause) {
    await release();
    throw cause;
  }
  const pathOf = (origin: string) => join(folder, sha256Hex(origin));
  return {
    read: (origin) => readText(pathOf(origin)),
    write: (origin, note) => writeDurably(pathOf(origin), note),
    close: release,
  };
}

async function checkOwner({ folder, vkey, isKeyNew }: WitnessFolderOptions): Promise<void> {
  const path = join(folder, OWNER);
  const owner = (await readText(path))?.trim();
  if (owner === vkey) return;
  if (owner !== undefined) throw new Error(`${folder} is the state of another witness, ${owner}`);
  if (!isKeyNew) {
    throw new Error(
      `${folder} is empty, and the key is not new: without what it cosigned last it could cosign a fork. ` +
        `Bring the state back, or take a new key. If this key never cosigned anything, write "${vkey}" into ${path}.`,
    );
  }
  await writeDurably(path, `${vkey}\n`);
}

/** The lock of a process that was killed is taken over; that of a container's first process looks like our own. */
async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, LOCK);
  for (let attempts = 0; attempts < 3; attempts += 1) {
    try {
      await writeFile(path, `${process.pid}\n`, { flag: 'wx', mode: 0o600 });
      return () => rm(path, { force: true });
    } catch (cause) {
      if (!isFileError(cause, 'EEXIST')) throw cause;
    }
    const holder = Number((await readText(path))?.trim());
    if (holder !== process.pid && isRunning(holder)) {
      throw new Error(`${folder} is in use by process ${holder}; if that is no witness, remove ${path}`);
    }
    // Of two that find a dead process's lock one moves it away; the other tries again.
    await rename(path, `${path}.${process.pid}`).catch(() => {});
    await rm(`${path}.${process.pid}`, { force: true });
  }
  throw new Error(`${path} could not be taken`);
}

function isRunning(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid < 1) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return isFileError(cause, 'EPERM');
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (isFileError(cause, 'ENOENT')) return undefined;
    throw cause;
  }
}

function isFileError(cause: unknown, code: string): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === code;
}
