import type { Random } from '../../e2e/rail-faults/storm/random.ts';
import type { StormOptions } from '../options.ts';

/** Caps of a child, in millicents. */
export type CapsPlan = {
  perCall: number | undefined;
  perHour: number | undefined;
  total: number | undefined;
};

/** A key below the account's first one, or below the child of this number, before it in the list. */
export type ChildPlan = { caps: CapsPlan; parent: number | undefined };

export type AccountPlan = {
  index: number;
  /** Rich ones never run out, so that a refusal for want of money is a mistake; poor ones are drained. */
  isRich: boolean;
  balance: number;
  children: readonly ChildPlan[];
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
      children: isOwner ? planChildren(random) : [],
    };
  });
}

/** How far below the first key another one may be. */
const LEVELS = 3;

function planChildren(random: Random): ChildPlan[] {
  const children: (ChildPlan & { level: number })[] = [];
  for (let left = random.between(1, 5); left > 0; left--) {
    const above = random.isTrue(0.5) ? random.between(0, children.length) : children.length;
    const level = (children[above]?.level ?? 0) + 1;
    const parent = level > 1 && level <= LEVELS ? above : undefined;
    children.push({ caps: planCaps(random), parent, level: parent === undefined ? 1 : level });
  }
  return children.map(({ caps, parent }) => ({ caps, parent }));
}

/** Whether the child of this number is below that one, or is it. */
export function isWithin(children: readonly ChildPlan[], child: number | undefined, above: number): boolean {
  if (child === undefined || child === above) return child === above;
  return isWithin(children, children[child]?.parent, above);
}

/** Small enough to be reached within seconds; some have none and are charged like the account's first key. */
function planCaps(random: Random): CapsPlan {
  if (random.isTrue(0.35)) return { perCall: undefined, perHour: undefined, total: undefined };
  const of = (chance: number, least: number, most: number) =>
    random.isTrue(chance) ? random.between(least, most) * 50 : undefined;
  return { perCall: of(0.2, 2, 6), perHour: of(0.6, 10, 60), total: of(0.5, 10, 80) };
}
