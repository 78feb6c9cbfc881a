import { setTimeout as sleep } from 'node:timers/promises';
import { waitUntil } from '../../harness/process.ts';
import { sendPayment } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';
import { payAtRest, walletsOf } from './at-rest.ts';

const PATIENCE_MS = 30_000;
/** With nothing broken it is given back as the call fails; a job that looks for leftovers comes later. */
const BACK_MS = 5_000;

/** Money that is set aside for a call that fails is its payer's again when that is told. */
export async function probeLetGo(storm: Storm): Promise<Violation[]> {
  const kept = [await isCardKept(storm), await isInvoiceKept(storm)].filter((each) => each !== undefined);
  return tell('kept-although-failed', kept, (said) => said);
}

async function isCardKept(storm: Storm): Promise<string | undefined> {
  const [wallet] = walletsOf(storm, ['stripe']);
  const known = new Set(storm.world.lab.stripe.payments().map(({ id }) => id));
  const attempt = wallet && (await payAtRest(storm, wallet, { label: 'a card for what fails', fails: true }));
  if (!attempt) return undefined;
  await sendPayment(storm, attempt, { place: 0, plan: { patienceMs: PATIENCE_MS } });
  const isBack = () => {
    const ours = storm.world.lab.stripe.payments().filter(({ id }) => !known.has(id));
    return ours.every(({ status }) => status === 'canceled') || undefined;
  };
  const isGiven = await waitUntil(isBack, BACK_MS).catch(() => false);
  return isGiven ? undefined : 'a card';
}

/** A node that holds payments gives one back by itself, to a payer who shows nothing. */
async function isInvoiceKept(storm: Storm): Promise<string | undefined> {
  const [wallet] = walletsOf(storm, ['lightning']);
  const attempt =
    wallet && (await payAtRest(storm, wallet, { label: 'an invoice for what fails', fails: true }));
  if (!attempt?.paying) return undefined;
  const isBack = attempt.paying.then(() => true);
  const isGiven = await Promise.race([isBack, sleep(BACK_MS, false, { ref: false })]);
  return isGiven ? undefined : 'an invoice';
}
