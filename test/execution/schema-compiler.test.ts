import { expect, test } from 'vitest';
import { createSchemaCompiler } from '../../src/execution/schema-compiler.ts';
import { createTimeLimit, type TimeLimit } from '../../src/execution/time-limit.ts';

test('a compile that was stopped in the middle leaves every other schema as it was', () => {
  const stopwatch = createTimeLimit();
  let timeoutMs = 1;
  const limit: TimeLimit = (work, ms) => stopwatch(work, Math.min(ms, timeoutMs));
  const compile = createSchemaCompiler(limit);
  const properties = Object.fromEntries(
    Array.from({ length: 500 }, (_, at) => [`p${at}`, { type: 'string' }]),
  );
  const large = { type: 'object', properties };
  expect(compile(large, JSON.stringify(large))).toMatchObject({ kind: 'unusable' });
  timeoutMs = 500;
  for (const schema of [{ type: 'object' }, large]) {
    expect(compile(schema, JSON.stringify(schema))).toMatchObject({ kind: 'compiled' });
  }
});
