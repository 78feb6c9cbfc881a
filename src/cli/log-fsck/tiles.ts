import { decodeEntryTile, ENTRY_TILE_BYTES_MAX, encodeTilePath } from '../../provenance/index.ts';
import { download } from '../verify/http.ts';

/** Entries to a tile (C2SP tlog-tiles). */
export const TILE_WIDTH = 256;

/** Tiles asked for before they are needed. */
const AHEAD = 6;

type Source = { url: string; signal: AbortSignal };

/** The entries of a log in order, a tile at a time: a few tiles are in memory, however long the log is. */
export async function* readEntries(source: Source, treeSize: number): AsyncGenerator<Buffer[]> {
  const tiles = Math.ceil(treeSize / TILE_WIDTH);
  const waiting: Promise<Buffer[]>[] = [];
  const fetchNext = (n: number) => {
    const tile = readTile(source, { n, treeSize });
    // Another tile may fail first, and then nobody waits for this one any more.
    tile.catch(() => {});
    waiting.push(tile);
  };
  for (let n = 0; n < Math.min(AHEAD, tiles); n += 1) fetchNext(n);
  for (let n = 0; n < tiles; n += 1) {
    const entries = await waiting.shift();
    if (n + AHEAD < tiles) fetchNext(n + AHEAD);
    yield entries ?? [];
  }
}

/** The entries of the tile that holds this leaf. */
export async function readTile(source: Source, tile: { n: number; treeSize: number }): Promise<Buffer[]> {
  const width = Math.min(TILE_WIDTH, tile.treeSize - tile.n * TILE_WIDTH);
  const path = encodeTilePath({ level: 'entries', n: tile.n, width });
  const url = `${source.url}/tile/${path}`;
  const bytes = await download(url, { bytesMax: ENTRY_TILE_BYTES_MAX, signal: source.signal });
  const entries = decodeEntryTile(bytes);
  if (entries?.length !== width) throw new TileError(`${url} does not hold ${width} entries`);
  return entries;
}

/** A tile that cannot be what the log signed. */
export class TileError extends Error {}
