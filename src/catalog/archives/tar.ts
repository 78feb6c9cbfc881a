import { PROGRAM_BYTES_MAX } from '../code-files.ts';
import {
  createEntries,
  decodeName,
  ENTRIES_MAX,
  type Entries,
  refuseArchive,
  refuseEntry,
} from './entries.ts';
import { readPax } from './pax.ts';

const BLOCK_BYTES = 512;
/** Two blocks for each entry beside the content: its header, and its padding. */
export const TAR_BYTES_MAX = PROGRAM_BYTES_MAX + 2 * BLOCK_BYTES * ENTRIES_MAX;

/** Where a header field starts and ends (POSIX.1-2017 pax, "ustar Interchange Format"). */
const FIELD = {
  name: [0, 100],
  size: [124, 136],
  checksum: [148, 156],
  magic: [257, 263],
  prefix: [345, 500],
} as const;
const META_BYTES_MAX = 64 * 1024;
/** What is neither a file nor a folder, by type flag. */
const REFUSED = new Map([
  ['1', 'a hard link'],
  ['2', 'a symbolic link'],
  ['3', 'a device'],
  ['4', 'a device'],
  ['6', 'a named pipe'],
  ['S', 'a sparse file'],
]);

type Header = { name: Buffer; type: string; sizeBytes: number };
/** A name that an entry of its own gives to the next one. */
type Announced = { path: string } | undefined;

/**
 * The files of a tar as GNU tar, bsdtar, git, npm and Python write it. Modes, owners and times are left out; whatever
 * is neither a regular file nor a folder is refused, and so is everything that readers of tar disagree on.
 */
export function readTar(tar: Buffer): Map<string, Buffer> {
  const entries = createEntries();
  let announced: Announced;
  let offset = 0;
  for (;;) {
    const header = readHeader(tar, offset);
    if (!header) break;
    entries.count();
    const start = offset + BLOCK_BYTES;
    const content = tar.subarray(start, start + header.sizeBytes);
    offset = start + Math.ceil(header.sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
    if (offset > tar.length) throw refuseArchive('it is cut off in the middle of an entry');
    announced = takeEntry(entries, { header, content, announced });
  }
  if (announced) throw refuseEntry(announced.path, 'is announced, and no entry follows');
  refuseRest(tar.subarray(offset));
  return entries.finish();
}

/** Adds an entry, or answers what it announces of the next one. */
function takeEntry(
  entries: Entries,
  { header, content, announced }: { header: Header; content: Buffer; announced: Announced },
): Announced {
  const { type, sizeBytes } = header;
  if (type === 'x' || type === 'g' || type === 'L') return readMeta(header, content, announced);
  const path = plainPath(announced?.path ?? decode(header.name));
  const kind = REFUSED.get(type);
  if (kind !== undefined) throw refuseEntry(path, `is ${kind}; only files and folders are taken`);
  if (type === '5') {
    if (sizeBytes > 0) throw refuseEntry(path, 'is a folder with content');
    // The folder that was packed is itself in what most writers write, under one of these names.
    if (!['', '.', '/'].includes(path)) entries.addFolder(path.replace(/\/$/, ''));
    return undefined;
  }
  if (type !== '0' && type !== '\0')
    throw refuseEntry(path, `has the type ${JSON.stringify(type)}, which is not taken`);
  entries.addFile(path, content);
  return undefined;
}

/** Headers that say something of the next entry (pax "x", GNU "L") or of all (pax "g"). */
function readMeta(header: Header, content: Buffer, announced: Announced): Announced {
  if (content.length > META_BYTES_MAX)
    throw refuseArchive(`it has an extended header of ${content.length} bytes`);
  if (announced) throw refuseEntry(announced.path, 'is announced twice');
  if (header.type === 'L') return { path: decode(untilNul(content)) };
  const path = readPax(content, { isGlobal: header.type === 'g' });
  return path === undefined ? undefined : { path };
}

function readHeader(tar: Buffer, offset: number): Header | undefined {
  const block = tar.subarray(offset, offset + BLOCK_BYTES);
  if (block.length < BLOCK_BYTES) throw refuseArchive('it is cut off: a tar ends with two empty blocks');
  if (isEmpty(block)) return undefined;
  const claimed = readOctal(block.subarray(...FIELD.checksum));
  if (claimed !== sumOf(block)) {
    throw refuseArchive(offset === 0 ? 'what it holds is no tar' : 'it has a header with a wrong checksum');
  }
  const isUstar = block.toString('latin1', ...FIELD.magic) === 'ustar\0';
  const prefix = isUstar ? untilNul(block.subarray(...FIELD.prefix)) : Buffer.alloc(0);
  const last = untilNul(block.subarray(...FIELD.name));
  const name = prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), last]) : last;
  const sizeBytes = readOctal(block.subarray(...FIELD.size));
  if (sizeBytes === undefined) throw refuseEntry(name.toString(), 'has no readable size');
  return { name, type: block.toString('latin1', 156, 157), sizeBytes };
}

function decode(bytes: Buffer): string {
  const text = decodeName(bytes);
  if (text === undefined) throw refuseEntry(bytes.toString('latin1'), 'has a name that is not UTF-8');
  return text;
}

/** "tar -c ." puts a "./" before every name. */
function plainPath(path: string): string {
  return path.startsWith('./') ? path.slice(2) : path;
}

/** After its end a tar is padded with nothing, to whatever length. */
function refuseRest(rest: Buffer): void {
  if (rest.length < 2 * BLOCK_BYTES) throw refuseArchive('it is cut off: a tar ends with two empty blocks');
  if (!isEmpty(rest)) throw refuseArchive('it has data after its end');
}

function isEmpty(bytes: Buffer): boolean {
  // Twenty megabytes of padding, byte by byte, would keep everyone waiting.
  return bytes.equals(Buffer.alloc(bytes.length));
}

function sumOf(block: Buffer): number {
  // The checksum counts its own field as eight spaces.
  const own = block.subarray(...FIELD.checksum).reduce((sum, byte) => sum + byte, 0);
  return block.reduce((sum, byte) => sum + byte, 0) - own + 8 * 0x20;
}

function readOctal(field: Buffer): number | undefined {
  const match = /^ *([0-7]{1,12})[ \0]*$/.exec(field.toString('latin1'));
  return match ? Number.parseInt(match[1] ?? '', 8) : undefined;
}

function untilNul(bytes: Buffer): Buffer {
  const nul = bytes.indexOf(0);
  return nul < 0 ? bytes : bytes.subarray(0, nul);
}
