import { TILE_WIDTH } from './tile.ts';

const LENGTH_BYTES = 2;
const ENTRY_BYTES_MAX = 65_535;

/** The most bytes that a tile of entries can have. */
export const ENTRY_TILE_BYTES_MAX = TILE_WIDTH * (LENGTH_BYTES + ENTRY_BYTES_MAX);

/** Each entry after its length in two bytes, the larger first (C2SP tlog-tiles, "Log entries"). */
export function encodeEntryTile(entries: readonly Buffer[]): Buffer {
  return Buffer.concat(
    entries.flatMap((entry) => {
      const length = Buffer.alloc(LENGTH_BYTES);
      length.writeUInt16BE(entry.length);
      return [length, entry];
    }),
  );
}

/** The entries of a tile; undefined when the bytes do not end with the end of an entry, or are of too many. */
export function decodeEntryTile(bytes: Buffer): Buffer[] | undefined {
  const entries: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const from = at + LENGTH_BYTES;
    if (from > bytes.length || entries.length === TILE_WIDTH) return undefined;
    const end = from + bytes.readUInt16BE(at);
    if (end > bytes.length) return undefined;
    entries.push(bytes.subarray(from, end));
    at = end;
  }
  return entries;
}
