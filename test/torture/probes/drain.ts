import { setTimeout as sleep } from 'node:timers/promises';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import { waitUntil } from '../../harness/process.ts';
import { makeCall } from '../actors/calls.ts';
import { sendPayment } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import { planPlainCall } from '../plan/calls.ts';
import type { Storm } from '../storm.ts';
import { payAtRest, walletsOf } from './at-rest.ts';

const RUN_MS = 1_700;
const PATIENCE_MS = 30_000;
/** Less than a run takes: within it each is at its own, or a slow machine shows nothing here. */
const UNDER_WAY_MS = 1_400;
const ARRIVES_MS = 8_000;

/** SIGTERM to every gateway while calls run: each is ended and answered. */
export async function probeDrain(storm: Storm): Promise<Violation[]> {
  const arrived = await probeArrival(storm);
  const signed: Attempt[] = [];
  for (const wallet of walletsOf(storm, ['evm', 'tempo pull', 'stripe'])) {
    const label = `a call by ${wallet.railCase.name} while all gateways end`;
    const attempt = await payAtRest(storm, wallet, { label, runMs: RUN_MS });
    if (attempt) signed.push(attempt);
  }
  const calls = planCalls(storm);
  const { gateways } = storm.world.options;
  const sending = Promise.all([
    ...calls.map((plan) => makeCall(storm, plan)),
    ...signed.map((attempt, index) =>
      sendPayment(storm, attempt, { place: index % gateways, plan: { patienceMs: PATIENCE_MS } }),
    ),
  ]);
  const under = calls.length + signed.length;
  const isUnderWay = await waitUntil(async () => (await countHeld(storm)) === under, UNDER_WAY_MS).catch(
    () => false,
  );
  const unclean = await storm.world.fleet.renew();
  await sending;
  if (!isUnderWay) storm.counts.add('drains that not every call was under way for');
  const cut = !isUnderWay
    ? []
    : [
        ...calls.filter(({ label }) => storm.model.calls.get(label)?.verdicts.at(-1)?.kind !== 'charged'),
        ...signed.filter(({ answers }) => answers.at(-1)?.status !== 200),
      ];
  storm.counts.add('calls under way as all gateways ended', under);
  return [
    ...arrived,
    ...tell('unclean-stop', unclean, (said) => said),
    ...tell('cut-at-drain', cut, ({ label }) => label),
  ];
}

/** The same for one that began as its payment arrived: no request stands behind it, and nothing else is under way. */
async function probeArrival(storm: Storm): Promise<Violation[]> {
  const arrived = await payByLightning(storm);
  if (!arrived) return [];
  const unclean = await storm.world.fleet.renew();
  const cut = (await isPaid(arrived)) ? [] : [arrived.label];
  storm.counts.add('calls under way as all gateways ended', 1);
  return [...tell('unclean-stop', unclean, (said) => said), ...tell('cut-at-drain', cut, (label) => label)];
}

/** One at each gateway, of accounts that have enough. */
function planCalls({ model, world }: Storm) {
  const rich = model.accounts.filter(({ plan }) => plan.isRich).slice(0, world.options.gateways);
  return rich.map(({ plan }, gateway) => {
    const label = `a call of ${plan.index} while all gateways end`;
    const plain = planPlainCall({ at: 0, label, account: plan.index, child: undefined, gateway });
    return { ...plain, tool: 'moody' as const, runMs: RUN_MS };
  });
}

/** Its call runs as it arrives; answers when it does. */
async function payByLightning(storm: Storm): Promise<Attempt | undefined> {
  const [wallet] = walletsOf(storm, ['lightning']);
  const label = 'a call by lightning while all gateways end';
  const attempt = wallet && (await payAtRest(storm, wallet, { label, runMs: RUN_MS }));
  if (attempt) await waitUntil(() => isRunning(storm), ARRIVES_MS).catch(() => {});
  return attempt;
}

/** Everything else is at rest: what is set aside is for these. */
async function countHeld({ world }: Storm): Promise<number> {
  const [row] = await world.postgres.sql<{ count: number }[]>`
    SELECT count(*)::int FROM ledger_hold WHERE state = 'held'`;
  return row?.count ?? 0;
}

async function isRunning({ world }: Storm): Promise<boolean> {
  const [row] = await world.postgres.sql<{ count: bigint }[]>`
    SELECT count(*) FROM payment_claim WHERE rail = 'lightning' AND state = 'running'`;
  return row !== undefined && row.count > 0n;
}

/** Whether its payer was given the preimage. */
async function isPaid(attempt: Attempt): Promise<boolean> {
  await Promise.race([attempt.paying, sleep(PATIENCE_MS, undefined, { ref: false })]);
  return !String(new Headers(attempt.paid?.headers).get('authorization')).endsWith(':');
}
