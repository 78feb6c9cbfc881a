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

/** The types of a regular file, and of a pax extended header for the file after it. */
const TYPE = { file: '0', extended: 'x' } as const;
const TYPE_OFFSET = 156;

/**
 * Whether a path that ustar cannot hold is refused, as in publishers' code, or written as a pax extended header
 * with its `path` record, as in layers of dependencies, where npm nests folders without end.
 */
export type ArchiveForm = { longPaths: 'refuse' | 'pax' };

const STRICT: ArchiveForm = { longPaths: 'refuse' };
const PAX_PATH_BYTES_MAX = 1024;
/** What both headers of a long path have as their name. */
const PAX_NAME = Buffer.from('@LongPath');

/**
 * Files as one POSIX ustar archive, the same bytes for the same files everywhere: sorted by the bytes of
 * their path, mode 0644, owner 0, time 0, no directories. Anyone can make it again with GNU tar:
 * `find . -type f -printf '%P\0' | LC_ALL=C sort -z | tar --null -T - --format=ustar --mode=0644 --owner=0
 * --group=0 --numeric-owner --mtime=@0 -cf -`.
 */
export function writeArchive(files: ReadonlyMap<string, Uint8Array>, form: ArchiveForm = STRICT): Buffer {
  const entries = [...files]
    .map(([path, content]) => ({ path: encodePath(path, form), content }))
    .sort((a, b) => Buffer.compare(a.path, b.path))
    .flatMap(({ path, content }): Entry[] =>
      fitsUstar(path)
        ? [{ type: TYPE.file, path, content }]
        : [
            { type: TYPE.extended, path: PAX_NAME, content: spellPathRecord(path) },
            { type: TYPE.file, path: PAX_NAME, content },
          ],
    );
  const contentBytes = entries.reduce(
    (sum, { content }) => sum + BLOCK_BYTES + roundUp(content.length, BLOCK_BYTES),
    0,
  );
  const archive = Buffer.alloc(roundUp(contentBytes + 2 * BLOCK_BYTES, RECORD_BYTES));
  let offset = 0;
  for (const { type, path, content } of entries) {
    writeHeader(archive.subarray(offset, offset + BLOCK_BYTES), { type, path, sizeBytes: content.length });
    archive.set(content, offset + BLOCK_BYTES);
    offset += BLOCK_BYTES + roundUp(content.length, BLOCK_BYTES);
  }
  return archive;
}

/**
 * The files of an archive that `writeArchive` wrote; the contents are views into `archive`. Anything else is
 * refused, down to the last padding byte, so that files and bytes stand for each other one to one.
 */
export function readArchive(archive: Uint8Array, form: ArchiveForm = STRICT): Map<string, Buffer> {
  const bytes = Buffer.from(archive.buffer, archive.byteOffset, archive.byteLength);
  const files = new Map<string, Buffer>();
  let offset = 0;
  let longPath: string | undefined;
  while (offset + BLOCK_BYTES <= bytes.length && bytes[offset] !== 0) {
    const header = bytes.subarray(offset, offset + BLOCK_BYTES);
    const start = offset + BLOCK_BYTES;
    const end = start + readSize(header);
    if (end > bytes.length) throw refuse('the archive is cut off');
    offset = start + roundUp(end - start, BLOCK_BYTES);
    if (header[TYPE_OFFSET] === TYPE.extended.charCodeAt(0)) {
      longPath = readPathRecord(bytes.subarray(start, end));
      continue;
    }
    const path = longPath ?? readPath(header);
    longPath = undefined;
    if (files.has(path)) throw refuse(`the archive holds "${path}" twice`);
    files.set(path, bytes.subarray(start, end));
  }
  // Writing it again and comparing is a complete check of order, modes, owners, checksums and padding.
  if (!writeArchive(files, form).equals(bytes)) throw refuse('the archive is not in the one canonical form');
  return files;
}

/** What names a set of files: the SHA-256 of their archive, hex. */
export function archiveHash(files: ReadonlyMap<string, Uint8Array>): string {
  return sha256Hex(writeArchive(files));
}

/** The bytes of a path that an archive may hold: relative, and unable to climb out of where it is unpacked. */
function encodePath(path: string, { longPaths }: ArchiveForm): Buffer {
  const bytes = Buffer.from(path);
  if (path === '') throw refuse('a path is empty');
  if (path.includes('\0')) throw refuse(`the path ${JSON.stringify(path)} holds a NUL`);
  // A lone surrogate is encoded as U+FFFD, so that two different paths would become one.
  if (bytes.toString() !== path) throw refuse(`the path ${JSON.stringify(path)} is not valid Unicode`);
  if (path.split('/').some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw refuse(`the path ${JSON.stringify(path)} is not relative, or has an empty, "." or ".." segment`);
  }
  if (longPaths === 'refuse' && !fitsUstar(bytes)) {
    throw refuse(
      `the path ${JSON.stringify(path)} is too long for ustar: at most ${NAME_BYTES_MAX} bytes, or a directory of ` +
        `at most ${PREFIX_BYTES_MAX} bytes and a rest of at most ${NAME_BYTES_MAX}`,
    );
  }
  if (bytes.length > PAX_PATH_BYTES_MAX) {
    throw refuse(
      `the path ${JSON.stringify(path.slice(0, NAME_BYTES_MAX))}… is over ${PAX_PATH_BYTES_MAX} bytes`,
    );
  }
  return bytes;
}

/** `path` as a record of a pax extended header: its own length in digits, a blank, the record, a line feed. */
function spellPathRecord(path: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(' path='), path, Buffer.from('\n')]);
  let length = rest.length;
  while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length;
  return Buffer.concat([Buffer.from(`${length}`), rest]);
}

function readPathRecord(content: Buffer): string {
  return content.subarray(content.indexOf('=') + 1, -1).toString();
}

/** Where a path over 100 bytes is cut, as GNU tar does it: the last slash that leaves a short enough prefix. */
function splitIndex(path: Buffer): number {
  return path.subarray(0, PREFIX_BYTES_MAX + 1).lastIndexOf('/');
}

function fitsUstar(path: Buffer): boolean {
  if (path.length <= NAME_BYTES_MAX) return true;
  const slash = splitIndex(path);
  return slash > 0 && path.length - slash - 1 <= NAME_BYTES_MAX;
}

type Entry = { type: string; path: Buffer; content: Uint8Array };
type Header = { type: string; path: Buffer; sizeBytes: number };

function writeHeader(block: Buffer, { type, path, sizeBytes }: Header): void {
  if (sizeBytes > FILE_BYTES_MAX) throw refuse(`a file of ${sizeBytes} bytes is too large for ustar`);
  const slash = path.length > NAME_BYTES_MAX ? splitIndex(path) : -1;
  block.set(path.subarray(slash + 1), FIELD.name[0]);
  block.write('0000644\x000000000\x000000000\0', 100, 'latin1');
  block.write(`${sizeBytes.toString(8).padStart(11, '0')}\x0000000000000\0`, FIELD.size[0], 'latin1');
  // The checksum counts its own field as eight spaces.
  block.write(`        ${type}`, FIELD.checksum[0], 'latin1');
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
