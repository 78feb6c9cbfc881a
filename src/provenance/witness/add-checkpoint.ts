import { parseCount } from '../log/checkpoint.ts';
import { readBase64, requireNote } from '../log/note-error.ts';
import { type Hash, isHash } from '../merkle/merkle.ts';

/** What a log sends to a witness (C2SP tlog-witness, add-checkpoint). */
export type AddCheckpoint = {
  /** The tree size that the witness cosigned last. */
  oldSize: number;
  /** The consistency proof from that size; empty from size 0. */
  proof: readonly Hash[];
  /** The signed note. */
  checkpoint: string;
};

export const ADD_CHECKPOINT = '/add-checkpoint';

/** How a witness marks that its body is the size it has. */
export const SIZE_TYPE = 'text/x.tlog.size';

/**
 * Sixteen signatures of the length that post-quantum keys make must be let in (C2SP signed-note, "Format"), and 63
 * lines of proof before them.
 */
export const ADD_CHECKPOINT_BYTES_MAX = 128 * 1024;

const PROOF_HASHES_MAX = 63;

export function encodeAddCheckpoint({ oldSize, proof, checkpoint }: AddCheckpoint): string {
  const lines = [`old ${oldSize}`, ...proof.map((hash) => hash.toString('base64'))];
  return `${lines.join('\n')}\n\n${checkpoint}`;
}

/** Throws `NoteError` when these bytes are not what the protocol says; the checkpoint in them is not looked at. */
export function decodeAddCheckpoint(body: Uint8Array): AddCheckpoint {
  requireNote(
    body.length <= ADD_CHECKPOINT_BYTES_MAX,
    `A body has ${ADD_CHECKPOINT_BYTES_MAX} bytes at most.`,
  );
  const text = decodeUtf8(body);
  requireNote(text !== undefined, 'The body is not UTF-8.');
  const end = text.indexOf('\n\n');
  requireNote(end >= 0, 'There is no empty line before the checkpoint.');
  const [first = '', ...lines] = text.slice(0, end).split('\n');
  requireNote(first.startsWith('old '), 'The first line is not "old <size>".');
  const oldSize = parseCount(first.slice('old '.length), 'The old size');
  requireNote(lines.length <= PROOF_HASHES_MAX, `A proof has ${PROOF_HASHES_MAX} hashes at most.`);
  return { oldSize, proof: lines.map(readHash), checkpoint: text.slice(end + 2) };
}

function readHash(line: string): Hash {
  const hash = readBase64(line, 'A hash of the proof');
  requireNote(isHash(hash), 'A hash of the proof is not 32 bytes long.');
  return hash;
}

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
