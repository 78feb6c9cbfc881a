import { crc32, deflateRawSync, gzipSync } from 'node:zlib';

/** One entry of a tar that is written byte by byte, so that it can be wrong in any way. */
export type TarEntry = {
  name: string | Buffer;
  content?: Buffer | string;
  type?: string;
  /** The size that the header tells, where it is another one. */
  size?: string;
  prefix?: string;
  magic?: string;
  checksum?: string;
};

const END = Buffer.alloc(1024);

export function makeTar(entries: readonly TarEntry[], end: Buffer = END): Buffer {
  return Buffer.concat([...entries.map(makeTarEntry), end]);
}

export const makeTarGz = (entries: readonly TarEntry[], end?: Buffer) => gzipSync(makeTar(entries, end));

export function paxRecord(key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length += 1;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function makeTarEntry({ name, content = '', type = '0', ...wrong }: TarEntry): Buffer {
  const bytes = Buffer.from(content);
  const header = Buffer.alloc(512);
  header.set(Buffer.from(name).subarray(0, 100), 0);
  // Set-uid and writable by everybody, of somebody, some day: what a tar says of these never counts.
  header.write('0006777\x000000765\x000000024\0', 100, 'latin1');
  header.write(wrong.size ?? `${bytes.length.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  header.write('14000000000\0        ', 136, 'latin1');
  header.write(type, 156, 'latin1');
  header.write(wrong.magic ?? 'ustar\x0000', 257, 'latin1');
  header.write(wrong.prefix ?? '', 345, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(wrong.checksum ?? `${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** One entry of a zip that is written byte by byte. What starts with `local` is told by its own header alone. */
export type ZipEntry = {
  name: string | Buffer;
  content?: Buffer | string;
  isStored?: boolean;
  hasDescriptor?: boolean;
  /** The mode of Unix in the directory. */
  mode?: number;
  flags?: number;
  method?: number;
  needed?: number;
  crc?: number;
  bytes?: number;
  packed?: Buffer;
  extra?: Buffer;
  localName?: string;
  localBytes?: number;
  localMethod?: number;
  localExtra?: Buffer;
  /** Where the directory says that the header is, beside the truth. */
  offsetError?: number;
  /** Bytes that lie before the header and belong to nothing. */
  before?: Buffer;
};

export type ZipEnd = {
  comment?: string | Buffer;
  after?: Buffer;
  /** What the end record counts, where it is not the number of entries. */
  entries?: number;
  diskEntries?: number;
  disk?: number;
  /** Bytes between the directory and its end. */
  between?: Buffer;
  /** Bytes between the last file and the directory. */
  gap?: Buffer;
};

export function makeZip(entries: readonly ZipEntry[], end: ZipEnd = {}): Buffer {
  const pieces: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const entry of entries) {
    const { local, central } = makeZipEntry(entry, offset + (entry.before?.length ?? 0));
    const piece = Buffer.concat([entry.before ?? Buffer.alloc(0), local]);
    pieces.push(piece);
    directory.push(central);
    offset += piece.length;
  }
  const gap = end.gap ?? Buffer.alloc(0);
  const listed = Buffer.concat(directory);
  const comment = Buffer.from(end.comment ?? '');
  const record = Buffer.alloc(22);
  record.writeUInt32LE(0x06054b50, 0);
  record.writeUInt16LE(end.disk ?? 0, 4);
  record.writeUInt16LE(end.diskEntries ?? end.entries ?? entries.length, 8);
  record.writeUInt16LE(end.entries ?? entries.length, 10);
  record.writeUInt32LE(listed.length, 12);
  record.writeUInt32LE(offset + gap.length, 16);
  record.writeUInt16LE(comment.length, 20);
  const between = end.between ?? Buffer.alloc(0);
  return Buffer.concat([...pieces, gap, listed, between, record, comment, end.after ?? Buffer.alloc(0)]);
}

function makeZipEntry(entry: ZipEntry, offset: number): { local: Buffer; central: Buffer } {
  const content = Buffer.from(entry.content ?? '');
  const name = Buffer.from(entry.name);
  const packed = entry.packed ?? (entry.isStored ? content : deflateRawSync(content));
  const told = {
    flags: entry.flags ?? 0x0800 | (entry.hasDescriptor ? 0x0008 : 0),
    method: entry.method ?? (entry.isStored ? 0 : 8),
    crc: entry.crc ?? crc32(content),
    bytes: entry.bytes ?? content.length,
  };
  const extra = entry.extra ?? Buffer.alloc(0);
  const central = Buffer.alloc(46);
  central.writeUInt32LE(0x02014b50, 0);
  central.writeUInt16LE(0x0314, 4);
  central.writeUInt16LE(entry.needed ?? 20, 6);
  central.writeUInt16LE(told.flags, 8);
  central.writeUInt16LE(told.method, 10);
  central.writeUInt32LE(told.crc, 16);
  central.writeUInt32LE(packed.length, 20);
  central.writeUInt32LE(told.bytes, 24);
  central.writeUInt16LE(name.length, 28);
  central.writeUInt16LE(extra.length, 30);
  central.writeUInt32LE(((entry.mode ?? 0) << 16) >>> 0, 38);
  central.writeUInt32LE(offset + (entry.offsetError ?? 0), 42);
  return {
    central: Buffer.concat([central, name, extra]),
    local: makeLocal(entry, { ...told, packed, name }),
  };
}

function makeLocal(
  entry: ZipEntry,
  told: { flags: number; method: number; crc: number; bytes: number; packed: Buffer; name: Buffer },
): Buffer {
  const { flags, crc, bytes, packed } = told;
  const name = entry.localName === undefined ? told.name : Buffer.from(entry.localName);
  const extra = entry.localExtra ?? Buffer.alloc(0);
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt16LE(20, 4);
  local.writeUInt16LE(flags, 6);
  local.writeUInt16LE(entry.localMethod ?? told.method, 8);
  if (!entry.hasDescriptor) {
    local.writeUInt32LE(crc, 14);
    local.writeUInt32LE(packed.length, 18);
    local.writeUInt32LE(entry.localBytes ?? bytes, 22);
  }
  local.writeUInt16LE(name.length, 26);
  local.writeUInt16LE(extra.length, 28);
  const descriptor = Buffer.alloc(entry.hasDescriptor ? 16 : 0);
  if (entry.hasDescriptor) {
    descriptor.writeUInt32LE(0x08074b50, 0);
    descriptor.writeUInt32LE(crc, 4);
    descriptor.writeUInt32LE(packed.length, 8);
    descriptor.writeUInt32LE(entry.localBytes ?? bytes, 12);
  }
  return Buffer.concat([local, name, extra, packed, descriptor]);
}
