import { z } from 'zod';
import { isUuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import type { CallPosition } from '../ledger/index.ts';

const CHARS_MAX = 200;
/** A timestamp as PostgreSQL spells it, with the microseconds that a page may end between. */
const TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?[+-]\d\d(?::?\d\d)?$/;
const positionSchema = z.tuple([z.string().regex(TIME), z.string().refine(isUuid)]);

/** An opaque mark that goes on where a page of calls ended. */
export function encodeCallCursor(position: CallPosition): string {
  return Buffer.from(JSON.stringify([position.createdAt, position.id])).toString('base64url');
}

/** The place a cursor marks; a forged one is the caller's mistake. */
export function decodeCallCursor(cursor: string): CallPosition {
  const parsed = positionSchema.safeParse(parse(cursor));
  if (!parsed.success || !isTime(parsed.data[0])) {
    throw new Problem('malformed-request', { detail: 'cursor: send next_cursor as it was answered.' });
  }
  const [createdAt, id] = parsed.data;
  return { createdAt, id };
}

/** Whether the digits are a day and an hour that exist: the database would break on others. */
function isTime(text: string): boolean {
  return !Number.isNaN(Date.parse(text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00')));
}

function parse(cursor: string): unknown {
  if (cursor.length > CHARS_MAX) return undefined;
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    // Not ours: the schema refuses what is not there.
    return undefined;
  }
}
