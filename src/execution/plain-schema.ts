import { isObject, type JsonObject } from './json-lines.ts';

/** How many checks one value in a list, or under a name of the caller's choice, may cost. */
const REPEATED_CHECKS_MAX = 32;

/** Say nothing about a value. */
const NOTES = ['title', 'description', 'default', 'examples', 'deprecated', 'readOnly', 'writeOnly'];
/** One comparison each, or one look along a text or a list. */
const BOUNDS = [
  ...['type', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  ...['minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties'],
];
const ALTERNATIVES = ['anyOf', 'oneOf', 'allOf'];

/**
 * Whether checking any value against a schema takes no longer than reading the value did, so that nobody has to
 * hold a stopwatch, which costs more than all of such a check. Then it has nothing that matches by expressions
 * (`pattern`, `format`), looks at a value again and again (`uniqueItems`, `$ref`), or applies several schemas to
 * what is inside a value; and what is applied to each of many values is small. Whatever is not known here is not
 * plain.
 */
export function isPlainSchema(schema: JsonObject): boolean {
  return isPlain(schema, { isRepeated: false });
}

type Place = {
  /** As many values may be checked against it as the caller likes to send. */
  isRepeated: boolean;
};

function isPlain(schema: unknown, place: Place): boolean {
  if (typeof schema === 'boolean') return true;
  if (!isObject(schema) || (place.isRepeated && countChecks(schema) > REPEATED_CHECKS_MAX)) return false;
  return Object.entries(schema).every(([name, value]) => {
    switch (name) {
      case 'properties':
        return isObject(value) && Object.values(value).every((each) => isPlain(each, place));
      case 'items':
      case 'additionalProperties':
        return isPlain(value, { isRepeated: true });
      default:
        return isPlainKeyword(name, value);
    }
  });
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
    ([name, value]) => !ALTERNATIVES.includes(name) && isPlainKeyword(name, value),
  );
}

/** What is compared, in all, when one value is checked; of what is inside it only whether it is there. */
function countChecks(schema: JsonObject): number {
  return Object.entries(schema).reduce((sum, [name, value]) => sum + countOf(name, value), 0);
}

function countOf(name: string, value: unknown): number {
  if (NOTES.includes(name)) return 0;
  if (name === 'properties' && isObject(value)) return Object.keys(value).length;
  if (!Array.isArray(value)) return 1;
  if (!ALTERNATIVES.includes(name)) return value.length;
  return value.filter(isObject).reduce((sum, each) => sum + countChecks(each), 0);
}

function isNested(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}
