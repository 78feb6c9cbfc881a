import { setTimeout as sleep } from 'node:timers/promises';
import { EVM, sendPayment, type Wallet } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';
import { MIDDLING } from '../world/shops.ts';
import { payAtRest } from './at-rest.ts';

/** What is done for a payer that has settled nothing before its money is there (MONEY.md, rule 5). */
const NEW_PAYER_MCENTS = 10_000n;
/** More at once than that allows, at every gateway. */
const CALLS = 6;
const RUN_MS = 1_000;
const PATIENCE_MS = 30_000;
const POLL_MS = 25;

/** A payer nobody knows wants more at once than may be done for it before it pays: the rest is paid first. */
export async function probeExposure(storm: Storm): Promise<Violation[]> {
  const { world } = storm;
  const railCase = { ...EVM, name: 'evm middling', price: MIDDLING, units: BigInt(MIDDLING) * 10n };
  const wallet: Wallet = { railCase, payer: await railCase.createPayer(world.lab) };
  const labels = Array.from({ length: CALLS }, (_, number) => `call ${number} of a payer nobody knows`);
  const attempts = await Promise.all(
    labels.map((label) => payAtRest(storm, wallet, { label, runMs: RUN_MS })),
  );
  let isOver = false;
  const sending = Promise.all(
    attempts.map(async (attempt, index) => {
      const place = index % world.options.gateways;
      if (attempt) await sendPayment(storm, attempt, { place, plan: { patienceMs: PATIENCE_MS } });
    }),
  ).finally(() => {
    isOver = true;
  });
  let most = 0n;
  while (!isOver) {
    const open = await readOpen(storm, wallet);
    most = open > most ? open : most;
    await sleep(POLL_MS);
  }
  await sending;
  const isTooMuch = most > NEW_PAYER_MCENTS;
  return tell('exposed-beyond', isTooMuch ? [most] : [], (sum) => `${sum} at once, of a payer nobody knows`);
}

/** What runs for this payer, or ran, before it has paid; all in one look. */
async function readOpen({ world }: Storm, { payer }: Wallet): Promise<bigint> {
  const [row] = await world.postgres.sql<{ amount: bigint }[]>`
    SELECT coalesce(sum(e.amount), 0)::bigint AS amount FROM ledger_exposure e JOIN payment_claim c ON c.id = e.id
    WHERE e.payer = ${payer.credit?.payer ?? ''} AND e.state IN ('authorised', 'settling', 'unknown')
      AND c.mode = 'after-run'`;
  return row?.amount ?? 0n;
}
