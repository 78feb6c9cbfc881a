import { describe, expect, it } from 'vitest';
import { createContracts } from '../../src/execution/contracts.ts';

const contracts = createContracts();
const text = { type: 'object', properties: { text: { type: 'string', minLength: 1 } }, required: ['text'] };

describe('arguments against a schema', () => {
  it.each([
    [{ ...text }, { text: 'x' }, undefined],
    [{ ...text }, {}, 'arguments must have a member "text".'],
    [{ ...text }, { text: 1 }, 'arguments/text must be string.'],
    [{ ...text }, { text: '' }, 'arguments/text must NOT have fewer than 1 characters.'],
    [
      { ...text, additionalProperties: false },
      { text: 'x', y: 1 },
      /has a member "y" that the schema does not know/,
    ],
    [
      { type: 'object', properties: { mode: { enum: ['a', 'b'] } } },
      { mode: 'c' },
      'arguments/mode must be one of ["a","b"].',
    ],
    [{ type: 'object', properties: { v: { const: 2 } } }, { v: 3 }, 'arguments/v must be 2.'],
    [
      { type: 'object', properties: { at: { format: 'date-time' } } },
      { at: 'yesterday' },
      /arguments\/at must match format/,
    ],
    [{ type: 'object' }, [], 'arguments must be object.'],
    [{ type: 'object' }, null, 'arguments must be object.'],
  ])('%j with %j', (schema, value, detail) => {
    const validation = contracts.validate(schema as typeof text, value, 'arguments');
    if (detail === undefined) return expect(validation).toEqual({ kind: 'valid' });
    const expected = typeof detail === 'string' ? detail : expect.stringMatching(detail);
    expect(validation).toEqual({ kind: 'invalid', detail: expected });
  });

  it('inherits nothing: a required "constructor" must really be there', () => {
    const schema = { type: 'object', required: ['constructor'] };
    expect(contracts.validate(schema, {}, 'arguments').kind).toBe('invalid');
  });

  it('is told in at most 512 bytes whatever the schema says', () => {
    const schema = {
      type: 'object',
      properties: { mode: { enum: Array.from({ length: 500 }, (_, n) => `válue ${n}`) } },
    };
    const validation = contracts.validate(schema, { mode: 1 }, 'arguments');
    if (validation.kind !== 'invalid') throw new Error('valid');
    expect(Buffer.byteLength(validation.detail)).toBeLessThanOrEqual(512);
  });
});

describe('a schema that a stranger wrote', () => {
  const evil = (pattern: string) => ({ type: 'object', properties: { text: { type: 'string', pattern } } });

  const slow = [
    ['a regular expression', evil('^(a+)+$'), { text: `${'a'.repeat(60)}!` }, { text: 'aaa' }, { text: 'b' }],
    [
      'quadratic keywords',
      { type: 'object', properties: { list: { type: 'array', uniqueItems: true } } },
      { list: Array.from({ length: 60_000 }, (_, n) => ({ n })) },
      { list: [{ n: 1 }, { n: 2 }] },
      { list: [{ n: 1 }, { n: 1 }] },
    ],
  ] as const;

  it.each(slow)('cannot hold up the gateway with %s, however often it is tried', (_name, schema, endless) => {
    const turns = 10;
    // Processor time, because a busy machine also lets others work meanwhile.
    const startedAt = process.cpuUsage();
    for (let turn = 0; turn < turns; turn += 1) {
      expect(contracts.validate(schema, endless, 'arguments')).toEqual({
        kind: 'invalid',
        detail: "The value of arguments takes too long to check against the tool's schema.",
      });
    }
    const { user, system } = process.cpuUsage(startedAt);
    expect((user + system) / 1_000).toBeLessThan(turns * 250);
  });

  it.each(slow)(
    'after a value that takes too long, an ordinary value of the same tool still validates (%s)',
    (_name, schema, endless, right, wrong) => {
      const fresh = createContracts();
      expect(fresh.validate(schema, endless, 'arguments').kind).toBe('invalid');
      expect(fresh.refuse(schema)).toBeUndefined();
      expect(fresh.validate(schema, right, 'arguments')).toEqual({ kind: 'valid' });
      expect(fresh.validate(schema, wrong, 'arguments')).toMatchObject({
        kind: 'invalid',
        detail: expect.not.stringContaining('too long'),
      });
    },
  );

  it.each([
    [
      'is fetched from elsewhere',
      { type: 'object', properties: { a: { $ref: 'https://example.com/a.json' } } },
      /resolve/,
    ],
    ['answers with a promise', { type: 'object', $async: true }, /async/],
    ['is of another dialect', { type: 'object', $schema: 'https://example.com/schema' }, /\$schema/],
    ['is not an object', { type: 'array' }, /"type": "object"/],
    ['is no schema', { type: 'object', required: 'text' }, /JSON Schema/],
    [
      'has a pattern that is none',
      { type: 'object', properties: { a: { pattern: '(' } } },
      /compile|JSON Schema/,
    ],
    ['is too large', { type: 'object', description: 'x'.repeat(70_000) }, /longer/],
    ['nests too deep', JSON.parse(`${'{"type":"object","not":'.repeat(70)}{}${'}'.repeat(70)}`), /deep/],
  ])('is refused when it %s', (_name, schema, why) => {
    expect(contracts.refuse(schema)).toMatch(why);
  });

  it.each([
    'http://json-schema.org/draft-07/schema#',
    'https://json-schema.org/draft/2019-09/schema',
    'https://json-schema.org/draft/2020-12/schema',
  ])('may say that it is %s', ($schema) => {
    const schema = { $schema, ...text };
    expect(contracts.refuse(schema)).toBeUndefined();
    expect(contracts.validate(schema, { text: 1 }, 'arguments').kind).toBe('invalid');
  });

  it('sees nothing of another with the same $id', () => {
    const $id = 'https://example.com/same';
    const one = { $id, type: 'object', $defs: { secret: { type: 'string' } } };
    const other = { $id, type: 'object', required: ['x'] };
    expect([contracts.refuse(one), contracts.refuse(other)]).toEqual([undefined, undefined]);
    expect(contracts.validate(one, {}, 'arguments').kind).toBe('valid');
    expect(contracts.validate(other, {}, 'arguments').kind).toBe('invalid');
    expect(contracts.refuse({ type: 'object', properties: { a: { $ref: `${$id}#/$defs/secret` } } })).toMatch(
      /resolve/,
    );
  });
});
