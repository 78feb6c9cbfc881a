import type { Random } from '../../e2e/rail-faults/storm/random.ts';
import type { StormOptions } from '../options.ts';
import { type AccountPlan, HOT_ACCOUNTS } from './accounts.ts';
import type { CallPlan, Mood } from './plan.ts';

type Making = {
  options: StormOptions;
  accounts: readonly AccountPlan[];
  random: Random;
  /** How many requests each key has named. */
  asked: Map<string, number>;
};

/** Longer than any answer of a gateway that lives takes, on a machine that has better to do. */
const PATIENT_MS = 20_000;

/** Servers that deliver, at these prices, and servers that only fail: who fails too often is paused. */
export const GOOD_PRICES = [50, 250, 1_000] as const;
export const BAD_SHOPS = 6;
export const BAD_PRICE = 150;

export function planCall(
  { options, accounts, random, asked }: Making,
  { index, at }: { index: number; at: number },
): CallPlan {
  const { account, child } = chooseKey(accounts, random);
  const isExample = !random.isTrue(options.hosted / 100);
  const isBad = !isExample && random.isTrue(0.25);
  const isNamed = random.isTrue(0.35);
  const copies = isNamed && random.isTrue(0.5) ? random.between(2, 4) : 1;
  return {
    ...{ kind: 'call', at, label: `call ${index}`, account, child },
    idempotencyKey: isNamed ? nextName(asked, `${account} ${child}`) : undefined,
    tool: isExample ? 'example' : 'moody',
    shop: isBad ? random.between(0, BAD_SHOPS - 1) : random.between(0, GOOD_PRICES.length - 1),
    mood: isBad ? chooseBadMood(random) : random.isTrue(0.5) ? 'well' : 'unique',
    runMs: random.isTrue(0.3) ? random.between(50, 600) : 0,
    gateways: Array.from({ length: copies }, () => random.between(0, options.gateways - 1)),
    patienceMs: random.isTrue(0.06) ? random.between(2, 60) : PATIENT_MS,
    usesFormerSecret: random.isTrue(0.1),
  };
}

/** A call of the example, sent once to one gateway. */
export function planPlainCall({
  gateway,
  ...given
}: Pick<CallPlan, 'at' | 'label' | 'account' | 'child'> & { gateway: number }): CallPlan {
  return {
    ...{
      kind: 'call',
      tool: 'example',
      shop: 0,
      mood: 'well',
      runMs: 0,
      idempotencyKey: undefined,
      ...given,
    },
    ...{ gateways: [gateway], patienceMs: PATIENT_MS, usesFormerSecret: false },
  };
}

function nextName(asked: Map<string, number>, key: string): string {
  const number = (asked.get(key) ?? 0) + 1;
  asked.set(key, number);
  return `request ${number}`;
}

function chooseBadMood(random: Random): Mood {
  return random.pick(['error', 'error', 'breach', 'breach', 'text', 'crash', 'hang'] as const);
}

function chooseKey(accounts: readonly AccountPlan[], random: Random): Pick<CallPlan, 'account' | 'child'> {
  if (random.isTrue(0.35)) return { account: random.between(0, HOT_ACCOUNTS - 1), child: undefined };
  if (random.isTrue(0.35)) {
    const owner = random.pick(accounts.filter(({ children }) => children.length > 0));
    return { account: owner.index, child: random.between(0, owner.children.length - 1) };
  }
  return { account: random.between(HOT_ACCOUNTS, accounts.length - 1), child: undefined };
}

/** Whether this mood ever delivers what the tool's contract promises. */
export function delivers(mood: Mood): boolean {
  return mood === 'well' || mood === 'unique';
}
