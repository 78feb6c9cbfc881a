import { setTimeout as sleep } from 'node:timers/promises';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import { sendPayment } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';
import { payAtRest, walletsOf } from './at-rest.ts';

const RUN_MS = 1_700;
const PATIENCE_MS = 60_000;
/** By then each is at its run, which is not over. */
const UNDER_WAY_MS = 500;
/** A gateway is believed gone after fifteen seconds; what it had under way is the others' a moment later. */
const TAKEN_OVER_MS = 19_000;
const FROZEN_MS = 24_000;

/**
 * A gateway stands still amid its calls for so long that the others believe it gone. They end what it was at, for
 * whoever asks; it then goes on where it stood, and nobody is charged for what the others let go.
 */
export async function probeFrozen(storm: Storm): Promise<Violation[]> {
  const frozen = storm.world.fleet.at(0);
  if (!frozen || storm.world.options.gateways === 1) return [];
  const signed: Attempt[] = [];
  for (const wallet of walletsOf(storm, ['evm', 'evm before', 'tempo pull', 'stripe'])) {
    const label = `a call by ${wallet.railCase.name} at a gateway that stands still`;
    const attempt = await payAtRest(storm, wallet, { label, runMs: RUN_MS });
    if (attempt) signed.push(attempt);
  }
  const send = (place: number) =>
    Promise.all(
      signed.map((attempt) => sendPayment(storm, attempt, { place, plan: { patienceMs: PATIENCE_MS } })),
    );
  const sending = send(0);
  await sleep(UNDER_WAY_MS);
  const freezing = frozen.freeze(FROZEN_MS);
  await sleep(TAKEN_OVER_MS);
  await send(1);
  const hanging = signed.filter(({ answers }) => isUnsaid(answers.at(-1)));
  await freezing;
  await sending;
  storm.counts.add('calls under way as their gateway stood still', signed.length);
  return tell('left-hanging', hanging, ({ label, answers }) => `${label}: ${JSON.stringify(answers)}`);
}

/** Nobody answered, or not what became of it. */
function isUnsaid(answer: Attempt['answers'][number] | undefined): boolean {
  return answer === undefined || /in-flight$|outcome-unknown$/.test(answer.body.type ?? '');
}
