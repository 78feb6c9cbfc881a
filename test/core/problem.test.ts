import fc from 'fast-check';
import { expect, test } from 'vitest';
import { spellJson } from '../../src/core/canonical-json.ts';
import { Problem, spellProblem } from '../../src/core/problem.ts';

const text = fc.string({ unit: 'binary' });

const expectSpelled = (value: unknown) => {
  expect(spellJson(value)).toBe(JSON.stringify(value));
};

test('JSON is spelled as JSON.stringify spells it, whatever is in it', () => {
  fc.assert(fc.property(text, expectSpelled));
  fc.assert(fc.property(fc.jsonValue(), expectSpelled));
  const frozen = Object.freeze([{ amount: '1' }]);
  for (const value of [frozen, frozen, Object.freeze([]), Object.freeze({ a: 'é"' })]) expectSpelled(value);
});

test('a problem says what happened, of which request, and whether money moved', () => {
  fc.assert(
    fc.property(text, text, text, fc.jsonValue(), (detail, instance, name, value) => {
      const members = { [`x-${name}`]: value, left_out: undefined };
      const problem = new Problem('payment-required', { detail, isUncharged: true, members });
      expect(spellProblem(problem, instance)).toBe(
        JSON.stringify({
          ...{ type: 'https://millicent.dev/problems/payment-required', title: 'Payment is required' },
          ...{ status: 402, detail, instance: `urn:request:${instance}`, ok: false },
          ...{ note: 'no charge applied', ...members },
        }),
      );
    }),
  );
  const bare = new Problem('unavailable', { detail: 'Later.', typeUri: 'https://example.org/"x"' });
  expect(JSON.parse(spellProblem(bare, 'id'))).toEqual({
    ...{ type: 'https://example.org/"x"', title: 'Not available right now', status: 503 },
    ...{ detail: 'Later.', instance: 'urn:request:id', ok: false },
  });
});

test('a problem is an error with a name, a message and its cause', () => {
  const cause = new Error('below');
  const problem = new Problem('internal-error', { detail: 'Sorry.', cause });
  expect(problem).toBeInstanceOf(Error);
  expect([problem.name, problem.message, problem.cause]).toEqual(['Problem', 'Sorry.', cause]);
  expect('cause' in new Problem('not-found', { detail: 'Nothing.' })).toBe(false);
});
