import { isWithinDepth, type Json } from '../core/canonical-json.ts';

export type JsonObject = { [key: string]: Json };

export type LineReading =
  | { kind: 'object'; value: JsonObject }
  | { kind: 'blank' }
  | { kind: 'broken'; why: string };

export type LineSplitter = {
  push(chunk: Buffer): void;
  /** What has come since the last line ended: how much, and what. */
  pending(): { bytes: number; first: Buffer | undefined };
};

/** Cuts a byte stream into lines, at bytes and not at characters, so that no UTF-8 sequence is torn. */
export function createLineSplitter(onLine: (line: Buffer) => void): LineSplitter {
  // One Buffer that doubles: a stranger may write byte by byte, and a Buffer for each would cost a hundred times that.
  let held: Buffer = NOTHING;
  let bytes = 0;
  const hold = (piece: Buffer) => {
    if (bytes + piece.length > held.length) {
      const larger = Buffer.allocUnsafe(2 * (bytes + piece.length));
      held.copy(larger, 0, 0, bytes);
      held = larger;
    }
    piece.copy(held, bytes);
    bytes += piece.length;
  };
  /** The line that ends with this piece. */
  const finish = (piece: Buffer): Buffer => {
    if (bytes === 0) return piece;
    hold(piece);
    const line = held.subarray(0, bytes);
    held = NOTHING;
    bytes = 0;
    return line;
  };
  return {
    push(chunk) {
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        const line = finish(chunk.subarray(start, end));
        start = end + 1;
        onLine(line);
      }
      if (start < chunk.length) hold(chunk.subarray(start));
    },
    pending: () => ({ bytes, first: bytes === 0 ? undefined : held.subarray(0, bytes) }),
  };
}

/** One line as the JSON object that every MCP message is; hostile shapes are named, never passed on. */
export function readJsonLine(line: Buffer): LineReading {
  return readJson(line, 'a line to stdout that is not JSON (logs belong on stderr)');
}

/** The same of a message that came otherwise; `notJson` says in the refusal what it is when it is no JSON. */
export function readJson(line: Buffer, notJson: string): LineReading {
  const text = decode(line);
  if (text === undefined) return broken('wrote bytes that are not UTF-8', line);
  if (text.trim() === '') return { kind: 'blank' };
  const value = parse(text);
  if (value === undefined) return broken(`wrote ${notJson}`, line);
  if (!isWithinDepth(value)) return broken('wrote JSON that nests too deep', undefined);
  if (hasPrototypeKey(value)) return broken('wrote JSON with a key named __proto__', undefined);
  if (!isObject(value)) return broken('wrote a line that is not one JSON-RPC message', line);
  return { kind: 'object', value };
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);
const QUOTED_BYTES_MAX = 80;
const utf8 = new TextDecoder('utf-8', { fatal: true });

function decode(line: Buffer): string | undefined {
  try {
    return utf8.decode(line);
  } catch {
    return undefined;
  }
}

function parse(text: string): Json | undefined {
  try {
    // JSON.parse makes nothing but JSON.
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

/** JSON.parse makes `__proto__` an own key, and the next `Object.assign` makes it the prototype. */
function hasPrototypeKey(value: Json): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Object.hasOwn(value, '__proto__')) return true;
  return Object.values(value).some(hasPrototypeKey);
}

function broken(why: string, line: Buffer | undefined): LineReading {
  if (line === undefined) return { kind: 'broken', why };
  const start = line.subarray(0, QUOTED_BYTES_MAX).toString();
  return {
    kind: 'broken',
    why: `${why}: ${JSON.stringify(start)}${line.length > QUOTED_BYTES_MAX ? '…' : ''}`,
  };
}
