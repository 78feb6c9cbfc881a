import fc from 'fast-check';
import { expect, it } from 'vitest';
import { decodeCursor, encodeCursor, type Position, type Sort } from '../../src/catalog/search/cursor.ts';
import { Problem } from '../../src/core/problem.ts';

const id = fc.uuid();
const time = fc
  .date({ min: new Date('0001-01-01T00:00:00.000Z'), max: new Date('9999-12-31T23:59:59.999Z') })
  .filter((date) => !Number.isNaN(date.getTime()))
  .map((date) => date.toISOString());
const name = fc.stringMatching(/^[a-z0-9]{1,64}\/[a-z0-9][a-z0-9._-]{0,62}[a-z0-9]$/);
const whole = fc.nat().map(String);

const KEYS: Record<Sort, fc.Arbitrary<string>> = {
  ...{ new: time, name, price: fc.nat({ max: 10_000_000 }).map(String) },
  relevance: whole.filter((text) => text.length < 10),
};
const sorts: Sort[] = ['new', 'name', 'price', 'relevance'];
const mark = fc
  .constantFrom(...sorts)
  .chain((sort) => fc.record({ sort: fc.constant(sort), position: fc.record({ key: KEYS[sort], id }) }));

function decode(sort: Sort, cursor: string): Position | 'refused' {
  try {
    return decodeCursor(sort, cursor);
  } catch (error) {
    if (error instanceof Problem && error.type === 'malformed-request') return 'refused';
    throw error;
  }
}

it('a cursor is read back as the place it marks, and is safe in an address', () => {
  fc.assert(
    fc.property(mark, ({ sort, position }) => {
      const cursor = encodeCursor(sort, position);
      expect(cursor).toMatch(/^[A-Za-z0-9_-]{1,512}$/);
      expect(decode(sort, cursor)).toEqual(position);
    }),
  );
});

it('a cursor of one order is refused in every other', () => {
  fc.assert(
    fc.property(mark, ({ sort, position }) => {
      const cursor = encodeCursor(sort, position);
      const answers = sorts.filter((other) => other !== sort).map((other) => decode(other, cursor));
      expect(answers).toEqual(['refused', 'refused', 'refused']);
    }),
  );
});

it('any other text is refused as malformed, whatever it is', () => {
  const json = fc.json().map((text) => Buffer.from(text).toString('base64url'));
  fc.assert(
    fc.property(fc.constantFrom(...sorts), fc.oneof(fc.string({ unit: 'binary' }), json), (sort, text) => {
      expect(decode(sort, text)).toBe('refused');
    }),
  );
});

it.each<[Sort, string]>([
  ...(['', 'now', '2026-03-01', '2026-03-01T12:00:00Z', '2026-02-30T12:00:00.000Z'] as const).map(
    (key): [Sort, string] => ['new', key],
  ),
  ...[['new', '0000-01-01T00:00:00.000Z'] as [Sort, string], ['new', 'infinity'] as [Sort, string]],
  ...[['name', ''] as [Sort, string], ['name', 'a b'] as [Sort, string], ['name', 'é/x'] as [Sort, string]],
  ...[['price', '-1'] as [Sort, string], ['price', '1e3'] as [Sort, string]],
  ...[['price', '9'.repeat(16)] as [Sort, string], ['relevance', '9'.repeat(10)] as [Sort, string]],
  ...[['relevance', 'NaN'] as [Sort, string], ['relevance', '0.5'] as [Sort, string]],
])('no list by %s ever stopped at %j', (sort, key) => {
  const cursor = encodeCursor(sort, { key, id: '01890000-0000-7000-8000-000000000001' });
  expect(decode(sort, cursor)).toBe('refused');
});
