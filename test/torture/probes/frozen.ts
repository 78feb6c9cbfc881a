import { setTimeout as sleep } from 'node:timers/promises';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import { waitUntil } from '../../harness/process.ts';
import { sendPayment } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';
import { payAtRest, walletsOf } from './at-rest.ts';

const RUN_MS = 1_700;
const PATIENCE_MS = 60_000;
/** By then each is at its run, which is not over. */
const UNDER_WAY_MS = 500;
/** Who is told that its call is under way asks again; a gateway is believed gone after fifteen seconds. */
const ASK_AGAIN_MS = 2_000;
const SAID_MS = 60_000;

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
  const send = (attempts: readonly Attempt[], place: number) =>
    Promise.all(
      attempts.map((attempt) => sendPayment(storm, attempt, { place, plan: { patienceMs: PATIENCE_MS } })),
    );
  const sending = send(signed, 0);
  await sleep(UNDER_WAY_MS);
  const listUnsaid = () => signed.filter(({ answers }) => isUnsaid(answers.at(-1)));
  const askUntilSaid = async () => {
    await send(listUnsaid(), 1);
    if (listUnsaid().length === 0) return true;
    await sleep(ASK_AGAIN_MS);
    return false;
  };
  const said = waitUntil(askUntilSaid, SAID_MS);
  const freezing = frozen.freeze(said);
  await said.catch(() => {});
  const hanging = listUnsaid();
  await freezing;
  await sending;
  storm.counts.add('calls under way as their gateway stood still', signed.length);
  return tell('left-hanging', hanging, ({ label, answers }) => `${label}: ${JSON.stringify(answers)}`);
}

/** Nobody answered, or not what became of it. */
function isUnsaid(answer: Attempt['answers'][number] | undefined): boolean {
  return answer === undefined || /in-flight$|outcome-unknown$/.test(answer.body.type ?? '');
}
