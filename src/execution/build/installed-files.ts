import { dirname } from 'node:path/posix';
import { Problem } from '../../core/problem.ts';

/** There may be as many folders as files: a deep path costs a disk far more than it has bytes. */
export type InstalledBounds = { filesMax: number; bytesMax: number };

/** What an installer left, or how it ended. */
export type Installed =
  | { kind: 'installed'; files: Map<string, Buffer> }
  | { kind: 'failed'; exitCode: number }
  /** The stream ended in the middle: the jail is gone. */
  | { kind: 'cut-off' };

const HEADER_BYTES = 12;
const END = 0xffffffff;
const PATH_BYTES_MAX = 1024;
const SIZE_OFFSET = 4;

/**
 * Reads what a driver (`drivers/`) writes: for each file the length of its path (4 bytes, big endian), its size
 * (8 bytes), path and content; at the end 0xffffffff and the installer's exit code. It comes out of a jail, so every
 * length is held to the bounds before anything is kept.
 */
export async function readInstalled(
  stream: AsyncIterable<Buffer>,
  bounds: InstalledBounds,
): Promise<Installed> {
  const take = createTaker(stream);
  const files = new Map<string, Buffer>();
  const folders = new Set<string>();
  let bytes = 0;
  for (;;) {
    const header = await take(HEADER_BYTES);
    if (header === undefined) return { kind: 'cut-off' };
    const pathBytes = header.readUInt32BE(0);
    if (pathBytes === END) return toEnd(header, files);
    const size = header.readBigUInt64BE(SIZE_OFFSET);
    if (pathBytes > PATH_BYTES_MAX) throw refuse(`a path of over ${PATH_BYTES_MAX} bytes`);
    if (files.size >= bounds.filesMax) throw refuse(`over ${bounds.filesMax} files`);
    if (BigInt(bytes) + size > BigInt(bounds.bytesMax)) throw refuse(`over ${bounds.bytesMax} bytes`);
    bytes += Number(size);
    const path = await take(pathBytes);
    const content = path && (await take(Number(size)));
    if (path === undefined || content === undefined) return { kind: 'cut-off' };
    const name = readPath(path, files);
    files.set(name, content);
    addFolders(name, folders);
    if (folders.size > bounds.filesMax) throw refuse(`over ${bounds.filesMax} folders`);
  }
}

function addFolders(path: string, folders: Set<string>): void {
  let folder = dirname(path);
  for (; folder !== '.' && !folders.has(folder); folder = dirname(folder)) folders.add(folder);
}

function toEnd(header: Buffer, files: Map<string, Buffer>): Installed {
  const exitCode = Number(header.readBigUInt64BE(SIZE_OFFSET));
  return exitCode === 0 ? { kind: 'installed', files } : { kind: 'failed', exitCode };
}

/** `writeArchive` refuses what climbs out; here is what two files of one layer may not be. */
function readPath(bytes: Buffer, files: ReadonlyMap<string, Buffer>): string {
  const path = bytes.toString();
  if (!Buffer.from(path).equals(bytes)) throw refuse('a path that is not UTF-8');
  if (!/^(?:python|node_modules)\//.test(path)) throw refuse('a file outside of its folder');
  if (files.has(path)) throw refuse('a file twice');
  return path;
}

type Take = (count: number) => Promise<Buffer | undefined>;

/** Exactly so many bytes of a stream at a time; undefined when it ends before. */
function createTaker(stream: AsyncIterable<Buffer>): Take {
  const chunks = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  return async (count) => {
    const pieces: Buffer[] = [];
    let missing = count;
    while (missing > 0) {
      if (rest.length === 0) {
        const next = await chunks.next();
        if (next.done) return undefined;
        rest = next.value;
        continue;
      }
      const piece = rest.subarray(0, missing);
      rest = rest.subarray(piece.length);
      missing -= piece.length;
      pieces.push(piece);
    }
    return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
  };
}

function refuse(what: string): Problem {
  return new Problem('invalid-code', { detail: `The dependencies were refused: they have ${what}.` });
}
