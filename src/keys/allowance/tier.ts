import { isUuid, type Uuid } from '../../core/ids.ts';
import { Problem } from '../../core/problem.ts';
import type { Queryable, Sql } from '../../db/index.ts';
import { findTier, upsertTier } from './store.ts';

/** What an account of one tier gets for nothing. */
export type Tier = {
  name: string;
  /** Calls a day (UTC) under the free allowances of all tools together. */
  allowanceCallsPerDay: number;
  /** Calls a day of tools that cost nothing, made with a key; undefined for any number. */
  freeToolCallsPerDay: number | undefined;
};

/** The tiers; an account has the first until the operator says otherwise. */
export type Tiers = readonly [Tier, ...Tier[]];

export const DEFAULT_TIERS: Tiers = [
  { name: 'free', allowanceCallsPerDay: 3, freeToolCallsPerDay: undefined },
  { name: 'premium', allowanceCallsPerDay: 50, freeToolCallsPerDay: undefined },
];

/** The tier of an account; one that is no longer configured counts as the first. */
export async function tierOf(sql: Queryable, tiers: Tiers, accountId: Uuid): Promise<Tier> {
  const name = await findTier(sql, accountId);
  return tiers.find((tier) => tier.name === name) ?? tiers[0];
}

/** Puts the account of a key into a tier. */
export async function setTier(sql: Sql, tiers: Tiers, input: { keyId: Uuid; tier: string }): Promise<Tier> {
  const tier = tiers.find(({ name }) => name === input.tier);
  if (!tier) {
    throw new Problem('malformed-request', {
      detail: `tier: must be one of ${tiers.map(({ name }) => name).join(', ')}.`,
    });
  }
  const accountId = isUuid(input.keyId) ? await upsertTier(sql, input) : undefined;
  if (!accountId) throw new Problem('not-found', { detail: 'There is no key with this id.' });
  return tier;
}
