import { type Hash, isHash } from '../merkle/merkle.ts';
import { type VerifiedSignature, verifyNote } from './note.ts';
import { readBase64, requireNote } from './note-error.ts';
import type { NoteKey } from './vkey.ts';

/** What a checkpoint says (C2SP tlog-checkpoint). */
export type CheckpointBody = {
  /** Which log it is of. */
  origin: string;
  treeSize: number;
  root: Hash;
  /** Lines after the third, which nobody audits; we write none. */
  extensions: readonly string[];
};

/** A checkpoint that its log signed, with the cosignatures of witnesses that were asked for and hold. */
export type VerifiedCheckpoint = CheckpointBody & {
  text: string;
  signatures: readonly VerifiedSignature[];
  cosignatures: readonly VerifiedSignature[];
};

/** The text of the note that a checkpoint is. */
export function encodeCheckpoint(head: { origin: string; treeSize: number; root: Hash }): string {
  const { origin, treeSize, root } = head;
  requireNote(isLine(origin), 'The origin of a log is one line that is not empty.');
  requireNote(Number.isSafeInteger(treeSize) && treeSize >= 0, 'The size of a tree is a count below 2^53.');
  requireNote(isHash(root), 'The root of a tree is 32 bytes.');
  return `${origin}\n${treeSize}\n${root.toString('base64')}\n`;
}

/** Reads the text of a checkpoint's note; throws `NoteError` for what is none. */
export function parseCheckpoint(text: string): CheckpointBody {
  const lines = text.split('\n');
  requireNote(lines.pop() === '', 'The checkpoint does not end in a line feed.');
  const [origin, size, encoded, ...extensions] = lines;
  requireNote(origin && size && encoded, 'The checkpoint has fewer than three lines.');
  requireNote(
    extensions.every((line) => line !== ''),
    'The checkpoint has an empty line.',
  );
  const root = readBase64(encoded, 'The root in the checkpoint');
  requireNote(isHash(root), 'The root in the checkpoint is not 32 bytes long.');
  return { origin, treeSize: parseCount(size, 'The size in the checkpoint'), root, extensions };
}

/**
 * Reads a checkpoint that the log of this origin signed with one of these keys. Witnesses that did not sign are left
 * out; one whose line is wrong spoils the note. Throws `NoteError`.
 */
export function verifyCheckpoint(
  note: string,
  expected: { origin: string; logKeys: readonly NoteKey[]; witnesses?: readonly NoteKey[] },
): VerifiedCheckpoint {
  const { logKeys, witnesses = [] } = expected;
  const { text, signatures } = verifyNote(note, [...logKeys, ...witnesses]);
  const own = signatures.filter(({ key }) => logKeys.includes(key));
  requireNote(own.length > 0, 'The log did not sign the checkpoint.');
  const body = parseCheckpoint(text);
  requireNote(body.origin === expected.origin, `The checkpoint is not of ${expected.origin}.`);
  const cosignatures = signatures.filter(({ key }) => witnesses.includes(key));
  return { ...body, text, signatures: own, cosignatures };
}

/** A count below 2^53 in decimal digits without leading zeros. */
export function parseCount(text: string, what: string): number {
  const count = Number(text);
  requireNote(
    /^(?:0|[1-9][0-9]{0,15})$/.test(text) && Number.isSafeInteger(count),
    `${what} is not a count below 2^53.`,
  );
  return count;
}

function isLine(text: string): boolean {
  return text !== '' && !text.includes('\n');
}
