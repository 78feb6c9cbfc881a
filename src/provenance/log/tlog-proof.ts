import { type Hash, isHash, verifyInclusion } from '../merkle/merkle.ts';
import { parseCount, type VerifiedCheckpoint, verifyCheckpoint } from './checkpoint.ts';
import { readBase64, requireNote } from './note-error.ts';
import type { NoteKey } from './vkey.ts';

/** A proof that needs nothing but the log's key (C2SP tlog-proof), taken apart and not yet verified. */
export type TlogProof = {
  index: number;
  /** The leaf's sibling first. */
  path: readonly Hash[];
  /** The signed note, as the log gave it. */
  checkpoint: string;
  /** Opaque and not authenticated; we write none. */
  extra?: Buffer;
};

const HEADER = 'c2sp.org/tlog-proof@v1';
const CHARACTERS_MAX = 2_000_000;
const PATH_HASHES_MAX = 64;

export function encodeTlogProof(proof: TlogProof): string {
  const { index, path, checkpoint, extra } = proof;
  requireNote(Number.isSafeInteger(index) && index >= 0, 'The index of a leaf is a count below 2^53.');
  requireNote(path.every(isHash), 'A hash of the proof is not 32 bytes long.');
  const lines = [
    HEADER,
    ...(extra && extra.length > 0 ? [`extra ${extra.toString('base64')}`] : []),
    `index ${index}`,
    ...path.map((hash) => hash.toString('base64')),
  ];
  return `${lines.join('\n')}\n\n${checkpoint}`;
}

/** Takes a proof apart without believing it; throws `NoteError` for what is none. */
export function parseTlogProof(text: string): TlogProof {
  requireNote(typeof text === 'string' && text.length <= CHARACTERS_MAX, 'The proof is not a short text.');
  const end = text.indexOf('\n\n');
  requireNote(end >= 0, 'The proof has no empty line before its checkpoint.');
  const [header, ...lines] = text.slice(0, end).split('\n', PATH_HASHES_MAX + 4);
  requireNote(header === HEADER, `The proof does not begin with ${HEADER}.`);
  const extra = lines[0]?.startsWith('extra ') ? readExtra(lines.shift() ?? '') : undefined;
  const [, count] = /^index ([0-9]+)$/.exec(lines.shift() ?? '') ?? [];
  requireNote(count !== undefined, 'The proof does not say the index of its leaf.');
  requireNote(lines.length <= PATH_HASHES_MAX, `The proof has more than ${PATH_HASHES_MAX} hashes.`);
  const path = lines.map((line) => readHash(line));
  const index = parseCount(count, 'The index in the proof');
  return { index, path, checkpoint: text.slice(end + 2), ...(extra && { extra }) };
}

/**
 * What a proof proves about a leaf: that the log of this origin holds it, by which checkpoint. Throws `NoteError`
 * with the reason when it does not.
 */
export function verifyTlogProof(
  text: string,
  expected: {
    leafHash: Hash;
    origin: string;
    logKeys: readonly NoteKey[];
    witnesses?: readonly NoteKey[];
  },
): { index: number; checkpoint: VerifiedCheckpoint } {
  const { index, path, checkpoint: note } = parseTlogProof(text);
  const checkpoint = verifyCheckpoint(note, expected);
  const { treeSize, root } = checkpoint;
  requireNote(
    verifyInclusion({ index, treeSize, leafHash: expected.leafHash, path, root }),
    `The proof does not lead from the leaf at index ${index} to the root of the checkpoint.`,
  );
  return { index, checkpoint };
}

function readExtra(line: string): Buffer {
  const bytes = readBase64(line.slice('extra '.length), 'The extra data of the proof');
  requireNote(bytes.length > 0, 'The extra data of the proof is empty.');
  return bytes;
}

function readHash(line: string): Hash {
  const hash = readBase64(line, 'A hash of the proof');
  requireNote(isHash(hash), 'A hash of the proof is not 32 bytes long.');
  return hash;
}
