import { type FileHandle, open } from 'node:fs/promises';
import { sha256 } from '../../../core/bytes.ts';

/** What must be there once only, by its place in the log. */
export type SeenEntry = {
  leafIndex: number;
  /** Undefined for an entry of a kind that is not known here. */
  key: string | undefined;
};

export type Repeat = { key: string; firstIndex: number; leafIndex: number };

/** Remembers on the disk what a log holds, so that a second publication of a version is noticed years later. */
export type SeenEntries = {
  /** Takes the entries that come next, in order; answers the first that was there before. */
  add(entries: readonly SeenEntry[]): Promise<Repeat | undefined>;
  /** Once this is done, the file knows exactly this many leaves, and they are on the disk. */
  keep(treeSize: number): Promise<void>;
  close(): Promise<void>;
};

/** Half of a SHA-256: two keys that share it do not exist by chance, nor can they be made. */
const RECORD_BYTES = 16;
const NO_KEY = Buffer.alloc(RECORD_BYTES);
const CHUNK_BYTES = 1024 * 1024;

/**
 * A file of one record for each leaf up to `treeSize`; what a round that did not end well left behind is cut off.
 * Memory holds one piece of it, and what is added at once.
 */
export async function openSeenEntries(path: string, treeSize: number): Promise<SeenEntries> {
  const file = await open(path, 'a+', 0o600);
  try {
    const { size } = await file.stat();
    if (size < treeSize * RECORD_BYTES) {
      throw new Error(
        `${path} knows ${Math.floor(size / RECORD_BYTES)} leaves, and ${treeSize} were followed`,
      );
    }
    await file.truncate(treeSize * RECORD_BYTES);
  } catch (cause) {
    await file.close();
    throw cause;
  }
  return {
    async add(entries) {
      const fresh = new Map<string, SeenEntry & { key: string }>();
      const records: Buffer[] = [];
      for (const { leafIndex, key } of entries) {
        const record = key === undefined ? NO_KEY : sha256(key).subarray(0, RECORD_BYTES);
        records.push(record);
        if (key === undefined) continue;
        const name = record.toString('latin1');
        const first = fresh.get(name);
        if (first) return { key, firstIndex: first.leafIndex, leafIndex };
        fresh.set(name, { leafIndex, key });
      }
      const repeat = await findRepeat(file, fresh);
      if (!repeat) await file.appendFile(Buffer.concat(records));
      return repeat;
    },
    async keep(size) {
      const { size: bytes } = await file.stat();
      if (bytes !== size * RECORD_BYTES) throw new Error(`${path} is written by something else too`);
      await file.sync();
    },
    close: () => file.close(),
  };
}

async function findRepeat(
  file: FileHandle,
  fresh: ReadonlyMap<string, SeenEntry & { key: string }>,
): Promise<Repeat | undefined> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const { size } = await file.stat();
  for (let at = 0; fresh.size > 0 && at < size; at += CHUNK_BYTES) {
    const wanted = Math.min(CHUNK_BYTES, size - at);
    const { bytesRead } = await file.read(chunk, 0, wanted, at);
    if (bytesRead < wanted) throw new Error('the record of what was seen was cut while it was read');
    for (let from = 0; from < bytesRead; from += RECORD_BYTES) {
      const again = fresh.get(chunk.toString('latin1', from, from + RECORD_BYTES));
      if (again) {
        return { key: again.key, firstIndex: (at + from) / RECORD_BYTES, leafIndex: again.leafIndex };
      }
    }
  }
  return undefined;
}
