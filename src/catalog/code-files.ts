import { Problem } from '../core/problem.ts';

/** A file as the publish JSON spells it: text, or bytes in base64. */
export type FileContent = string | { base64: string };

/** How large code may be, in bytes: one file, and all of them together. */
export type CodeBounds = { fileBytesMax: number; codeBytesMax: number };

const MIB = 1024 * 1024;

export const FILES_MAX = 1_000;
export const FILE_BYTES_MAX = 2 * MIB;
export const CODE_BYTES_MAX = 5 * MIB;
/** The program of a compiled language is one large file. */
export const PROGRAM_BYTES_MAX = 24 * MIB;

const SCRIPTS: CodeBounds = { fileBytesMax: FILE_BYTES_MAX, codeBytesMax: CODE_BYTES_MAX };
export const CODE_BOUNDS = {
  python: SCRIPTS,
  node: SCRIPTS,
  go: { fileBytesMax: PROGRAM_BYTES_MAX, codeBytesMax: PROGRAM_BYTES_MAX },
} as const satisfies Record<string, CodeBounds>;

const PATH_BYTES_MAX = 100;

/** Control, format and separator characters: what makes one path look like another. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

/** The files of a publish JSON, every path and size checked. */
export function readFiles(
  contents: Readonly<Record<string, FileContent>>,
  bounds: CodeBounds = SCRIPTS,
): Map<string, Buffer> {
  const paths = Object.keys(contents);
  refusePaths(paths);
  const files = new Map(
    Object.entries(contents).map(([path, content]) => [path, readContent(path, content)]),
  );
  refuseOversize(files, bounds);
  return files;
}

/** Refuses files that would not unpack the same everywhere, or are too many or too large. */
export function checkFiles(files: ReadonlyMap<string, Buffer>, bounds: CodeBounds): void {
  refusePaths([...files.keys()]);
  refuseOversize(files, bounds);
}

/** Why a path is refused, whatever else is in the submission; undefined when it is good. */
export function refusePath(path: string): string | undefined {
  if (path === '') return 'is empty; every file needs a name';
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) return `is longer than ${PATH_BYTES_MAX} bytes; shorten it`;
  if (path.startsWith('/')) return 'is absolute; make it relative to the root of your code';
  if (path.includes('\\')) return 'has a backslash; use "/" between directories';
  if (/^[A-Za-z]:/.test(path)) return 'has a drive letter; make it relative to the root of your code';
  if (UNPRINTABLE.test(path)) return 'has a control or invisible character; remove it';
  if (path !== path.normalize('NFC')) return 'is not in Unicode normal form C; normalise it';
  const segments = path.split('/');
  if (segments.includes('')) return 'has an empty segment; remove the extra "/"';
  if (segments.includes('.') || segments.includes('..')) {
    return 'has a "." or ".." segment; name files below the root of your code only';
  }
  return undefined;
}

/** What two paths have in common that a file system which ignores case would take for one. */
export function foldCase(path: string): string {
  // Upper case first: it unfolds letters such as "ß" and "ſ" that have no lower case of their own.
  return path.toUpperCase().toLowerCase();
}

/** A path in a sentence, in few words however long it is. */
export function quotePath(path: string): string {
  return JSON.stringify(path.length > PATH_BYTES_MAX ? `${path.slice(0, PATH_BYTES_MAX)}…` : path);
}

function refusePaths(paths: readonly string[]): void {
  if (paths.length === 0) throw refuse('must hold at least one file');
  if (paths.length > FILES_MAX) throw refuse(`must hold at most ${FILES_MAX} files, not ${paths.length}`);
  for (const path of paths) {
    const why = refusePath(path);
    if (why !== undefined) throw refuse(`the path ${quotePath(path)} ${why}`);
  }
  refuseClashes(paths);
}

/** Refuses what a file system that ignores case, or any file system at all, could not hold side by side. */
function refuseClashes(paths: readonly string[]): void {
  const byFolded = new Map<string, string>();
  for (const path of paths) {
    const folded = foldCase(path);
    const other = byFolded.get(folded);
    if (other !== undefined) {
      throw refuse(`the paths ${quotePath(other)} and ${quotePath(path)} differ only in case; rename one`);
    }
    byFolded.set(folded, path);
  }
  for (const [folded, path] of byFolded) {
    for (let slash = folded.indexOf('/'); slash > 0; slash = folded.indexOf('/', slash + 1)) {
      const file = byFolded.get(folded.slice(0, slash));
      if (file !== undefined) {
        throw refuse(`${quotePath(file)} is a file, so ${quotePath(path)} cannot be below it; rename one`);
      }
    }
  }
}

function readContent(path: string, content: FileContent): Buffer {
  if (typeof content === 'string') {
    const bytes = Buffer.from(content);
    // UTF-8 has no spelling for half a surrogate pair: what is stored would not be what was sent.
    if (bytes.toString() !== content) throw refuse(`the text of ${quotePath(path)} is not valid Unicode`);
    return bytes;
  }
  const bytes = Buffer.from(content.base64, 'base64');
  if (bytes.toString('base64') !== content.base64) {
    throw refuse(
      `the content of ${quotePath(path)} is not base64 (RFC 4648 section 4, padded, no line breaks)`,
    );
  }
  return bytes;
}

function refuseOversize(files: ReadonlyMap<string, Buffer>, bounds: CodeBounds): void {
  let total = 0;
  for (const [path, { length }] of files) {
    if (length > bounds.fileBytesMax) {
      throw refuseSize(`${quotePath(path)} has ${length} bytes; one file may have ${bounds.fileBytesMax}`);
    }
    total += length;
  }
  if (total > bounds.codeBytesMax) {
    throw refuseSize(`all files together have ${total} bytes; they may have ${bounds.codeBytesMax}`);
  }
}

function refuse(reason: string): Problem {
  return new Problem('invalid-code', { detail: `files: ${reason}.`, members: { field: 'files' } });
}

function refuseSize(reason: string): Problem {
  return new Problem('body-too-large', { detail: `files: ${reason}.`, members: { field: 'files' } });
}
