import type { OutgoingMessage, ServerResponse } from 'node:http';

/** A response head as Node spelled it once, cut where the values of some headers stand. */
export type HeadForm = {
  /** The names of what is filled in, in their order. */
  names: readonly string[];
  /** One more than there are names. */
  parts: readonly string[];
};

const NEWLINE = '\r\n';
/** What most answers have of their own in their heads. */
export const REQUEST_ID = 'x-request-id';
export const LENGTH = 'content-length';

/**
 * Cuts the head that `writeHead` has just made, to be filled in for others: spelling and checking kilobytes of
 * headers anew costs as much as all the rest of an answer. Undefined where this Node keeps it elsewhere.
 */
export function cutHead(outgoing: ServerResponse, names: ReadonlySet<string>): HeadForm | undefined {
  const { _header: head } = outgoing as unknown as Kept;
  if (typeof head !== 'string') return undefined;
  const found: string[] = [];
  const parts: string[] = [];
  let part = '';
  for (const line of head.split(NEWLINE)) {
    const name = line.slice(0, Math.max(line.indexOf(':'), 0));
    if (!names.has(name)) {
      part += line + NEWLINE;
      continue;
    }
    found.push(name);
    parts.push(`${part}${name}: `);
    part = NEWLINE;
  }
  // The split left one more end of a line than there was.
  parts.push(part.slice(0, -NEWLINE.length));
  return found.length === names.size ? { names: found, parts } : undefined;
}

/** A whole answer. The values stand in the order of the form's names, and must be fit for a header: nobody looks at them. */
export function fillForm({ parts }: HeadForm, values: readonly string[], body: string): string {
  let text = parts[0] ?? '';
  for (let at = 0; at < values.length; at += 1) text += (values[at] ?? '') + (parts[at + 1] ?? '');
  return text + body;
}

/** As the body of a written answer has to be. */
export function isAscii(text: string): boolean {
  return Buffer.byteLength(text) === text.length;
}

/** Where Node keeps the text of a head until it is sent: no part of its types, and the same in all its versions. */
type Kept = OutgoingMessage & { _header?: string | null };
