import { setTimeout as sleep } from 'node:timers/promises';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import { waitUntil } from '../../harness/process.ts';
import { sendPayment, type Wallet } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';
import { askAt, payAtRest, walletsOf } from './at-rest.ts';
import { signAgain, toAttempt } from './sign-again.ts';

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
  said.push(await leavePurchase(storm));
  const wrong = said.filter((each) => each !== undefined);
  return tell('paid-again', wrong, (each) => each);
}

async function sendUnheard(storm: Storm, unheard: Unheard): Promise<string | undefined> {
  const { attempt } = unheard;
  const before = await listClaims(storm, attempt);
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
  return askAgain(storm, unheard, before);
}

/** What brings a transaction to its chain. */
const SENDING = /^eth_sendRawTransaction/;
/** What says whether it is there; everything else is heard. */
const SETTLING = /^eth_(?:sendRawTransaction|getTransactionReceipt)/;
/** Long enough for its payment to be on its way, and for the second one to be asked for. */
const ON_ITS_WAY_MS = 1_500;

/** The buyer of a key goes away while its chain is not heard to settle it, and signs again at another gateway. */
async function leavePurchase(storm: Storm): Promise<string | undefined> {
  const [wallet] = walletsOf(storm, ['evm']);
  const label = 'a signup of evm that is left';
  const attempt = wallet && (await payAtRest(storm, wallet, { label, purpose: 'signup' }));
  if (!attempt) return undefined;
  const before = await listClaims(storm, attempt);
  const door = storm.world.lab.doors.evm;
  door?.decide((method) => (SETTLING.test(method) ? 'swallow' : 'pass'));
  await sendPayment(storm, attempt, { place: 0, plan: { patienceMs: ON_ITS_WAY_MS } });
  const asking = askAgain(storm, { attempt, wallet }, before);
  await sleep(ON_ITS_WAY_MS);
  door?.decide(() => 'pass');
  storm.counts.add('purchases left while they were settled, and signed for again');
  return asking;
}

/** What is wrong with what it is given. */
async function askAgain(
  storm: Storm,
  { attempt, wallet }: Unheard,
  before: readonly string[],
): Promise<string | undefined> {
  const listNew = async () => (await listClaims(storm, attempt)).filter((id) => !before.includes(id));
  // A rail that failed is not offered for a while, and what is paid on it is sent back.
  const again = await waitUntil(async () => {
    const said = await signAgain(attempt, wallet.payer, [askAt(storm, 1), askAt(storm, 0)]).catch(() => {});
    return said?.status === 503 ? undefined : said;
  }, PATIENCE_MS).catch(() => undefined);
  if (!again) return `${attempt.label}: not given for ${PATIENCE_MS} ms`;
  const bought = await listNew();
  if (again.status === 200 && again.isRepeated && bought.length === 1) return undefined;
  storm.attempts.push(toAttempt(attempt, again));
  return `${attempt.label}: ${again.status}, and ${bought.length} were bought`;
}

/** What its payer has bought of its kind, or is about to. */
async function listClaims({ world }: Storm, { payer, purpose, price }: Attempt): Promise<string[]> {
  const rows = await world.postgres.sql<{ id: string }[]>`SELECT id FROM payment_claim
    WHERE payer = ${payer ?? ''} AND purpose = ${purpose} AND amount = ${price} AND attached_to IS NULL`;
  return rows.map(({ id }) => id);
}
