/**
 * A Postgres array as text, of values that need no quotes or have been through `quote`; what is null is NULL. The driver
 * would look at each of them anew to find out what it is.
 */
export function toArray<Row>(
  rows: readonly Row[],
  spell: (row: Row) => string | bigint | number | null | undefined,
): string {
  if (rows.length === 0) return '{}';
  const values = rows.map((row) => spell(row) ?? 'NULL');
  // The braces first: put around the joined text they would have it copied once more, when the driver looks at it.
  values[0] = `{${values[0]}`;
  values[values.length - 1] += '}';
  return values.join(',');
}

const PLAIN = /^[^"\\]*$/;

/** A text as one value of an array. */
export function quote(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** A `bytea` as one value of an array. */
export function quoteBytes(bytes: Buffer): string {
  return `"\\\\x${bytes.toString('hex')}"`;
}

/** How many of the latest are compared: what is sent twice costs less than a longer search. */
const COMPARED = 8;

/**
 * The number, counted from 1, of what many rows of an array have in common and is sent once for all of them; one that is
 * like none of the latest in `found` is added to it.
 */
export function numberIn<Row>(found: Row[], row: Row, isAlike: (a: Row, b: Row) => boolean): number {
  for (let at = found.length; at > Math.max(0, found.length - COMPARED); at--) {
    const other = found[at - 1];
    if (other !== undefined && isAlike(other, row)) return at;
  }
  return found.push(row);
}
