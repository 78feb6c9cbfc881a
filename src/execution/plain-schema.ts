import { isObject, type JsonObject } from './json-lines.ts';

/** Values that are checked without a stopwatch. */
export type Plainness =
  /** Whatever is sent. */
  | 'any'
  /** Those of few parts and short names: as many of them as the caller likes may be checked against the same piece of the schema. */
  | 'small'
  | 'none';

/** How many checks one value in a list, or under a name of the caller's choice, may cost. */
const REPEATED_CHECKS_MAX = 32;
/** Alternatives that a value is held against one after the other. */
const ALTERNATIVES_MAX = 4;
/** Lists, objects and what is in them; a name counts as one for so many characters. */
const SMALL_PARTS = 1_000;
const NAME_PART = 64;

/** Say nothing about a value. */
const NOTES = ['title', 'description', 'default', 'examples', 'deprecated', 'readOnly', 'writeOnly'];
/** One comparison each, or one look along a text. */
const BOUNDS = [
  ...['type', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  ...['minLength', 'maxLength', 'minItems', 'maxItems'],
];
const ALTERNATIVES = ['anyOf', 'oneOf', 'allOf'];

/**
 * For which values checking takes no longer than reading them did, so that nobody has to hold a stopwatch, which
 * costs more than all of such a check. Such a schema has nothing that matches by expressions (`pattern`, `format`),
 * looks at a value again and again (`uniqueItems`, `$ref`, many alternatives), or applies several schemas to what is
 * inside a value. Whatever is not known here is not plain.
 */
export function classifySchema(schema: JsonObject): Plainness {
  const place = { isRepeated: false, repeats: false };
  if (!isPlain(schema, place)) return 'none';
  return place.repeats ? 'small' : 'any';
}

/** Whether a value has few parts and short names. A name of the caller's is spelled anew for what is wrong under it. */
export function isSmall(value: unknown): boolean {
  return countParts(value, SMALL_PARTS) >= 0;
}

function countParts(value: unknown, left: number): number {
  let rest = left - 1;
  if (typeof value !== 'object' || value === null) return rest;
  if (Array.isArray(value) && value.length > rest) return -1;
  for (const name in value) {
    if (rest < 0) break;
    rest = countParts(value[name as keyof typeof value], rest - Math.floor(name.length / NAME_PART));
  }
  return rest;
}

/** `repeats` is set once a piece is met that many values may be checked against. */
type Place = { isRepeated: boolean; repeats: boolean };

function isPlain(schema: unknown, place: Place): boolean {
  if (typeof schema === 'boolean') return true;
  if (!isObject(schema) || countAlternatives(schema) > (place.isRepeated ? 0 : ALTERNATIVES_MAX))
    return false;
  if (place.isRepeated && countChecks(schema) > REPEATED_CHECKS_MAX) return false;
  return Object.entries(schema).every(([name, value]) => {
    switch (name) {
      case 'properties':
        return isObject(value) && Object.values(value).every((each) => isPlain(each, place));
      case 'items':
      case 'additionalProperties':
        return isPlainRepeated(value, place);
      default:
        return isPlainKeyword(name, value);
    }
  });
}

function isPlainRepeated(schema: unknown, place: Place): boolean {
  // What allows everything, or nothing, is checked against once.
  if (typeof schema === 'boolean') return true;
  place.repeats = true;
  return isPlain(schema, { isRepeated: true, repeats: true });
}

function isPlainKeyword(name: string, value: unknown): boolean {
  if (NOTES.includes(name) || BOUNDS.includes(name)) return true;
  if (name === 'required') return true;
  if (name === 'const') return !isNested(value);
  if (name === 'enum') return Array.isArray(value) && !value.some(isNested);
  return ALTERNATIVES.includes(name) && Array.isArray(value) && value.every(isFlat);
}

/** A schema that looks at a value and at nothing inside it. */
function isFlat(schema: unknown): boolean {
  if (!isObject(schema)) return false;
  return Object.entries(schema).every(
    ([name, value]) => !ALTERNATIVES.includes(name) && name !== 'required' && isPlainKeyword(name, value),
  );
}

function countAlternatives(schema: JsonObject): number {
  return ALTERNATIVES.reduce((sum, name) => sum + lengthOf(schema[name]), 0);
}

/** What is compared, in all, when one value is checked; of what is inside it only whether it is there. */
function countChecks(schema: JsonObject): number {
  return Object.entries(schema).reduce((sum, [name, value]) => {
    if (NOTES.includes(name)) return sum;
    return sum + (name === 'properties' && isObject(value) ? Object.keys(value).length : lengthOf(value));
  }, 0);
}

const lengthOf = (value: unknown) => (value === undefined ? 0 : Array.isArray(value) ? value.length : 1);

function isNested(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}
