import { setTimeout as sleep } from 'node:timers/promises';
import { askAgain, makeCall } from '../actors/calls.ts';
import { sendPayment } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import { planPlainCall } from '../plan/calls.ts';
import type { Storm } from '../storm.ts';
import { payAtRest, walletsOf } from './at-rest.ts';

const PATIENCE_MS = 20_000;
/** How long a gateway may go on to sell what another one paused. */
const NOTICED_MS = 3_000;

/** What was bought of a tool before it was paused is still given to who asks for it again, by key and by payment. */
export async function probePaused(storm: Storm): Promise<Violation[]> {
  const isByKeyHidden = await isHidden(storm, shopOfKeys(storm), await callByKey(storm));
  const isByPaymentHidden = await isHidden(storm, shopOfPayments(storm), await callByPayment(storm));
  return [
    ...tell('paid-and-hidden', isByKeyHidden ? ['a call by key'] : [], (what) => what),
    ...tell('paid-and-hidden', isByPaymentHidden ? ['a call by payment'] : [], (what) => what),
  ];
}

const shopOfKeys = ({ shops }: Storm) => shops.good[0]?.name;
const shopOfPayments = ({ shops }: Storm) => [...shops.paid.values()][0]?.good.name;

/** Asks again, and answers whether it was told the same; undefined where nothing was bought. */
type AskAgain = (() => Promise<boolean>) | undefined;

async function isHidden({ world }: Storm, server: string | undefined, ask: AskAgain): Promise<boolean> {
  if (!ask || server === undefined) return false;
  const { sql } = world.postgres;
  await sql`UPDATE catalog_server SET paused_at = now(), pause_reason = 'for a while' WHERE name = ${server}`;
  await sleep(NOTICED_MS);
  const isSame = await ask();
  await sql`UPDATE catalog_server SET paused_at = NULL, pause_reason = NULL WHERE name = ${server}`;
  await sleep(NOTICED_MS);
  return !isSame;
}

async function callByKey(storm: Storm): Promise<AskAgain> {
  const account = storm.model.accounts.find(({ plan }) => plan.isRich);
  if (!account) return undefined;
  const label = 'a call of a tool that is paused then';
  const plain = planPlainCall({ at: 0, label, account: account.plan.index, child: undefined, gateway: 0 });
  await makeCall(storm, { ...plain, tool: 'moody', mood: 'unique', idempotencyKey: label });
  const call = storm.model.calls.get(label);
  if (call?.verdicts.at(-1)?.kind !== 'charged') return undefined;
  return async () => {
    await askAgain(storm, call, storm.world.options.gateways - 1);
    return call.verdicts.at(-1)?.kind === 'charged';
  };
}

async function callByPayment(storm: Storm): Promise<AskAgain> {
  const [wallet] = walletsOf(storm, ['evm']);
  const attempt =
    wallet && (await payAtRest(storm, wallet, { label: 'a payment for a tool that is paused then' }));
  if (!attempt) return undefined;
  const plan = { patienceMs: PATIENCE_MS };
  await sendPayment(storm, attempt, { place: 0, plan });
  if (attempt.answers.at(-1)?.status !== 200) return undefined;
  return async () => {
    await sendPayment(storm, attempt, { place: storm.world.options.gateways - 1, plan });
    return attempt.answers.at(-1)?.status === 200;
  };
}
