import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256Hex } from '../../core/bytes.ts';
import { withLock } from '../../db/index.ts';
import type { WitnessStore } from './witness.ts';
import { writeDurably } from './write-durably.ts';

export type WitnessFolderOptions = {
  folder: string;
  /** Of the witness that this is the state of. */
  vkey: string;
  /** A key that was made just now has cosigned nothing, so its state may be empty. */
  isKeyNew: boolean;
};

const OWNER = 'vkey';

/**
 * A folder that says what a witness cosigned last: a file for each log, named by the SHA-256 of its origin, with the
 * cosigned checkpoint. A key whose state is gone would cosign a fork, so it is refused: `vkey` says whose state this
 * is. Two processes on one folder do not contradict each other.
 */
export async function openWitnessFolder(options: WitnessFolderOptions): Promise<WitnessStore> {
  const { folder } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await checkOwner(options);
  const inTurn = createTurns();
  const pathOf = (origin: string) => join(folder, sha256Hex(origin));
  return {
    read: (origin) => readText(pathOf(origin)),
    write: (origin, note) => writeDurably(pathOf(origin), note),
    async alone(origin, work) {
      const lock = `${pathOf(origin)}.lock`;
      await mkdir(lock, { recursive: true, mode: 0o700 });
      return inTurn(origin, () => withLock(lock, work));
    },
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

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw cause;
  }
}

/** Runs what has the same key one after another: within a process nobody has to poll the lock. */
export function createTurns(): <Result>(key: string, work: () => Promise<Result>) => Promise<Result> {
  const last = new Map<string, Promise<unknown>>();
  return (key, work) => {
    const turn = (last.get(key) ?? Promise.resolve()).then(work);
    const settled = turn.catch(() => {});
    last.set(key, settled);
    return turn;
  };
}
