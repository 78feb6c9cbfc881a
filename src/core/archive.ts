import { sha256Hex } from './bytes.ts';
import { Problem } from './problem.ts';

const BLOCK_BYTES = 512;
/** GNU tar ends an archive at a multiple of 20 blocks. */
const RECORD_BYTES = 20 * BLOCK_BYTES;
const NAME_BYTES_MAX = 100;
const PREFIX_BYTES_MAX = 155;
/** Eleven octal digits hold the size of a file. */
const FILE_BYTES_MAX = 8 ** 11 - 1;

/** Where a header field starts and ends (POSIX.1-2017 pax, "ustar Interchange Format"). */
const FIELD = { name: [0, 100], size: [124, 136], checksum: [148, 156], prefix: [345, 500] } as const;

/**
 * Files as one POSIX ustar archive, the same bytes for the same files everywhere: sorted by the bytes of
 * their path, mode 0644, owner 0, time 0, no directories. Anyone can make it again with GNU tar:
 * `find . -type f -printf '%P\0' | LC_ALL=C sort -z | tar --null -T - --format=ustar --mode=0644 --owner=0
 * --group=0 --numeric-owner --mtime=@0 -cf -`.
 */
export function writeArchive(files: ReadonlyMap<string, Uint8Array>): Buffer {
  const entries = [...files]
    .map(([path, content]) => ({ path: encodePath(path), content }))
    .sort((a, b) => Buffer.compare(a.path, b.path));
  const contentBytes = entries.reduce(
    (sum, { content }) => sum + BLOCK_BYTES + roundUp(content.length, BLOCK_BYTES),
    0,
  );
  const archive = Buffer.alloc(roundUp(contentBytes + 2 * BLOCK_BYTES, RECORD_BYTES));
  let offset = 0;
  for (const { path, content } of entries) {
    writeHeader(archive.subarray(offset, offset + BLOCK_BYTES), path, content.length);
    archive.set(content, offset + BLOCK_BYTES);
    offset += BLOCK_BYTES + roundUp(content.length, BLOCK_BYTES);
  }
  return archive;
}

/**
 * The files of an archive that `writeArchive` wrote; the contents are views into `archive`. Anything else is
 * refused, down to the last padding byte, so that files and bytes stand for each other one to one.
 */
export function readArchive(archive: Uint8Array): Map<string, Buffer> {
  const bytes = Buffer.from(archive.buffer, archive.byteOffset, archive.byteLength);
  const files = new Map<string, Buffer>();
  let offset = 0;
  while (offset + BLOCK_BYTES <= bytes.length && bytes[offset] !== 0) {
    const header = bytes.subarray(offset, offset + BLOCK_BYTES);
    const start = offset + BLOCK_BYTES;
    const end = start + readSize(header);
    if (end > bytes.length) throw refuse('the archive is cut off');
    const path = readPath(header);
    if (files.has(path)) throw refuse(`the archive holds "${path}" twice`);
    files.set(path, bytes.subarray(start, end));
    offset = start + roundUp(end - start, BLOCK_BYTES);
  }
  // Writing it again and comparing is a complete check of order, modes, owners, checksums and padding.
  if (!writeArchive(files).equals(bytes)) throw refuse('the archive is not in the one canonical form');
  return files;
}

/** What names a set of files: the SHA-256 of their archive, hex. */
export function archiveHash(files: ReadonlyMap<string, Uint8Array>): string {
  return sha256Hex(writeArchive(files));
}

/** The bytes of a path that an archive may hold: relative, and unable to climb out of where it is unpacked. */
function encodePath(path: string): Buffer {
  const bytes = Buffer.from(path);
  if (path === '') throw refuse('a path is empty');
  if (path.includes('\0')) throw refuse(`the path ${JSON.stringify(path)} holds a NUL`);
  // A lone surrogate is encoded as U+FFFD, so that two different paths would become one.
  if (bytes.toString() !== path) throw refuse(`the path ${JSON.stringify(path)} is not valid Unicode`);
  if (path.split('/').some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw refuse(`the path ${JSON.stringify(path)} is not relative, or has an empty, "." or ".." segment`);
  }
  if (bytes.length > NAME_BYTES_MAX && !isSplittable(bytes)) {
    throw refuse(
      `the path ${JSON.stringify(path)} is too long for ustar: at most ${NAME_BYTES_MAX} bytes, or a directory of ` +
        `at most ${PREFIX_BYTES_MAX} bytes and a rest of at most ${NAME_BYTES_MAX}`,
    );
  }
  return bytes;
}

/** Where a path over 100 bytes is cut, as GNU tar does it: the last slash that leaves a short enough prefix. */
function splitIndex(path: Buffer): number {
  return path.subarray(0, PREFIX_BYTES_MAX + 1).lastIndexOf('/');
}

function isSplittable(path: Buffer): boolean {
  const slash = splitIndex(path);
  return slash > 0 && path.length - slash - 1 <= NAME_BYTES_MAX;
}

function writeHeader(block: Buffer, path: Buffer, sizeBytes: number): void {
  if (sizeBytes > FILE_BYTES_MAX) throw refuse(`a file of ${sizeBytes} bytes is too large for ustar`);
  const slash = path.length > NAME_BYTES_MAX ? splitIndex(path) : -1;
  block.set(path.subarray(slash + 1), FIELD.name[0]);
  block.write('0000644\x000000000\x000000000\0', 100, 'latin1');
  block.write(`${sizeBytes.toString(8).padStart(11, '0')}\x0000000000000\0`, FIELD.size[0], 'latin1');
  // The checksum counts its own field as eight spaces; 0 is the type of a regular file.
  block.write('        0', FIELD.checksum[0], 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.write('0000000\x000000000\0', 329, 'latin1');
  if (slash > 0) block.set(path.subarray(0, slash), FIELD.prefix[0]);
  const checksum = block.reduce((sum, byte) => sum + byte, 0);
  block.write(`${checksum.toString(8).padStart(6, '0')}\0 `, FIELD.checksum[0], 'latin1');
}

function readSize(header: Buffer): number {
  const digits = header.toString('latin1', ...FIELD.size).slice(0, 11);
  if (!/^[0-7]{11}$/.test(digits)) throw refuse('the archive has a header without a size');
  return Number.parseInt(digits, 8);
}

function readPath(header: Buffer): string {
  const name = readText(header, FIELD.name);
  const prefix = readText(header, FIELD.prefix);
  return prefix === '' ? name : `${prefix}/${name}`;
}

function readText(header: Buffer, [start, end]: readonly [number, number]): string {
  const field = header.subarray(start, end);
  const nul = field.indexOf(0);
  return field.toString('utf8', 0, nul < 0 ? field.length : nul);
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

function refuse(reason: string): Problem {
  return new Problem('invalid-code', { detail: `The code archive was refused: ${reason}.` });
}
