import { refuseArchive } from './entries.ts';
import { inflate } from './inflate.ts';
import { readTar, TAR_BYTES_MAX } from './tar.ts';
import { readZip } from './zip.ts';

const MIB = 1024 * 1024;
/** More than this times its own size is no code but a bomb; below a mebibyte anything may be. */
const RATIO_MAX = 200;
const RATIO_FREE_BYTES = MIB;
/** As POSIX and GNU write it, which differ in what follows. */
const USTAR = { at: [257, 262], magic: 'ustar' } as const;

/** The files of an uploaded archive, a tar, gzipped or not, or a zip, whichever its bytes are. Names decide nothing. */
export async function readUpload(archive: Buffer): Promise<Map<string, Buffer>> {
  const bytesMax = Math.max(RATIO_FREE_BYTES, archive.length * RATIO_MAX);
  if (archive.length === 0) throw refuseArchive('it is empty');
  // Looked for first: the name of a tar's first file may begin like a zip.
  if (archive.toString('latin1', ...USTAR.at) === USTAR.magic) return readTar(archive);
  if (archive[0] === 0x1f && archive[1] === 0x8b) return readTarGz(archive, bytesMax);
  if (archive.toString('latin1', 0, 2) === 'PK') return readZip(archive, bytesMax);
  throw refuseArchive('it is neither a tar (.tar, .tar.gz) nor a zip; pack it as one of these');
}

/**
 * Takes off the one folder that everything lies in, as `npm pack` and downloads of repositories have it, but only
 * when the entrypoint is named from inside that folder: a submission that says where its entrypoint is stays as it is.
 */
export function takeOffTopFolder(
  files: ReadonlyMap<string, Buffer>,
  entrypoint: string,
): ReadonlyMap<string, Buffer> {
  if (files.has(entrypoint)) return files;
  const [first = ''] = files.keys();
  const top = first.slice(0, first.indexOf('/') + 1);
  const isCommon = top !== '' && [...files.keys()].every((path) => path.startsWith(top));
  if (!isCommon || !files.has(top + entrypoint)) return files;
  return new Map([...files].map(([path, content]) => [path.slice(top.length), content]));
}

async function readTarGz(archive: Buffer, ratioBytesMax: number): Promise<Map<string, Buffer>> {
  const bytesMax = Math.min(TAR_BYTES_MAX, ratioBytesMax);
  const inflated = await inflate('gzip', archive, bytesMax);
  if (inflated.kind === 'broken')
    throw refuseArchive(
      `its gzip stream is damaged, cut off or followed by something else (${inflated.why})`,
    );
  if (inflated.kind === 'too-large') {
    throw refuseArchive(
      bytesMax === TAR_BYTES_MAX
        ? `it unpacks to more than ${TAR_BYTES_MAX} bytes`
        : `it unpacks to more than ${RATIO_MAX} times its own size`,
    );
  }
  if (inflated.usedBytes !== archive.length)
    throw refuseArchive('it has data after the end of its gzip stream');
  return readTar(inflated.bytes);
}
