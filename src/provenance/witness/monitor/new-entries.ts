import { decodeLeaf, dedupKeyOf } from '../../log/leaf.ts';
import { TILE_WIDTH } from '../../log/tiles/tile.ts';
import { decodeCommitment } from '../../receipts/commitments/commitment.ts';
import { Alarm } from './alarm.ts';
import { openSeenEntries, type Repeat, type SeenEntry } from './seen-entries.ts';
import type { TileTree } from './tile-tree.ts';

export type NewEntries = {
  fromSize: number;
  toSize: number;
  /** Where the keys of all entries are kept. */
  seenPath: string;
  say(text: string): void;
};

/** Bundles fetched at once. */
const BUNDLES_AT_ONCE = 4;
/** Entries held against all earlier ones at once: more of them take more memory, fewer of them more time. */
const SEEN_AT_ONCE = 256 * TILE_WIDTH;

/**
 * Reads the entries that are new, each held against the root, and throws an `Alarm` for what a log holds once only
 * and this one holds twice. Memory does not grow with how many there are.
 */
export async function readNewEntries(tree: TileTree, input: NewEntries): Promise<void> {
  const { fromSize, toSize, say } = input;
  const seen = await openSeenEntries(input.seenPath, fromSize);
  let unknown = 0;
  try {
    let batch: SeenEntry[] = [];
    for await (const bundle of readBundles(tree, { fromSize, toSize })) {
      batch.push(...bundle);
      unknown += bundle.filter(({ key }) => key === undefined).length;
      if (batch.length >= SEEN_AT_ONCE) {
        await sound(tree, await seen.add(batch));
        batch = [];
      }
    }
    await sound(tree, await seen.add(batch));
    await seen.keep(toSize);
  } finally {
    await seen.close();
  }
  if (unknown > 0) say(`${unknown} of the new entries are of a kind that is not known here.`);
}

async function* readBundles(
  tree: TileTree,
  { fromSize, toSize }: { fromSize: number; toSize: number },
): AsyncGenerator<SeenEntry[]> {
  const end = Math.ceil(toSize / TILE_WIDTH);
  for (let n = Math.floor(fromSize / TILE_WIDTH); fromSize < toSize && n < end; n += BUNDLES_AT_ONCE) {
    const ns = Array.from({ length: Math.min(BUNDLES_AT_ONCE, end - n) }, (_, at) => n + at);
    const bundles = await Promise.all(ns.map(async (one) => toSeen(one, await tree.readEntries(one))));
    for (const bundle of bundles) yield bundle.filter(({ leafIndex }) => leafIndex >= fromSize);
  }
}

function toSeen(n: number, entries: readonly Buffer[]): SeenEntry[] {
  return entries.map((entry, at) => ({ leafIndex: n * TILE_WIDTH + at, key: keyOf(entry) }));
}

/** What the log holds once only, for entries of both logs. */
function keyOf(entry: Buffer): string | undefined {
  const leaf = decodeLeaf(entry);
  if (leaf) return dedupKeyOf(leaf);
  const commitment = decodeCommitment(entry);
  return commitment && `receipt ${commitment.tool} ${commitment.lane} ${commitment.seq}`;
}

async function sound(tree: TileTree, repeat: Repeat | undefined): Promise<void> {
  if (!repeat) return;
  const { key, firstIndex, leafIndex } = repeat;
  const [first, second] = await Promise.all([readEntry(tree, firstIndex), readEntry(tree, leafIndex)]);
  throw new Alarm('duplicate', `entries ${firstIndex} and ${leafIndex} are both "${key}"`, {
    [`entry ${firstIndex}`]: first,
    [`entry ${leafIndex}`]: second,
  });
}

async function readEntry(tree: TileTree, leafIndex: number): Promise<string> {
  const entries = await tree.readEntries(Math.floor(leafIndex / TILE_WIDTH));
  return entries[leafIndex % TILE_WIDTH]?.toString('utf8') ?? '';
}
