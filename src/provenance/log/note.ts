import { sign, verify } from 'node:crypto';
import { readBase64, requireNote } from './note-error.ts';
import { isKeyName, KEY_TYPES, type NoteKey, type NoteSigner } from './vkey.ts';

/** One signature line of a note, not yet verified. */
export type NoteSignature = {
  name: string;
  /** 8 hex digits. */
  keyId: string;
  /** What follows the key id. */
  signature: Buffer;
  /** As it stands in the note, with its line feed. */
  line: string;
};

/** A note taken apart (C2SP signed-note). The text means nothing until a known key's signature is verified. */
export type Note = {
  /** With its last line feed. */
  text: string;
  signatures: NoteSignature[];
};

/** Who signed a note; `time` is what a cosignature says, in Unix seconds. */
export type VerifiedSignature = { key: NoteKey; line: string; time?: number };

export type VerifiedNote = { text: string; signatures: VerifiedSignature[] };

const NOTE_CHARACTERS_MAX = 1_000_000;
/** The specification asks for 16 at least; Go's reader takes 100. */
const SIGNATURES_MAX = 100;
const SIGNERS_NAMED_MAX = 3;
const KEY_ID_BYTES = 4;
const TIME_BYTES = 8;
const DASH = '\u2014 ';
/** ASCII control characters other than the line feed, and halves of surrogate pairs, which UTF-8 cannot spell. */
const NOT_IN_A_NOTE = /[^\P{Cc}\n\u007f-\u009f]|\p{Cs}/u;

/** The note over this text with a line of each signer, in their order. */
export function signNote(text: string, signers: readonly NoteSigner[], time?: number): string {
  return `${text}\n${signers.map((signer) => signLine(text, signer, time)).join('')}`;
}

/** A signature line for this text; `time` (Unix seconds) is needed for a cosignature and for nothing else. */
export function signLine(text: string, signer: NoteSigner, time?: number): string {
  requireNote(text.endsWith('\n') && !NOT_IN_A_NOTE.test(text), 'This text makes no note.');
  const id = Buffer.from(signer.keyId, 'hex');
  if (signer.type === KEY_TYPES.ed25519) {
    return toLine(signer.name, id, sign(null, Buffer.from(text), signer.privateKey));
  }
  requireNote(Number.isSafeInteger(time) && time !== undefined && time >= 0, 'A cosignature needs its time.');
  const stamp = Buffer.alloc(TIME_BYTES);
  stamp.writeBigUInt64BE(BigInt(time));
  return toLine(signer.name, id, stamp, sign(null, cosigned(BigInt(time), text), signer.privateKey));
}

/** Takes a note apart without believing it; throws `NoteError` for what is none. */
export function parseNote(note: string): Note {
  requireNote(typeof note === 'string', 'The note is not a text.');
  requireNote(
    note.length <= NOTE_CHARACTERS_MAX,
    `The note is longer than ${NOTE_CHARACTERS_MAX} characters.`,
  );
  requireNote(!NOT_IN_A_NOTE.test(note), 'The note is not UTF-8 without control characters.');
  const end = note.lastIndexOf('\n\n');
  requireNote(end >= 0, 'The note has no empty line between its text and its signatures.');
  const text = note.slice(0, end + 1);
  const rest = note.slice(end + 2);
  requireNote(rest.endsWith('\n'), 'The note has no signature, or does not end in a line feed.');
  const lines = rest.slice(0, -1).split('\n', SIGNATURES_MAX + 1);
  requireNote(lines.length <= SIGNATURES_MAX, `The note has more than ${SIGNATURES_MAX} signatures.`);
  return { text, signatures: lines.map((line) => parseSignatureLine(`${line}\n`)) };
}

/** Reads `— <name> <base64>\n`; throws `NoteError` for what is not exactly that. */
export function parseSignatureLine(line: string): NoteSignature {
  const [, name, encoded] = /^\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})\n$/u.exec(line) ?? [];
  requireNote(name && encoded && isKeyName(name), 'A signature line is not "— <name> <base64>".');
  const bytes = readBase64(encoded, 'A signature');
  requireNote(bytes.length > KEY_ID_BYTES, 'A signature is shorter than its key id.');
  const keyId = bytes.toString('hex', 0, KEY_ID_BYTES);
  return { name, keyId, signature: bytes.subarray(KEY_ID_BYTES), line };
}

/**
 * The text of a note, once a known key's signature of it holds. Signatures of unknown keys are ignored, also those
 * that share a name or an id with a known one; of a key that signs twice the first line counts. Throws `NoteError`
 * when a known key's signature is wrong, or when no known key signed.
 */
export function verifyNote(note: string, keys: readonly NoteKey[]): VerifiedNote {
  const { text, signatures } = parseNote(note);
  const verified = new Map<NoteKey, VerifiedSignature>();
  for (const signature of signatures) {
    const key = keys.find(({ name, keyId }) => name === signature.name && keyId === signature.keyId);
    if (key && !verified.has(key)) verified.set(key, verifyNoteSignature(text, signature, key));
  }
  requireNote(verified.size > 0, `No known key signed the note, only ${nameSigners(signatures)}.`);
  return { text, signatures: [...verified.values()] };
}

/** Who signed, as a person can compare it with keys at hand. */
export function nameSigners(signatures: readonly NoteSignature[]): string {
  const names = signatures.slice(0, SIGNERS_NAMED_MAX).map(({ name, keyId }) => `${name} (${keyId})`);
  return names.join(', ') + (signatures.length > names.length ? ', ...' : '');
}

/** Holds one signature against its key; throws `NoteError` when it is wrong. */
export function verifyNoteSignature(text: string, signature: NoteSignature, key: NoteKey): VerifiedSignature {
  const wrong = `The signature of ${key.name} (${key.keyId}) is wrong.`;
  const bytes = signature.signature;
  if (key.type === KEY_TYPES.ed25519) {
    requireNote(verify(null, Buffer.from(text), key.publicKey, bytes), wrong);
    return { key, line: signature.line };
  }
  requireNote(bytes.length > TIME_BYTES, wrong);
  const time = bytes.readBigUInt64BE();
  // The specification ends at 2^63; no clock is beyond 2^53, and past it a number would not be the one signed.
  requireNote(time <= BigInt(Number.MAX_SAFE_INTEGER), wrong);
  requireNote(verify(null, cosigned(time, text), key.publicKey, bytes.subarray(TIME_BYTES)), wrong);
  return { key, line: signature.line, time: Number(time) };
}

/** What a cosigner signs (C2SP tlog-cosignature, "Ed25519 signed message"). */
function cosigned(time: bigint, text: string): Buffer {
  return Buffer.from(`cosignature/v1\ntime ${time}\n${text}`);
}

function toLine(name: string, ...parts: Buffer[]): string {
  return `${DASH}${name} ${Buffer.concat(parts).toString('base64')}\n`;
}
