import {
  decodeEntryTile,
  encodeTilePath,
  type Hash,
  leafHashOf,
  merkleRoot,
  parseLogVkey,
  verifyCheckpoint,
} from '../../provenance/index.ts';
import type { Door } from './door.ts';

/** The receipts log as it was signed, read once from end to end and entry by entry after that. */
export type LogCopy = {
  origin: string;
  treeSize: number;
  /** An entry of the tree that was read; throws when the log now answers something else. */
  entryAt(index: number): Promise<Buffer>;
};

const TILE_WIDTH = 256;
const TILES_KEPT = 64;

/**
 * Reads the whole log, holds its root against the checkpoint's, and shows every entry once, in order. What it keeps
 * is 32 bytes for 256 entries, and a few tiles.
 */
export async function copyLog(
  door: Door,
  vkeys: readonly string[],
  onEntry: (index: number, entry: Buffer) => void,
): Promise<LogCopy> {
  const logKeys = vkeys.map(parseLogVkey);
  const origin = logKeys[0]?.name ?? '';
  const note = await door.bytes('/log/receipts/checkpoint');
  // A log of which nobody knows yet whether it is what it was has none.
  if (note === undefined)
    return { origin, treeSize: 0, entryAt: () => Promise.reject(new Error('no entry')) };
  const { treeSize, root } = verifyCheckpoint(note.toString(), { origin, logKeys });
  const roots: Hash[] = [];
  for (let n = 0; n * TILE_WIDTH < treeSize; n++) {
    const entries = await fetchTile(door, n, treeSize);
    for (const [at, entry] of entries.entries()) onEntry(n * TILE_WIDTH + at, entry);
    roots.push(merkleRoot(entries.map((entry) => leafHashOf(entry))));
  }
  // Tiles hold full subtrees, so the tree over their roots is the top of the whole one (RFC 6962, section 2.1).
  if (!merkleRoot(roots).equals(root)) {
    throw new LogFault(`The entries of ${origin} do not give the root that its checkpoint signs.`);
  }
  return { origin, treeSize, entryAt: createEntryReader(door, treeSize, roots) };
}

/** The log contradicts itself: nothing can be proven from it. */
export class LogFault extends Error {}

function createEntryReader(door: Door, treeSize: number, roots: readonly Hash[]) {
  const kept = new Map<number, Buffer[]>();
  return async (index: number): Promise<Buffer> => {
    const n = Math.floor(index / TILE_WIDTH);
    let entries = kept.get(n);
    if (!entries) {
      entries = await fetchTile(door, n, treeSize);
      const root = merkleRoot(entries.map((entry) => leafHashOf(entry)));
      if (!roots[n]?.equals(root)) throw new LogFault(`The log answers other entries around ${index} now.`);
    }
    // The tile used last leaves last.
    kept.delete(n);
    kept.set(n, entries);
    for (const oldest of kept.keys()) {
      if (kept.size <= TILES_KEPT) break;
      kept.delete(oldest);
    }
    return entries[index - n * TILE_WIDTH] ?? Buffer.alloc(0);
  };
}

/** One tile of entries. */
async function fetchTile(door: Door, n: number, treeSize: number): Promise<Buffer[]> {
  const width = Math.min(TILE_WIDTH, treeSize - n * TILE_WIDTH);
  const path = `/log/receipts/tile/${encodeTilePath({ level: 'entries', n, width })}`;
  const bytes = await door.bytes(path);
  if (bytes === undefined) throw new LogFault(`The log does not give ${path}, which its checkpoint covers.`);
  const entries = decodeEntryTile(bytes);
  if (entries?.length !== width) throw new LogFault(`${path} does not hold ${width} entries.`);
  return entries;
}
