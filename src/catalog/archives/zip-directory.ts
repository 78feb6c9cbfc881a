import { decodeName, ENTRIES_MAX, refuseArchive, refuseEntry } from './entries.ts';

/** Where a field of a directory's entry is (APPNOTE 6.3.10, 4.3.12). */
const CENTRAL = {
  ...{ needed: 6, flags: 8, method: 10, crc: 16, packedBytes: 20, bytes: 24, nameBytes: 28, extraBytes: 30 },
  ...{ commentBytes: 32, disk: 34, attributes: 38, offset: 42 },
} as const;
const CENTRAL_SIGNATURE = 0x02014b50;
const CENTRAL_BYTES = 46;
/** Of the record at the very end (APPNOTE 4.3.16). */
const END = {
  disk: 4,
  startDisk: 6,
  diskEntries: 8,
  entries: 10,
  bytes: 12,
  offset: 16,
  commentBytes: 20,
} as const;
const END_SIGNATURE = Buffer.from('PK\x05\x06', 'latin1');
const END_BYTES = 22;
const COMMENT_BYTES_MAX = 0xffff;
const ZIP64_LOCATOR = 0x07064b50;
const ZIP64_MARK = 0xffffffff;

/** Deflate's effort, a descriptor after the content, and UTF-8: what may be said of an entry without a refusal. */
const FLAGS_TAKEN = 0x0002 | 0x0004 | 0x0008 | 0x0800;
const [ENCRYPTED, UTF8] = [0x2041, 0x0800];
/** Version 2.0 of the format: folders and deflate. */
const NEEDED_MAX = 20;
const METHODS = [0, 8];
/** Extra fields that say again, or otherwise, what an entry's name, size or content is. */
const EXTRAS_REFUSED = new Map([
  [0x0001, 'is in Zip64 form; pack it without, code is never that large'],
  [0x7075, 'has a second name; pack it with UTF-8 names'],
  [0x0017, 'is encrypted'],
  [0x9901, 'is encrypted'],
]);
const [TYPE_BITS, REGULAR, FOLDER, LINK] = [0xf000, 0x8000, 0x4000, 0xa000];

export type CentralEntry = {
  path: string;
  name: Buffer;
  isFolder: boolean;
  flags: number;
  method: number;
  crc: number;
  packedBytes: number;
  bytes: number;
  /** Where its own header begins. */
  offset: number;
};

/** The directory of a zip: its entries, and where it begins. */
export function readDirectory(zip: Buffer): { entries: CentralEntry[]; offset: number } {
  const end = findEnd(zip);
  if (end >= 20 && zip.readUInt32LE(end - 20) === ZIP64_LOCATOR) {
    throw refuseArchive('it is in Zip64 form; pack it without, code is never that large');
  }
  const count = zip.readUInt16LE(end + END.entries);
  if (zip.readUInt16LE(end + END.disk) !== 0 || zip.readUInt16LE(end + END.startDisk) !== 0) {
    throw refuseArchive('it is one part of several');
  }
  if (zip.readUInt16LE(end + END.diskEntries) !== count)
    throw refuseArchive('it counts its entries twice, differently');
  if (count > ENTRIES_MAX) throw refuseArchive(`it has more than ${ENTRIES_MAX} entries`);
  const start = zip.readUInt32LE(end + END.offset);
  if (start + zip.readUInt32LE(end + END.bytes) !== end) {
    throw refuseArchive('its directory does not lie right before its end');
  }
  const entries: CentralEntry[] = [];
  let offset = start;
  for (let index = 0; index < count; index += 1) {
    const { entry, next } = readEntry(zip, offset, end);
    entries.push(entry);
    offset = next;
  }
  if (offset !== end) throw refuseArchive('its directory has more in it than it counts');
  return { entries, offset: start };
}

/** Where the end record begins: the one place from which its comment reaches exactly to the last byte. */
function findEnd(zip: Buffer): number {
  const found: number[] = [];
  const first = Math.max(0, zip.length - END_BYTES - COMMENT_BYTES_MAX);
  let isSeen = false;
  for (let at = zip.indexOf(END_SIGNATURE, first); at >= 0; at = zip.indexOf(END_SIGNATURE, at + 1)) {
    isSeen = true;
    const isRoom = at + END_BYTES <= zip.length;
    if (isRoom && at + END_BYTES + zip.readUInt16LE(at + END.commentBytes) === zip.length) found.push(at);
  }
  const [end] = found;
  if (found.length > 1) throw refuseArchive('it has two ends; which files it holds depends on the reader');
  if (end !== undefined) return end;
  throw refuseArchive(
    isSeen
      ? 'it has data after its end, or is cut off in its comment'
      : 'it is cut off: a zip without its end',
  );
}

function readEntry(zip: Buffer, at: number, end: number): { entry: CentralEntry; next: number } {
  if (at + CENTRAL_BYTES > end || zip.readUInt32LE(at) !== CENTRAL_SIGNATURE) {
    throw refuseArchive('its directory cannot be read');
  }
  const nameEnd = at + CENTRAL_BYTES + zip.readUInt16LE(at + CENTRAL.nameBytes);
  const extraEnd = nameEnd + zip.readUInt16LE(at + CENTRAL.extraBytes);
  const next = extraEnd + zip.readUInt16LE(at + CENTRAL.commentBytes);
  if (next > end) throw refuseArchive('its directory cannot be read');
  const name = zip.subarray(at + CENTRAL_BYTES, nameEnd);
  const flags = zip.readUInt16LE(at + CENTRAL.flags);
  const path = readName(name, flags);
  refuseFeatures(zip, at, path);
  refuseExtras(zip.subarray(nameEnd, extraEnd), path);
  const entry = {
    ...{ path, name, flags, isFolder: path.endsWith('/'), method: zip.readUInt16LE(at + CENTRAL.method) },
    crc: zip.readUInt32LE(at + CENTRAL.crc),
    packedBytes: zip.readUInt32LE(at + CENTRAL.packedBytes),
    bytes: zip.readUInt32LE(at + CENTRAL.bytes),
    offset: zip.readUInt32LE(at + CENTRAL.offset),
  };
  refuseKind(entry, zip.readUInt32LE(at + CENTRAL.attributes) >>> 16);
  return { entry, next };
}

function readName(name: Buffer, flags: number): string {
  const path = decodeName(name);
  if (path === undefined) throw refuseEntry(name.toString('latin1'), 'has a name that is not UTF-8');
  if ((flags & UTF8) === 0 && /[^\0-\x7f]/.test(path)) {
    throw refuseEntry(
      path,
      'has a name that is not marked as UTF-8, so that readers would name it differently',
    );
  }
  return path;
}

function refuseFeatures(zip: Buffer, at: number, path: string): void {
  const flags = zip.readUInt16LE(at + CENTRAL.flags);
  const method = zip.readUInt16LE(at + CENTRAL.method);
  if ((flags & ENCRYPTED) !== 0) throw refuseEntry(path, 'is encrypted');
  const isNew = (zip.readUInt16LE(at + CENTRAL.needed) & 0xff) > NEEDED_MAX;
  const isMarked = [CENTRAL.packedBytes, CENTRAL.bytes, CENTRAL.offset].some(
    (field) => zip.readUInt32LE(at + field) === ZIP64_MARK,
  );
  if (isMarked) throw refuseEntry(path, 'is in Zip64 form; pack it without, code is never that large');
  if (isNew || (flags & ~FLAGS_TAKEN) !== 0)
    throw refuseEntry(path, 'needs more than version 2.0 of the zip format');
  if (!METHODS.includes(method))
    throw refuseEntry(path, `is compressed by method ${method}; use deflate or none`);
  if (zip.readUInt16LE(at + CENTRAL.disk) !== 0)
    throw refuseEntry(path, 'lies in another part of the archive');
}

/** The extra fields of a header (APPNOTE 4.5.1), in the directory or before the content. */
export function refuseExtras(extra: Buffer, path: string): void {
  let at = 0;
  while (at + 4 <= extra.length) {
    const why = EXTRAS_REFUSED.get(extra.readUInt16LE(at));
    if (why !== undefined) throw refuseEntry(path, why);
    at += 4 + extra.readUInt16LE(at + 2);
  }
  if (at !== extra.length) throw refuseEntry(path, 'has an extra field that cannot be read');
}

/** `mode` is that of Unix where the writer had one, and 0 where it had none. */
function refuseKind({ path, isFolder, bytes, packedBytes }: CentralEntry, mode: number): void {
  const type = mode & TYPE_BITS;
  if (type === LINK) throw refuseEntry(path, 'is a symbolic link; only files and folders are taken');
  if (type !== 0 && type !== (isFolder ? FOLDER : REGULAR)) {
    throw refuseEntry(path, 'is neither a file nor a folder, or its name says otherwise');
  }
  if (isFolder && (bytes > 0 || packedBytes > 2)) throw refuseEntry(path, 'is a folder with content');
}
