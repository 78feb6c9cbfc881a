import { withHeaders } from '../../e2e/fault-lab.ts';
import { readAnswer } from '../../e2e/fixtures.ts';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import { waitUntil } from '../../harness/process.ts';
import { sendPayment, type Wallet } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';
import { askAt, payAtRest, walletsOf } from './at-rest.ts';

/** Longer than a settlement, and than a rail is left out for. */
const PATIENCE_MS = 60_000;
/** More than anybody else fills a key with, so that no other top-up is its like. */
const EXTRA = 70;

type Unheard = { attempt: Attempt; wallet: Wallet };

/** One on each chain: whoever waits for what is not heard of waits as long as a settlement may take. */
const WANTED = [
  ['evm', 'signup'],
  ['tempo pull', 'topup'],
] as const;

/**
 * Both chains take the money and nobody hears of it. Who is told so, and signs again for the same, is given what the
 * first payment bought and pays for it once. Calls have a rule of their own.
 */
export async function probeUnheard(storm: Storm): Promise<Violation[]> {
  const unheard: Unheard[] = [];
  for (const [name, purpose] of WANTED) {
    const [wallet] = walletsOf(storm, [name]);
    const label = `a ${purpose} of ${name} that is not heard of`;
    const attempt = wallet && (await payAtRest(storm, wallet, { label, purpose, extra: EXTRA }));
    if (attempt) unheard.push({ attempt, wallet });
  }
  const said = await Promise.all(unheard.map((each) => sendUnheard(storm, each)));
  const wrong = said.filter((each) => each !== undefined);
  return tell('paid-again', wrong, (each) => each);
}

async function sendUnheard(storm: Storm, unheard: Unheard): Promise<string | undefined> {
  const { attempt } = unheard;
  const rail = attempt.rail?.rail === 'evm' ? 'evm' : 'tempo';
  const door = storm.world.lab.doors[rail];
  let isSent = false;
  door?.decide((method) => {
    isSent ||= SENDING.test(method);
    return isSent ? 'swallow' : 'pass';
  });
  await sendPayment(storm, attempt, { place: 0, plan: { patienceMs: PATIENCE_MS } });
  door?.decide(() => 'pass');
  if (!isSent || attempt.answers.at(-1)?.status === 200) return undefined;
  storm.counts.add('payments that were not heard of, and signed for again');
  return signAgain(storm, unheard);
}

/** What brings a transaction to its chain. */
const SENDING = /^eth_sendRawTransaction/;

/** What is wrong with what it is given. */
async function signAgain(storm: Storm, { attempt, wallet }: Unheard): Promise<string | undefined> {
  await waitUntil(async () => (await countBought(storm, attempt)) > 0n, PATIENCE_MS).catch(() => {});
  const before = await countBought(storm, attempt);
  // A rail that failed is not offered for a while, and what is paid on it is sent back.
  const again = await waitUntil(() => payAgain(storm, attempt, wallet), PATIENCE_MS).catch(() => undefined);
  if (!again) return `${attempt.label}: not given for ${PATIENCE_MS} ms`;
  const { paid, status, body } = again;
  const bought = (await countBought(storm, attempt)) - before;
  if (status === 200 && bought === 0n) return undefined;
  storm.attempts.push({ ...attempt, label: `${attempt.label}, again`, paid, answers: [{ status, body }] });
  return `${attempt.label}: ${status}, and ${bought} were bought once more`;
}

async function payAgain(storm: Storm, attempt: Attempt, { payer }: Wallet) {
  const url = askAt(storm, 1) + attempt.path;
  const headers = await payer.pay(await fetch(url, attempt.request)).catch(() => undefined);
  if (!headers) return undefined;
  const paid = withHeaders(attempt.request, headers);
  const response = await fetch(url, paid);
  const body = await readAnswer(response);
  return response.status === 503 ? undefined : { paid, status: response.status, body };
}

/** How many of its kind its payer has bought. */
async function countBought({ world }: Storm, { payer, purpose, price }: Attempt): Promise<bigint> {
  const [row] = await world.postgres.sql<{ count: bigint }[]>`SELECT count(*) FROM payment_claim
    WHERE payer = ${payer ?? ''} AND purpose = ${purpose} AND amount = ${price} AND state = 'delivered'`;
  return row?.count ?? 0n;
}
