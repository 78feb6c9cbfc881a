import type { Hash } from '../merkle/merkle.ts';
import { parseCheckpoint } from './checkpoint.ts';
import { parseNote, verifyNoteSignature } from './note.ts';
import { NoteError } from './note-error.ts';
import type { NoteKey } from './vkey.ts';

/** Whether a note that is kept says this of the tree, and what our keys signed of it holds: keys go, checkpoints stay. */
export function saysSo(
  note: string,
  said: { treeSize: number; root: Hash; keys: readonly NoteKey[] },
): boolean {
  try {
    const { text, signatures } = parseNote(note);
    for (const signature of signatures) {
      const key = said.keys.find(({ name, keyId }) => name === signature.name && keyId === signature.keyId);
      if (key) verifyNoteSignature(text, signature, key);
    }
    const { treeSize, root } = parseCheckpoint(text);
    return treeSize === said.treeSize && root.equals(said.root);
  } catch (error) {
    if (error instanceof NoteError) return false;
    throw error;
  }
}
