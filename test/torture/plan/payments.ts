import type { Random } from '../../e2e/rail-faults/storm/random.ts';
import type { StormOptions } from '../options.ts';
import type { AccountPlan } from './accounts.ts';
import type { PayPlan } from './plan.ts';

type Making = { options: StormOptions; accounts: readonly AccountPlan[]; random: Random };

/** Wallets of every kind; which is which is for the rails that the storm has. */
export const WALLETS = 64;
const PATIENT_MS = 6_000;

export function planPayment({ options, accounts, random }: Making, index: number): PayPlan {
  const wish = random.next();
  const purpose = wish < 0.15 ? 'signup' : wish < 0.45 ? 'topup' : 'call';
  const copies = random.isTrue(0.4) ? random.between(2, 4) : 1;
  return {
    ...{ kind: 'pay', label: `payment ${index}`, purpose },
    at: random.between(0, options.seconds * 1_000),
    wallet: random.between(0, WALLETS - 1),
    account: random.between(0, accounts.length - 1),
    extra: random.between(0, 60),
    fails: purpose === 'call' && random.isTrue(0.3),
    runMs: random.isTrue(0.3) ? random.between(50, 600) : 0,
    isBroadcast: random.isTrue(0.3),
    gateways: Array.from({ length: copies }, () => random.between(0, options.gateways - 1)),
    rounds: random.between(1, 3),
    patienceMs: random.isTrue(0.2) ? random.between(5, 200) : PATIENT_MS,
  };
}
