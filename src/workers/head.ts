/** What the bytes read so far tell of where a connection belongs. */
export type HeadSight =
  | { kind: 'key'; key: string }
  /** The whole head is there, or more than a head may have: nothing more is to be waited for. */
  | { kind: 'session'; key: string }
  | { kind: 'stranger' }
  | { kind: 'unfinished' };

/** As much as Node's own parser takes for a head. */
export const HEAD_BYTES_MAX = 16 * 1024;

const END = '\r\n\r\n';
/** A line only counts once its end is there. The grammar of keys is theirs to judge: here it only tells callers apart. */
const KEY = /\r\n(?:authorization:[ \t]*bearer[ \t]+|x-api-key:[ \t]*)(mcp_[^\s]{1,128})[ \t]*\r\n/i;
const SESSION = /\r\nmcp-session-id:[ \t]*([^\s]{1,4096})[ \t]*\r\n/i;

/**
 * Finds the key that a request shows (`Authorization: Bearer mcp_...` or `X-Api-Key`), or else its MCP session. The
 * names of headers have no case (RFC 9110, section 5.1).
 */
export function readHead(bytes: Buffer): HeadSight {
  // Latin-1 keeps one character for each byte, whatever a stranger sends.
  const text = bytes.toString('latin1', 0, HEAD_BYTES_MAX);
  const end = text.indexOf(END);
  const head = end < 0 ? text : text.slice(0, end + 2);
  const key = KEY.exec(head)?.[1];
  if (key !== undefined) return { kind: 'key', key };
  if (end < 0 && bytes.length < HEAD_BYTES_MAX) return { kind: 'unfinished' };
  const session = SESSION.exec(head)?.[1];
  return session === undefined ? { kind: 'stranger' } : { kind: 'session', key: session };
}
