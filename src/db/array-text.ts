/**
 * A Postgres array as text, of values that need no quotes or have been through `quote`; what is null is NULL. The driver
 * would look at each of them anew to find out what it is.
 */
export function toArray<Row>(
  rows: readonly Row[],
  spell: (row: Row) => string | bigint | number | null | undefined,
): string {
  return `{${rows.map((row) => spell(row) ?? 'NULL').join(',')}}`;
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
