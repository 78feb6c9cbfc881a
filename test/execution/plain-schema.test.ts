import { describe, expect, it } from 'vitest';
import { createContracts } from '../../src/execution/contracts.ts';
import type { JsonObject } from '../../src/execution/json-lines.ts';
import { classifySchema, isSmall } from '../../src/execution/plain-schema.ts';

const MIB = 1024 * 1024;
const text = { type: 'string', minLength: 1, maxLength: 10_000 } as const;
const times = <T>(count: number, make: (n: number) => T) => Array.from({ length: count }, (_, n) => make(n));
const named = (count: number, each: JsonObject = text) =>
  Object.fromEntries(times(count, (n) => [`member_${n}`, each]));
const object = (further: JsonObject): JsonObject => ({ type: 'object', ...further });
const listOf = (items: JsonObject) => object({ properties: { list: { type: 'array', items } } });
const orNumber = (count: number, each: JsonObject) => [...times(count - 1, () => each), { type: 'number' }];

describe('any value is checked without a stopwatch against a schema', () => {
  it.each([
    ['of a few texts', object({ properties: { text }, required: ['text'], additionalProperties: false })],
    ['of nothing', object({})],
    ['with many members, each there once', object({ properties: named(2_000) })],
    [
      'as pydantic spells what may be null',
      object({ properties: { a: { anyOf: [text, { type: 'null' }] } } }),
    ],
    ['with lists of anything', object({ properties: { list: { type: 'array', items: true } } })],
  ])('%s', (_name, schema) => {
    expect(classifySchema(schema)).toBe('any');
  });
});

describe('a value of few parts is checked without a stopwatch against a schema', () => {
  it.each([
    ['with lists of small objects', listOf(object({ properties: named(5) }))],
    ['with names of the caller', object({ additionalProperties: { type: 'number', maximum: 5 } })],
    ['with lists in lists', listOf({ items: { items: { type: 'number' } } })],
  ])('%s', (_name, schema) => {
    expect(classifySchema(schema)).toBe('small');
  });

  it('and of many it is not', () => {
    expect(isSmall({ list: times(900, (n) => n) })).toBe(true);
    expect(isSmall({ list: times(1_100, (n) => n) })).toBe(false);
    expect(isSmall(times(40, () => times(40, (n) => ({ n }))))).toBe(false);
    expect(isSmall('x'.repeat(MIB))).toBe(true);
    expect(isSmall({ ['x'.repeat(MIB)]: 1 })).toBe(false);
  });
});

describe('a schema keeps its stopwatch', () => {
  it.each([
    ['with an expression', object({ properties: { text: { type: 'string', pattern: '^a' } } })],
    ['with an expression among alternatives', object({ properties: { a: { anyOf: [{ pattern: 'a' }] } } })],
    ['with a format', object({ properties: { mail: { type: 'string', format: 'email' } } })],
    ['with names by expression', object({ patternProperties: { '^a': text } })],
    ['that compares all with all', object({ properties: { list: { uniqueItems: true } } })],
    ['that counts names', object({ maxProperties: 5 })],
    ['that refers', object({ properties: { a: { $ref: '#/$defs/a' } }, $defs: { a: text } })],
    ['that refers for names of the caller', object({ additionalProperties: { $ref: '#' } })],
    ['that compares objects', object({ properties: { a: { const: { a: [1] } } } })],
    ['that compares with lists', object({ properties: { a: { enum: [[1], 2] } } })],
    ['with alternatives that look inside', object({ anyOf: [object({ properties: { a: text } })] })],
    ['with alternatives in alternatives', object({ anyOf: [{ anyOf: [{ type: 'object' }] }] })],
    ['with many alternatives', object({ properties: { a: { anyOf: orNumber(5, text) } } })],
    ['with many alternatives of several kinds', object({ anyOf: [{}, {}], oneOf: [{}, {}], allOf: [{}] })],
    ['with alternatives in a list', listOf({ anyOf: orNumber(2, text) })],
    [
      'with alternatives for names of the caller',
      object({ additionalProperties: { oneOf: orNumber(2, text) } }),
    ],
    ['with many members in each of a list', listOf(object({ properties: named(33) }))],
    [
      'with many needed names in each',
      object({ additionalProperties: { required: Object.keys(named(40)) } }),
    ],
    ['with what is not known', object({ properties: { a: { formatMinimum: '2026-01-01' } } })],
    ['with what is not known at its top', object({ dependentRequired: { a: ['b'] } })],
    ['of draft-07 lists', object({ properties: { list: { items: [text, text] } } })],
  ])('%s', (_name, schema) => {
    expect(classifySchema(schema)).toBe('none');
  });
});

/** What a publisher and a caller who work together have to send; all of it fits into a body. */
const manyNames = Object.fromEntries(times(120_000, (n) => [n.toString(36), 1]));
const nest = (depth: number): JsonObject =>
  depth === 0 ? text : object({ properties: named(31, nest(depth - 1)) });
it.each<[string, JsonObject, JsonObject]>([
  [
    'a text held against alternatives',
    object({ properties: { s: { anyOf: orNumber(4, { minLength: 2 * MIB }) } } }),
    { s: 'a'.repeat(MIB) },
  ],
  [
    'a text held against many',
    object({ properties: { s: { anyOf: orNumber(2_000, { minLength: 2 * MIB }) } } }),
    { s: 'a'.repeat(MIB) },
  ],
  [
    'names counted again and again',
    object({ anyOf: [...times(900, () => ({ minProperties: 9_000_000 })), { type: 'object' }] }),
    manyNames,
  ],
  [
    'names bound again and again',
    object({ allOf: times(200, () => ({ maxProperties: 9_000_000 })) }),
    manyNames,
  ],
  [
    'one long name',
    object({ additionalProperties: { anyOf: orNumber(31, { type: 'string' }) } }),
    { ['~'.repeat(MIB)]: 1 },
  ],
  [
    'a list of alternatives',
    listOf({ anyOf: orNumber(31, { type: 'string' }) }),
    { list: times(400_000, () => 1) },
  ],
  [
    'a list of factors',
    listOf({ anyOf: orNumber(31, { multipleOf: 0.7 }) }),
    { list: times(200_000, () => 1.1) },
  ],
  ['a list of objects with many members', listOf(nest(1)), { list: times(340_000, () => ({})) }],
  [
    'names of objects with many members',
    object({ additionalProperties: nest(1) }),
    Object.fromEntries(times(90_000, (n) => [n.toString(36), {}])),
  ],
  [
    'one long name that is wrong once',
    object({ additionalProperties: { type: 'string' } }),
    { ['~/'.repeat(MIB / 2)]: 1 },
  ],
  ['names of one object', object({ properties: named(1_000) }), manyNames],
])('nobody holds the gateway up with %s', (_name, schema, value) => {
  const contracts = createContracts();
  contracts.validate(schema, {}, 'arguments');
  const startedAt = process.cpuUsage();
  contracts.validate(schema, value, 'arguments');
  const { user, system } = process.cpuUsage(startedAt);
  expect((user + system) / 1_000).toBeLessThan(300);
});

it('a schema whose check is too deep for the stack is unusable, and nobody who calls its tool meets a bug of ours', () => {
  const contracts = createContracts();
  for (const count of [1_200, 1_600, 1_900]) {
    const schema = object({
      properties: Object.fromEntries(times(count, (n) => [n.toString(36), false] as const)),
    });
    const why = contracts.refuse(schema);
    const { kind } = contracts.validate(schema, {}, 'arguments');
    expect([count, kind]).toEqual([count, why === undefined ? 'valid' : 'invalid']);
  }
});
