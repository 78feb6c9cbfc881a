import { describe, expect, it } from 'vitest';
import { createContracts } from '../../src/execution/contracts.ts';
import type { JsonObject } from '../../src/execution/json-lines.ts';
import { isPlainSchema } from '../../src/execution/plain-schema.ts';

const text = { type: 'string', minLength: 1, maxLength: 10_000 } as const;
const named = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`member_${n}`, text]));
const object = (further: JsonObject): JsonObject => ({ type: 'object', ...further });

describe('a schema is checked without a stopwatch', () => {
  it.each([
    ['of a few texts', object({ properties: { text }, required: ['text'], additionalProperties: false })],
    ['of nothing', object({})],
    ['with many members, each there once', object({ properties: named(2_000) })],
    [
      'with lists of small objects',
      object({ properties: { list: { items: object({ properties: named(5) }) } } }),
    ],
    [
      'as pydantic spells what may be null',
      object({ properties: { a: { anyOf: [text, { type: 'null' }] } } }),
    ],
    ['with names of the caller', object({ additionalProperties: { type: 'number', maximum: 5 } })],
  ])('%s', (_name, schema) => {
    expect(isPlainSchema(schema)).toBe(true);
  });
});

describe('a schema keeps its stopwatch', () => {
  it.each([
    ['with an expression', object({ properties: { text: { type: 'string', pattern: '^a' } } })],
    [
      'with an expression in a list of alternatives',
      object({ properties: { a: { anyOf: [{ pattern: 'a' }] } } }),
    ],
    ['with a format', object({ properties: { mail: { type: 'string', format: 'email' } } })],
    ['with names by expression', object({ patternProperties: { '^a': text } })],
    ['that compares all with all', object({ properties: { list: { uniqueItems: true } } })],
    ['that refers', object({ properties: { a: { $ref: '#/$defs/a' } }, $defs: { a: text } })],
    ['that refers in its note', object({ additionalProperties: { $ref: '#' } })],
    ['that compares objects', object({ properties: { a: { const: { a: [1] } } } })],
    ['that compares with lists', object({ properties: { a: { enum: [[1], 2] } } })],
    ['with alternatives that look inside', object({ anyOf: [object({ properties: { a: text } })] })],
    ['with alternatives in alternatives', object({ anyOf: [{ anyOf: [{ type: 'object' }] }] })],
    [
      'with many members in each of a list',
      object({ properties: { list: { items: object({ properties: named(33) }) } } }),
    ],
    [
      'with many needed names in each',
      object({ additionalProperties: { required: Object.keys(named(40)) } }),
    ],
    [
      'with many alternatives for each of a list',
      object({ properties: { list: { items: { anyOf: Array.from({ length: 40 }, () => text) } } } }),
    ],
    [
      'with many values for one of a list of alternatives',
      object({ additionalProperties: { oneOf: [{ enum: Array.from({ length: 40 }, (_, n) => n) }] } }),
    ],
    ['with what is not known', object({ properties: { a: { formatMinimum: '2026-01-01' } } })],
    ['with what is not known at its top', object({ dependentRequired: { a: ['b'] } })],
    ['of draft-07 lists', object({ properties: { list: { items: [text, text] } } })],
  ])('%s', (_name, schema) => {
    expect(isPlainSchema(schema)).toBe(false);
  });
});

it('the largest body that a plain schema makes work with is checked within its stopwatch all the same', () => {
  const contracts = createContracts();
  const items = object({ properties: named(25) });
  const schema = object({ properties: { list: { type: 'array', items } } });
  expect(isPlainSchema(schema)).toBe(true);
  const value = { list: Array.from({ length: 340_000 }, () => ({})) };
  contracts.validate(schema, { list: [] }, 'arguments');
  const startedAt = process.cpuUsage();
  expect(contracts.validate(schema, value, 'arguments')).toEqual({ kind: 'valid' });
  const { user, system } = process.cpuUsage(startedAt);
  expect((user + system) / 1_000).toBeLessThan(500);
});
