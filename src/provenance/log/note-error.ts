/** Why a text is no note, checkpoint, key or proof; its message is one sentence for whoever sent it. */
export class NoteError extends Error {
  override name = 'NoteError';
}

/** Stops with a sentence when what a text must say does not hold. */
export function requireNote(condition: unknown, message: string): asserts condition {
  if (!condition) throw new NoteError(message);
}

/** What standard base64 spells in one way only (RFC 4648, section 4: padded, spare bits zero). */
export function readBase64(text: string, what: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  requireNote(bytes.toString('base64') === text, `${what} is not standard base64.`);
  return bytes;
}
