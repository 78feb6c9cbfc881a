import { expect, test } from 'vitest';
import { Problem } from '../../src/core/problem.ts';
import { toProblem } from '../../src/gateway/failure.ts';

const failed = (cause: unknown) => toProblem({ kind: 'failed', cause }).problem;

test('a run that never began for want of a database is no mistake of ours', () => {
  const closed = Object.assign(new Error('write CONNECTION_CLOSED'), { code: 'CONNECTION_CLOSED' });
  expect(failed(closed)).toBe('unavailable');
  expect(failed(new Error('the code could not be read', { cause: closed }))).toBe('unavailable');
});

test('a refusal of a run is told as it is, and anything unknown as our mistake', () => {
  expect(failed(new Problem('too-many-requests', { detail: 'The queue is full.' }))).toBe(
    'too-many-requests',
  );
  expect(failed(new TypeError('x is not a function'))).toBe('internal-error');
});
