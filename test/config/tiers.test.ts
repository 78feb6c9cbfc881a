import { expect, test } from 'vitest';
import { z } from 'zod';
import { ConfigError } from '../../src/config/config-error.ts';
import { readTiers, tiersEnvironment } from '../../src/config/tiers.ts';

const schema = z.object(tiersEnvironment);
const read = (env: Record<string, string>) => readTiers(schema.parse(env));

test('an environment that says nothing has a free and a premium tier', () => {
  expect(read({})).toEqual([
    { name: 'free', allowanceCallsPerDay: 3, freeToolCallsPerDay: undefined },
    { name: 'premium', allowanceCallsPerDay: 50, freeToolCallsPerDay: undefined },
  ]);
});

test('tiers are those that are named, the first for everybody', () => {
  const env = { TIER_ALLOWANCE_CALLS_PER_DAY: 'basic=0,gold=9', TIER_FREE_TOOL_CALLS_PER_DAY: 'basic=20' };
  expect(read(env)).toEqual([
    { name: 'basic', allowanceCallsPerDay: 0, freeToolCallsPerDay: 20 },
    { name: 'gold', allowanceCallsPerDay: 9, freeToolCallsPerDay: undefined },
  ]);
});

test('a list that is none, an empty one, and a tier without an allowance are refused', () => {
  expect(() => read({ TIER_ALLOWANCE_CALLS_PER_DAY: 'three' })).toThrow(z.ZodError);
  expect(() => read({ TIER_ALLOWANCE_CALLS_PER_DAY: '' })).toThrow(ConfigError);
  expect(() => read({ TIER_FREE_TOOL_CALLS_PER_DAY: 'gold=1' })).toThrow(
    /TIER_FREE_TOOL_CALLS_PER_DAY.*gold/,
  );
});
