import { Problem } from '../../core/problem.ts';
import { FILES_MAX, foldCase, PROGRAM_BYTES_MAX, quotePath, refusePath } from '../code-files.ts';

/** Folders and headers besides the files; an archive of nothing else has an end, too. */
export const ENTRIES_MAX = 4 * FILES_MAX;

/** What an archive's reader hands over, checked entry by entry, so that each refusal names its entry. */
export type Entries = {
  /** To be called for every entry, whatever it is. */
  count(): void;
  addFile(path: string, content: Buffer): void;
  addFolder(path: string): void;
  /** The files, once everything was read. */
  finish(): Map<string, Buffer>;
};

export function createEntries(): Entries {
  const files = new Map<string, Buffer>();
  const folders = new Map<string, string>();
  let [entries, bytes] = [0, 0];
  return {
    count() {
      entries += 1;
      if (entries > ENTRIES_MAX) throw refuseArchive(`it has more than ${ENTRIES_MAX} entries`);
    },
    addFile(path, content) {
      refuseBadPath(path);
      if (files.has(path)) throw refuseEntry(path, 'is there twice');
      if (files.size === FILES_MAX) throw refuseArchive(`it holds more than ${FILES_MAX} files`);
      bytes += content.length;
      refuseBytes(path, content.length, bytes);
      files.set(path, content);
    },
    addFolder(path) {
      refuseBadPath(path);
      folders.set(foldCase(path), path);
    },
    finish() {
      for (const path of files.keys()) {
        const folder = folders.get(foldCase(path));
        if (folder !== undefined) throw refuseEntry(path, `is a file, and ${quotePath(folder)} is a folder`);
      }
      return files;
    },
  };
}

/** Refuses what no language may have, before it takes memory. */
export function refuseBytes(path: string, fileBytes: number, totalBytes: number): void {
  if (fileBytes > PROGRAM_BYTES_MAX) {
    throw tooLarge(`${quotePath(path)} has ${fileBytes} bytes; one file may have ${PROGRAM_BYTES_MAX}`);
  }
  if (totalBytes > PROGRAM_BYTES_MAX) {
    throw tooLarge(
      `with ${quotePath(path)} the files have ${totalBytes} bytes; they may have ${PROGRAM_BYTES_MAX}`,
    );
  }
}

/** The text of a name in an archive; undefined when it is no UTF-8. */
export function decodeName(bytes: Uint8Array): string | undefined {
  try {
    // A name that starts with a byte order mark keeps it, and is refused for that.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** A refusal of one entry; `reason` goes on after its name. */
export function refuseEntry(path: string, reason: string): Problem {
  return refuseArchive(`${quotePath(path)} ${reason}`);
}

/** A refusal of the archive as a whole. */
export function refuseArchive(reason: string): Problem {
  return new Problem('invalid-code', { detail: `archive: ${reason}.`, members: { field: 'archive' } });
}

function tooLarge(reason: string): Problem {
  return new Problem('body-too-large', { detail: `archive: ${reason}.`, members: { field: 'archive' } });
}

function refuseBadPath(path: string): void {
  const why = refusePath(path);
  if (why !== undefined) throw refuseArchive(`the path ${quotePath(path)} ${why}`);
}
