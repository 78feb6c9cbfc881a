import { NoteError } from '../log/note-error.ts';
import { RefutedError } from './refuted.ts';

/** Why something does not verify, as the end of a sentence. */
export type Invalid = { kind: 'invalid'; reason: string };

/** What was thrown while something was verified, as its reason: no verifier ends in a stack trace. */
export function tellReason(cause: unknown): string {
  if (cause instanceof RefutedError) return cause.message;
  if (cause instanceof NoteError) return cause.message.replace(/\.$/, '');
  // A library met something that our checks let through to it: what cannot be read is not proven.
  return 'it could not be read to its end';
}
