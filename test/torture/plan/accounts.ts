import type { Random } from '../../e2e/rail-faults/storm/random.ts';
import type { StormOptions } from '../options.ts';

/** Caps of a child, in millicents. */
export type CapsPlan = {
  perCall: number | undefined;
  perHour: number | undefined;
  total: number | undefined;
};

export type AccountPlan = {
  index: number;
  /** Rich ones never run out, so that a refusal for want of money is a mistake; poor ones are drained. */
  isRich: boolean;
  balance: number;
  children: readonly CapsPlan[];
};

/** More than any storm of a day could spend. */
const RICH_MCENTS = 50_000_000;
/** Few accounts that most calls go to, on every gateway at once. */
export const HOT_ACCOUNTS = 4;
/** Accounts with children, right after the hot ones. */
const OWNERS_SHARE = 0.04;
const OWNERS_MAX = 40;

export function planAccounts({ keys }: StormOptions, random: Random): AccountPlan[] {
  const owners = Math.min(OWNERS_MAX, Math.max(3, Math.round(keys * OWNERS_SHARE)));
  return Array.from({ length: keys }, (_, index): AccountPlan => {
    const isOwner = index >= HOT_ACCOUNTS && index < HOT_ACCOUNTS + owners;
    // One of the hot ones is poor: there every gateway races for the last cent.
    const isRich = isOwner || (index < HOT_ACCOUNTS ? index > 0 : random.isTrue(0.5));
    return {
      index,
      isRich,
      balance: isRich ? RICH_MCENTS : random.between(0, 60) * 50,
      children: isOwner ? Array.from({ length: random.between(1, 4) }, () => planCaps(random)) : [],
    };
  });
}

/** Small enough to be reached within seconds. */
function planCaps(random: Random): CapsPlan {
  const of = (chance: number, least: number, most: number) =>
    random.isTrue(chance) ? random.between(least, most) * 50 : undefined;
  return { perCall: of(0.2, 2, 6), perHour: of(0.6, 10, 60), total: of(0.5, 10, 80) };
}
