import { sha256 } from '../../../core/bytes.ts';
import { canonicalJson } from '../../../core/canonical-json.ts';
import type { Uuid } from '../../../core/ids.ts';
import { invariant } from '../../../core/invariant.ts';
import type { ReceiptPayload } from '../receipt.ts';

/** What the receipts log says of one sale: of which tool, as which number on which lane, and nothing more. */
export type CommitmentEntry = {
  /** The server's name. */
  tool: string;
  lane: string;
  seq: number;
  /** SHA-256 of salt and canonical payload, 64 hex digits. */
  commit: string;
};

export const SALT_BYTES = 16;

const FIELDS = ['tool', 'lane', 'seq', 'commit'] as const;
export const HEADER = 'mcp-receipt/v1';
const ENTRY_BYTES_MAX = 1_024;
/** No field holds a line feed or a space, so an entry has one spelling. */
const GRAMMAR = {
  tool: /^[a-z0-9][a-z0-9._/-]{0,255}$/,
  lane: /^[!-~]{1,64}$/,
  seq: /^[1-9][0-9]{0,15}$/,
  commit: /^[0-9a-f]{64}$/,
} as const satisfies Record<(typeof FIELDS)[number], RegExp>;

/** The bytes of an entry of the receipts log (mcp-receipt/v1). */
export function encodeCommitment(entry: CommitmentEntry): Buffer {
  const lines = FIELDS.map((field) => {
    const value = String(entry[field]);
    invariant(isField(field, value), `the receipts log cannot spell the ${field} "${value}"`);
    return `${field} ${value}\n`;
  });
  return Buffer.from(`${HEADER}\n${lines.join('')}`, 'ascii');
}

/** The entry these bytes spell; undefined when they are not exactly what `encodeCommitment` writes. */
export function decodeCommitment(entry: Uint8Array): CommitmentEntry | undefined {
  if (entry.length > ENTRY_BYTES_MAX) return undefined;
  const [header, ...lines] = Buffer.from(entry).toString('latin1').split('\n');
  if (header !== HEADER || lines.length !== FIELDS.length + 1 || lines.at(-1) !== '') return undefined;
  const [tool, lane, seq, commit] = FIELDS.map((field, at) => readField(field, lines[at] ?? ''));
  if (tool === undefined || lane === undefined || seq === undefined || commit === undefined) return undefined;
  return { tool, lane, seq: Number(seq), commit };
}

/** Whether the log has words for it. */
export function isCommitment(entry: CommitmentEntry): boolean {
  return FIELDS.every((field) => isField(field, String(entry[field])));
}

/** The entry of a receipt under this salt. */
export function commitTo(payload: ReceiptPayload, salt: Uint8Array): CommitmentEntry {
  const { server: tool, lane, seq } = payload;
  return { tool, lane, seq, commit: sha256(salt, canonicalJson(payload)).toString('hex') };
}

/** A receipt enters the log once, and no other under its number. */
export function commitmentKeyOf(receipt: { toolId: Uuid; lane: string; seq: bigint }): string {
  return `receipt ${receipt.toolId} ${receipt.lane} ${receipt.seq}`;
}

function readField(field: (typeof FIELDS)[number], line: string): string | undefined {
  const value = line.slice(field.length + 1);
  return line === `${field} ${value}` && isField(field, value) ? value : undefined;
}

function isField(field: (typeof FIELDS)[number], value: string): boolean {
  return GRAMMAR[field].test(value) && (field !== 'seq' || Number.isSafeInteger(Number(value)));
}
