/** JSON as programs exchange it. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Deeper than this a document is hostile: the walk below is recursive. */
export const JSON_DEPTH_MAX = 64;

/**
 * The one spelling of a JSON value that two parties hash alike: RFC 8785 (members sorted by UTF-16 code
 * unit, no white space, ECMAScript numbers). Throws a RangeError when the value nests too deep.
 */
export function canonicalJson(value: unknown, depth = 0): string {
  if (depth > JSON_DEPTH_MAX) throw new RangeError(`JSON nests deeper than ${JSON_DEPTH_MAX} levels`);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item, depth + 1)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null);
  const members: string[] = [];
  // Without a comparator keys sort by UTF-16 code unit.
  for (const key of Object.keys(value).sort()) {
    const member: unknown = value[key as keyof typeof value];
    if (member !== undefined) members.push(`${JSON.stringify(key)}:${canonicalJson(member, depth + 1)}`);
  }
  return `{${members.join(',')}}`;
}

/** Whether a parsed value stays within the depth that everything after it can walk. */
export function isWithinDepth(value: unknown, depthMax: number = JSON_DEPTH_MAX): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (depthMax === 0) return false;
  // Every message of every server comes by here: no list of members is made of it.
  for (const key in value) {
    if (!isWithinDepth(value[key as keyof typeof value], depthMax - 1)) return false;
  }
  return true;
}

/** What JSON writes as it is: nothing to escape, and one byte a character. */
const PLAIN_TEXT = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;
const spelled = new WeakMap<object, string>();

/** JSON as `JSON.stringify` makes it, for answers made again and again: a frozen array or object is spelled once. */
export function spellJson(value: unknown): string {
  if (typeof value === 'string') return PLAIN_TEXT.test(value) ? `"${value}"` : JSON.stringify(value);
  if (typeof value !== 'object' || value === null || !Object.isFrozen(value)) return JSON.stringify(value);
  const known = spelled.get(value);
  if (known !== undefined) return known;
  const text = JSON.stringify(value);
  spelled.set(value, text);
  return text;
}
