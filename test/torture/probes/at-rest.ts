import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import { waitUntil } from '../../harness/process.ts';
import { openAttempt, type Wallet } from '../actors/payments.ts';
import type { PayPlan } from '../plan/plan.ts';
import type { Storm } from '../storm.ts';

/** What somebody pays for on a rail once the storm is over. */
export type RestPlan = Pick<PayPlan, 'label'> &
  Partial<Pick<PayPlan, 'purpose' | 'account' | 'extra' | 'fails' | 'runMs'>>;

/** A rail that failed is not offered for a while. */
const OFFERED_MS = 60_000;

/** Its challenge, with its payment made or under way; what it comes to is audited with all others. */
export async function payAtRest(storm: Storm, wallet: Wallet, plan: RestPlan): Promise<Attempt | undefined> {
  const whole: PayPlan = {
    ...{ kind: 'pay', at: 0, wallet: 0, purpose: 'call', account: 0, extra: 0, isBroadcast: false },
    ...{ gateways: [0], rounds: 1, patienceMs: 0, fails: false, runMs: 0, ...plan },
  };
  const open = () => openAttempt(storm, whole, wallet).catch(() => undefined);
  const attempt = await waitUntil(open, OFFERED_MS).catch(() => undefined);
  if (attempt) storm.attempts.push(attempt);
  return attempt;
}

export function walletsOf({ wallets }: Storm, names: readonly string[]): Wallet[] {
  return names.flatMap((name) => wallets.find(({ railCase }) => railCase.name === name) ?? []);
}

/** The address of one of the gateways, each in its turn. */
export function askAt({ world }: Storm, turn: number): string {
  const { fleet, options } = world;
  return fleet.near(turn % options.gateways)?.url ?? '';
}
