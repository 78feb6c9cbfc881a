import { withHeaders } from '../../e2e/fault-lab.ts';
import { readAnswer } from '../../e2e/fixtures.ts';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import { waitUntil } from '../../harness/process.ts';
import { sendPayment, type Wallet } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { PayPlan } from '../plan/plan.ts';
import type { Storm } from '../storm.ts';
import { askAt, payAtRest, walletsOf } from './at-rest.ts';

const PATIENCE_MS = 30_000;
/** More than anybody else fills a key with, so that no other top-up is its like. */
const EXTRA = 70;

type Unheard = { attempt: Attempt; wallet: Wallet };

/**
 * Both chains take the money and nobody hears of it. Who is told so, and signs again for the same, is given what the
 * first payment bought and pays for it once, whatever it is.
 */
export async function probeUnheard(storm: Storm): Promise<Violation[]> {
  const unheard: Unheard[] = [];
  const purposes: PayPlan['purpose'][] = ['signup', 'topup', 'call'];
  for (const [index, wallet] of walletsOf(storm, ['evm', 'tempo pull']).entries()) {
    for (const purpose of purposes) {
      const label = `a ${purpose} of ${wallet.railCase.name} that is not heard of`;
      const attempt = await payAtRest(storm, wallet, { label, purpose, account: index, extra: EXTRA });
      if (attempt) unheard.push({ attempt, wallet });
    }
  }
  await sendUnheard(storm, unheard);
  const wrong: string[] = [];
  for (const each of unheard) {
    const said = await signAgain(storm, each);
    if (said !== undefined) wrong.push(said);
  }
  storm.counts.add('payments that were not heard of, and signed for again', unheard.length);
  return tell('paid-again', wrong, (said) => said);
}

async function sendUnheard({ world, ...storm }: Storm, unheard: readonly Unheard[]): Promise<void> {
  const { evm, tempo } = world.lab.doors;
  for (const door of [evm, tempo]) door?.decide((method) => (SENDING.test(method) ? 'swallow' : 'pass'));
  const plan = { patienceMs: PATIENCE_MS };
  await Promise.all(
    unheard.map(({ attempt }, place) =>
      sendPayment({ world, ...storm }, attempt, { place: place % world.options.gateways, plan }),
    ),
  );
  world.lab.mend();
}

/** What brings a transaction to its chain. */
const SENDING = /^eth_sendRawTransaction/;

/** What is wrong with what it is given. */
async function signAgain(storm: Storm, { attempt, wallet }: Unheard): Promise<string | undefined> {
  // What was heard of all the same has its answer.
  if (attempt.answers.at(-1)?.status === 200) return undefined;
  await waitUntil(async () => (await countBought(storm, attempt)) > 0n, PATIENCE_MS).catch(() => {});
  const before = await countBought(storm, attempt);
  const url = askAt(storm, 1) + attempt.path;
  const paid = withHeaders(attempt.request, await wallet.payer.pay(await fetch(url, attempt.request)));
  const response = await fetch(url, paid);
  const body = await readAnswer(response);
  const bought = (await countBought(storm, attempt)) - before;
  if (response.status === 200 && bought === 0n) return undefined;
  const answers = [{ status: response.status, body }];
  storm.attempts.push({ ...attempt, label: `${attempt.label}, again`, paid, answers });
  return `${attempt.label}: ${response.status}, and ${bought} were bought once more`;
}

/** How many of its kind its payer has bought. */
async function countBought({ world }: Storm, { payer, purpose, price }: Attempt): Promise<bigint> {
  const [row] = await world.postgres.sql<{ count: bigint }[]>`SELECT count(*) FROM payment_claim
    WHERE payer = ${payer ?? ''} AND purpose = ${purpose} AND amount = ${price} AND state = 'delivered'`;
  return row?.count ?? 0n;
}
