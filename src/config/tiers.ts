import { z } from 'zod';
import { ConfigError } from './config-error.ts';

/** `free=3,premium=50`: names of tiers and a number for each. */
const quotas = (fallback: string) =>
  z
    .string()
    .regex(/^(?:[a-z][a-z0-9-]{0,31}=\d{1,7}(?:,|$))*$/, 'must be a list such as "free=3,premium=50"')
    .default(fallback)
    .transform((list) => {
      const pairs = list.split(',').filter((pair) => pair !== '');
      return new Map(
        pairs.map((pair) => {
          const [name = '', number = '0'] = pair.split('=');
          return [name, Number(number)] as const;
        }),
      );
    });

/** What accounts get for nothing, by tier. */
export const tiersEnvironment = {
  TIER_ALLOWANCE_CALLS_PER_DAY: quotas('free=3,premium=50'),
  TIER_FREE_TOOL_CALLS_PER_DAY: quotas(''),
};

type TierConfig = {
  name: string;
  allowanceCallsPerDay: number;
  freeToolCallsPerDay: number | undefined;
};
export type TiersConfig = readonly [TierConfig, ...TierConfig[]];

/** The tiers in the order they are named; accounts have the first until the operator says otherwise. */
export function readTiers(env: {
  TIER_ALLOWANCE_CALLS_PER_DAY: ReadonlyMap<string, number>;
  TIER_FREE_TOOL_CALLS_PER_DAY: ReadonlyMap<string, number>;
}): TiersConfig {
  const free = env.TIER_FREE_TOOL_CALLS_PER_DAY;
  const unknown = [...free.keys()].find((name) => !env.TIER_ALLOWANCE_CALLS_PER_DAY.has(name));
  if (unknown !== undefined) {
    throw new ConfigError(
      `TIER_FREE_TOOL_CALLS_PER_DAY names the tier "${unknown}", which TIER_ALLOWANCE_CALLS_PER_DAY does not.`,
    );
  }
  const [first, ...rest] = [...env.TIER_ALLOWANCE_CALLS_PER_DAY].map(([name, allowanceCallsPerDay]) => ({
    ...{ name, allowanceCallsPerDay },
    freeToolCallsPerDay: free.get(name),
  }));
  if (!first) throw new ConfigError('TIER_ALLOWANCE_CALLS_PER_DAY must name at least one tier.');
  return [first, ...rest];
}
