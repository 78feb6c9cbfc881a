import { Problem } from '../core/problem.ts';

/** One part of a form (RFC 7578). */
export type Part = { name: string; content: Buffer };

const HEADER_BYTES_MAX = 8 * 1024;
const BOUNDARY = /;\s*boundary=(?:"([^"\\\r\n]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)/i;
const DISPOSITION = /^form-data\s*(?:;|$)/i;
const NAME = /;\s*name=(?:"([^"\\\r\n]*)"|([^\s;"]+))/i;
const LINE_BREAK = '\r\n';

/**
 * The parts of a `multipart/form-data` body, which is bounded already. A form with anything that readers disagree on,
 * such as text around its parts or a part without a name, is refused as a whole.
 */
export function readParts(body: Buffer, contentType: string, partsMax: number): Part[] {
  const boundary = BOUNDARY.exec(contentType)?.slice(1).find(Boolean);
  if (boundary === undefined) throw refuse('its content type names no boundary');
  const delimiter = Buffer.from(`--${boundary}`);
  if (!startsWith(body, 0, delimiter)) throw refuse('it does not begin with its boundary');
  const parts: Part[] = [];
  let at = delimiter.length;
  while (!startsWith(body, at, '--')) {
    if (!startsWith(body, at, LINE_BREAK)) throw refuse('a boundary is not followed by a line break');
    if (parts.length === partsMax) throw refuse(`it has more than ${partsMax} parts`);
    const end = body.indexOf(Buffer.concat([Buffer.from(LINE_BREAK), delimiter]), at);
    if (end < 0) throw refuse('it breaks off before its last boundary');
    parts.push(readPart(body.subarray(at + LINE_BREAK.length, end)));
    at = end + LINE_BREAK.length + delimiter.length;
  }
  const rest = body.toString('latin1', at + 2);
  if (rest !== '' && rest !== LINE_BREAK) throw refuse('it has something after its last boundary');
  return parts;
}

function readPart(part: Buffer): Part {
  const end = part.indexOf(LINE_BREAK + LINE_BREAK);
  if (end < 0 || end > HEADER_BYTES_MAX)
    throw refuse('a part has no end of its headers, or too many of them');
  const headers = part.toString('utf8', 0, end).split(LINE_BREAK);
  const disposition = headerOf(headers, 'content-disposition');
  const name = NAME.exec(disposition)
    ?.slice(1)
    .find((text) => text !== undefined);
  if (!DISPOSITION.test(disposition) || !name) throw refuse('a part has no name');
  // Deprecated by RFC 7578, section 4.7; whoever sends it means other bytes than these.
  if (
    !['', 'binary', '8bit', '7bit'].includes(headerOf(headers, 'content-transfer-encoding').toLowerCase())
  ) {
    throw refuse(
      `the part ${JSON.stringify(name.slice(0, 100))} has a transfer encoding; send its bytes as they are`,
    );
  }
  return { name, content: part.subarray(end + 2 * LINE_BREAK.length) };
}

function headerOf(headers: readonly string[], name: string): string {
  const values = headers.flatMap((line) => {
    const colon = line.indexOf(':');
    return line.slice(0, colon).trim().toLowerCase() === name ? [line.slice(colon + 1).trim()] : [];
  });
  if (values.length > 1) throw refuse(`a part has the header "${name}" twice`);
  return values[0] ?? '';
}

function startsWith(body: Buffer, at: number, text: string | Buffer): boolean {
  const wanted = Buffer.from(text);
  return body.subarray(at, at + wanted.length).equals(wanted);
}

function refuse(reason: string): Problem {
  return new Problem('malformed-request', {
    detail: `The form cannot be read: ${reason}.`,
    isUncharged: true,
  });
}
