import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import { waitUntil } from '../../harness/process.ts';
import { sendPayment, type Wallet } from '../actors/payments.ts';
import { hashOfAttempt } from '../audit/rails.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';
import { askAt, payAtRest, walletsOf } from './at-rest.ts';
import { signAgain, toAttempt } from './sign-again.ts';

const RUN_MS = 900;
/** Long enough to be at its run, and long before its answer. */
const LEAVES_MS = 400;

type Left = { attempt: Attempt; wallet: Wallet };

/** Who goes away while its call runs, and signs again, is given what it paid for, at whichever gateway it asks. */
export async function probeLeavers(storm: Storm): Promise<Violation[]> {
  const left: Left[] = [];
  for (const wallet of walletsOf(storm, ['evm', 'tempo pull', 'evm before'])) {
    const label = `a call of ${wallet.railCase.name} that is left`;
    const attempt = await payAtRest(storm, wallet, { label, runMs: RUN_MS });
    if (attempt) left.push({ attempt, wallet });
  }
  const plan = { patienceMs: LEAVES_MS };
  await Promise.all(left.map(({ attempt }) => sendPayment(storm, attempt, { place: 0, plan })));
  const said = await Promise.all(left.map((each) => askAgain(storm, each)));
  const wrong = said.filter((each) => each !== undefined);
  storm.counts.add('calls left while they ran, and signed for again', said.length);
  return tell('paid-again', wrong, (text) => text);
}

/** What is wrong with what it is given. */
async function askAgain(storm: Storm, { attempt, wallet }: Left): Promise<string | undefined> {
  const claim = await waitUntil(() => findDelivered(storm, attempt)).catch(() => undefined);
  // One that was answered in time, or that its gateway never read, was not left.
  if (claim === undefined || attempt.answers.length > 0) return undefined;
  const last = storm.world.options.gateways - 1;
  const again = await signAgain(attempt, wallet.payer, [askAt(storm, last), askAt(storm, 0)]);
  const { status, body, isRepeated } = again;
  if (status === 200 && body.receipt_id === claim && isRepeated) return undefined;
  storm.attempts.push(toAttempt(attempt, again));
  return `${attempt.label}: ${claim} was left, and ${status} ${body.receipt_id} told${isRepeated ? '' : ', and something else when repeated'}`;
}

async function findDelivered({ world }: Storm, attempt: Attempt): Promise<string | undefined> {
  const [row] = await world.postgres.sql<{ id: string }[]>`SELECT id FROM payment_claim
    WHERE state = 'delivered' AND answer_state <> 'waiting' AND payer = ${attempt.payer ?? ''}
      AND context ->> 'requestHash' = ${hashOfAttempt(attempt)}`;
  return row?.id;
}
