import { crc32 } from 'node:zlib';
import { createEntries, refuseArchive, refuseBytes, refuseEntry } from './entries.ts';
import { inflate } from './inflate.ts';
import { type CentralEntry, readDirectory, refuseExtras } from './zip-directory.ts';

/** Where a field of a local header is (APPNOTE 6.3.10, 4.3.7). */
const LOCAL = {
  flags: 6,
  method: 8,
  crc: 14,
  packedBytes: 18,
  bytes: 22,
  nameBytes: 26,
  extraBytes: 28,
} as const;
const LOCAL_SIGNATURE = 0x04034b50;
const LOCAL_BYTES = 30;
const DESCRIPTOR_SIGNATURE = 0x08074b50;
const HAS_DESCRIPTOR = 0x0008;
const DEFLATED = 8;

/**
 * The files of a zip as Info-ZIP, Finder, Windows, Go and Python write it. The directory at its end and the headers
 * before each file must say the same, and entries must lie side by side from the first byte to the directory, so that
 * no two readers can find different files in it.
 */
export async function readZip(zip: Buffer, ratioBytesMax: number): Promise<Map<string, Buffer>> {
  const directory = readDirectory(zip);
  refuseBomb(directory.entries, ratioBytesMax);
  const entries = createEntries();
  let offset = 0;
  for (const entry of directory.entries.toSorted((a, b) => a.offset - b.offset)) {
    entries.count();
    if (entry.offset !== offset)
      throw refuseEntry(entry.path, 'does not begin where the entry before it ends');
    const start = checkLocal(zip, entry);
    const end = start + entry.packedBytes;
    if (end > directory.offset) throw refuseEntry(entry.path, 'is cut off');
    offset = end + descriptorBytes(zip, entry, end);
    if (entry.isFolder) entries.addFolder(entry.path.replace(/\/$/, ''));
    else entries.addFile(entry.path, await readContent(zip.subarray(start, end), entry));
  }
  if (offset !== directory.offset) throw refuseArchive('it has data between its files and its directory');
  return entries.finish();
}

/** What the directory claims is held to when content is inflated, so the claims bound the whole work. */
function refuseBomb(entries: readonly CentralEntry[], ratioBytesMax: number): void {
  let total = 0;
  for (const { path, bytes } of entries) {
    total += bytes;
    refuseBytes(path, bytes, total);
    if (total > ratioBytesMax)
      throw refuseEntry(path, 'unpacks to more than 200 times the size of the archive');
  }
}

/** Where the content of an entry begins. */
function checkLocal(zip: Buffer, entry: CentralEntry): number {
  const at = entry.offset;
  const isThere = at + LOCAL_BYTES <= zip.length && zip.readUInt32LE(at) === LOCAL_SIGNATURE;
  if (!isThere) throw refuseEntry(entry.path, 'is in the directory, and has no header of its own');
  const nameEnd = at + LOCAL_BYTES + zip.readUInt16LE(at + LOCAL.nameBytes);
  const isSame =
    zip.subarray(at + LOCAL_BYTES, nameEnd).equals(entry.name) &&
    zip.readUInt16LE(at + LOCAL.flags) === entry.flags &&
    zip.readUInt16LE(at + LOCAL.method) === entry.method &&
    isSameOrLater(zip.readUInt32LE(at + LOCAL.crc), entry.crc, entry) &&
    isSameOrLater(zip.readUInt32LE(at + LOCAL.packedBytes), entry.packedBytes, entry) &&
    isSameOrLater(zip.readUInt32LE(at + LOCAL.bytes), entry.bytes, entry);
  if (!isSame)
    throw refuseEntry(entry.path, 'is described differently in the directory and in its own header');
  const start = nameEnd + zip.readUInt16LE(at + LOCAL.extraBytes);
  refuseExtras(zip.subarray(nameEnd, start), entry.path);
  return start;
}

/** A writer that streams leaves zeros, and tells sizes and checksum after the content. */
function isSameOrLater(local: number, central: number, { flags }: CentralEntry): boolean {
  return local === central || (local === 0 && (flags & HAS_DESCRIPTOR) !== 0);
}

/** How long the data descriptor is (APPNOTE 4.3.9), which must say what the directory says. */
function descriptorBytes(
  zip: Buffer,
  { path, flags, crc, packedBytes, bytes }: CentralEntry,
  at: number,
): number {
  if ((flags & HAS_DESCRIPTOR) === 0) return 0;
  for (const signed of [4, 0]) {
    const end = at + signed + 12;
    if (end > zip.length || (signed > 0 && zip.readUInt32LE(at) !== DESCRIPTOR_SIGNATURE)) continue;
    const told = [0, 4, 8].map((field) => zip.readUInt32LE(at + signed + field));
    if (told[0] === crc && told[1] === packedBytes && told[2] === bytes) return signed + 12;
  }
  throw refuseEntry(path, 'is described differently in the directory and after its content');
}

async function readContent(packed: Buffer, entry: CentralEntry): Promise<Buffer> {
  const content = entry.method === DEFLATED ? await unpack(packed, entry) : packed;
  if (content.length !== entry.bytes)
    throw refuseEntry(entry.path, `is said to have ${entry.bytes} bytes, and has other`);
  if (crc32(content) !== entry.crc) throw refuseEntry(entry.path, 'is damaged: its checksum is wrong');
  return content;
}

async function unpack(packed: Buffer, { path, bytes }: CentralEntry): Promise<Buffer> {
  const inflated = await inflate('deflate', packed, bytes);
  if (inflated.kind === 'too-large')
    throw refuseEntry(path, `unpacks to more than the ${bytes} bytes it says it has`);
  if (inflated.kind === 'broken') throw refuseEntry(path, `is damaged (${inflated.why})`);
  if (inflated.usedBytes !== packed.length) throw refuseEntry(path, 'has data after the end of its content');
  return inflated.bytes;
}
