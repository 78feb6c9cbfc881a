import { z } from 'zod';
import { isUuid, type Uuid } from '../../core/ids.ts';
import { Problem } from '../../core/problem.ts';

/** How a list is ordered: newest first, by name, cheapest first, or best match first. */
export type Sort = 'new' | 'name' | 'price' | 'relevance';

/** Where a page ended: the sort key and the id of its last row. */
export type Position = { key: string; id: Uuid };

/** What the key of a sort looks like, so that nothing else reaches the database as one. */
const KEYS = {
  // ISO 8601 has a year 0, and Postgres has none.
  new: z.iso.datetime({ precision: 3 }).refine((time) => !time.startsWith('0000')),
  name: z.string().regex(/^[\x21-\x7e]{1,200}$/),
  price: z.string().regex(/^\d{1,15}$/),
  relevance: z.string().regex(/^\d{1,9}$/),
} as const satisfies Record<Sort, z.ZodType<string>>;

const CURSOR_CHARACTERS_MAX = 512;
const cursorSchema = z.tuple([z.string(), z.string(), z.string().refine(isUuid)]);

/** An opaque mark that goes on where a page ended, whatever was listed or paused meanwhile. */
export function encodeCursor(sort: Sort, { key, id }: Position): string {
  return Buffer.from(JSON.stringify([sort, key, id])).toString('base64url');
}

export function decodeCursor(sort: Sort, cursor: string): Position {
  const parsed = cursorSchema.safeParse(parse(cursor));
  if (!parsed.success) throw refuse();
  const [marked, text, id] = parsed.data;
  const key = KEYS[sort].safeParse(text);
  if (marked !== sort || !key.success) throw refuse();
  return { key: key.data, id };
}

function parse(cursor: string): unknown {
  if (cursor.length > CURSOR_CHARACTERS_MAX) return undefined;
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    return undefined;
  }
}

function refuse(): Problem {
  return new Problem('malformed-request', {
    detail: 'cursor: send the next_cursor of an earlier page with the same q and sort, or leave it out.',
  });
}
