import { setTimeout as sleep } from 'node:timers/promises';
import { makeCall } from '../actors/calls.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { AccountState } from '../model/model.ts';
import { HOT_ACCOUNTS } from '../plan/accounts.ts';
import { planPlainCall } from '../plan/calls.ts';
import type { Storm } from '../storm.ts';

/** Accounts that are asked, and calls of each at once: the first may go alone, the others make a batch. */
const ASKED = 3;
const CALLS = 5;
const ROUNDS = 10;
/** A gateway that cannot answer them need not be asked for all. */
const ROUNDS_MS_MAX = 5_000;
const EXAMPLE_PRICE = 100;
/** How long the other call runs, and how long it may take to have set its price aside. */
const RUN_MS = 1_800;
const HELD_WITHIN_MS = 1_200;
const POLL_MS = 20;

/** At rest, so that it is known to the last millicent what each call has to be told, whatever order they were taken in. */
export async function auditToldBalances(storm: Storm): Promise<Violation[]> {
  const rich = storm.model.accounts.filter(
    ({ plan }) => plan.isRich && plan.index >= HOT_ACCOUNTS && plan.children.length === 0,
  );
  if (rich[0]) await payTogether(storm, rich[0]);
  const said = await Promise.all(rich.slice(0, ASKED).map((account) => askOf(storm, account)));
  storm.counts.add('accounts asked what is left', said.filter((each) => each !== 'too slow').length);
  const wrong = said.filter((each): each is string => each !== undefined && each !== 'too slow');
  return tell('balance-told-wrong', wrong, (each) => each);
}

/** Batches in which all is well: after others the gateway charges a while in another way. */
async function payTogether(storm: Storm, account: AccountState): Promise<void> {
  const deadline = performance.now() + ROUNDS_MS_MAX;
  for (let round = 0; round < ROUNDS && performance.now() < deadline; round++) {
    const labels = Array.from({ length: CALLS }, (_, number) => `call ${number} of round ${round} at rest`);
    await Promise.all(labels.map((label) => makeCall(storm, planCallOf(account, label))));
  }
}

function planCallOf({ plan }: AccountState, label: string) {
  return planPlainCall({ at: 0, label, account: plan.index, child: undefined, gateway: 0 });
}

/** What was wrong of what this account was told; `too slow` where its calls met no hold of the other one. */
async function askOf(storm: Storm, account: AccountState): Promise<string | undefined> {
  const { index } = account.plan;
  const plain = (label: string) => planCallOf(account, label);
  const before = await readAccount(storm, account.id);
  const running = makeCall(storm, {
    ...plain(`a call of ${index} that runs`),
    ...{ tool: 'moody', runMs: RUN_MS },
  });
  const held = await untilHeld(storm, account.id);
  const labels = Array.from({ length: CALLS }, (_, number) => `call ${number} of ${index} beside another`);
  await Promise.all(labels.map((label) => makeCall(storm, plain(label))));
  const isStillHeld = (await readAccount(storm, account.id)).held === held && held > 0n;
  await running;
  if (!isStillHeld) return 'too slow';
  const told = labels.map((label) => {
    const verdict = storm.model.calls.get(label)?.verdicts.at(-1);
    return verdict?.kind === 'charged' ? verdict.balance : undefined;
  });
  const left = Number(before.balance - before.held - held);
  const expected = labels.map((_, number) => left - EXAMPLE_PRICE * (number + 1));
  const isRight = [...told].sort().join() === [...expected].sort().join();
  return isRight ? undefined : `account ${index}: told ${told.join(', ')}; left was ${left}`;
}

async function untilHeld(storm: Storm, accountId: string): Promise<bigint> {
  const deadline = performance.now() + HELD_WITHIN_MS;
  for (;;) {
    const { held } = await readAccount(storm, accountId);
    if (held > 0n || performance.now() > deadline) return held;
    await sleep(POLL_MS);
  }
}

async function readAccount({ world }: Storm, id: string): Promise<{ balance: bigint; held: bigint }> {
  const [row] = await world.postgres.sql<{ balance: bigint; held: bigint }[]>`
    SELECT balance, held FROM ledger_payer WHERE id = ${id}`;
  return row ?? { balance: 0n, held: 0n };
}
