import { setTimeout as sleep } from 'node:timers/promises';
import { withHeaders } from '../../e2e/fault-lab.ts';
import { type Answer, createAgent, jsonBody } from '../../e2e/fixtures.ts';
import {
  DEAR,
  l402,
  ownCredit,
  type Payer,
  RAIL_CASES,
  type RailCase,
  readInvoice,
} from '../../e2e/rail-faults/payers.ts';
import { type Attempt, unitsOf } from '../../e2e/rail-faults/storm/clients.ts';
import { broadcastForeign } from '../../e2e/third-party.ts';
import type { RailLab } from '../../harness/rail-lab.ts';
import type { PayPlan } from '../plan/plan.ts';
import type { Storm } from '../storm.ts';

/** Somebody who pays on a rail, again and again. */
export type Wallet = { railCase: RailCase; payer: Payer };

/** What is dear on a chain is settled before it runs, and so comes back as credit where it fails. */
export const EVM: RailCase = {
  ...RAIL_CASES.evm,
  async createPayer(lab) {
    const agent = await createAgent(lab.anvil, PURSE_DOLLARS);
    return { pay: (response) => agent.sign(response), credit: ownCredit(lab.anvil, agent.account) };
  },
};
const DEAR_EVM: RailCase = { ...EVM, name: 'evm before', price: DEAR, units: 600_000n };
const PURSE_DOLLARS = 10_000;

const WALLETS_OF_A_KIND = 3;

/** One after the other: a development chain mints from one account. */
export async function openWallets(lab: RailLab): Promise<Wallet[]> {
  const wallets: Wallet[] = [];
  const cases: RailCase[] = [...Object.values({ ...RAIL_CASES, evm: EVM }), DEAR_EVM];
  for (const railCase of cases) {
    // One of these pays for as many as there are others of a kind.
    const isShared = railCase.rail === 'lightning' || railCase.rail === 'stripe';
    let payer = await railCase.createPayer(lab);
    for (let index = 0; index < WALLETS_OF_A_KIND; index += 1) {
      if (index > 0 && !isShared) payer = await railCase.createPayer(lab);
      wallets.push({ railCase, payer });
    }
  }
  return wallets;
}

/** A key for a signup; the same for a top-up, where a card can pay it. */
const SIGNUP_MCENTS = 10_000;
const TOP_UP_MCENTS = 20_000;
const CENT_MCENTS = 1_000;
const CHALLENGE_MS = 8_000;

/** Asks for a challenge, pays it, and sends the payment as often and to whom the plan says. */
export async function makePayment(storm: Storm, plan: PayPlan): Promise<void> {
  const wallet = storm.wallets[plan.wallet % storm.wallets.length];
  if (!wallet) return;
  try {
    const attempt = await openAttempt(storm, plan, wallet);
    if (!attempt) return;
    storm.attempts.push(attempt);
    if (plan.isBroadcast) broadcast(storm, attempt);
    if (attempt.paying) await Promise.race([attempt.paying, sleep(CHALLENGE_MS, undefined, { ref: false })]);
    for (let round = 0; round < plan.rounds && attempt.paid; round += 1) {
      await Promise.all(plan.gateways.map((place) => sendPayment(storm, attempt, { place, plan })));
    }
  } catch {
    // A gateway or a rail was down before anything was paid.
    storm.counts.add(`payments not made: ${wallet.railCase.name}, something was down`);
  }
}

/** An attempt with its payment made, or under way; undefined where there is nothing to pay. */
export async function openAttempt(
  storm: Storm,
  plan: PayPlan,
  { railCase, payer }: Wallet,
): Promise<Attempt | undefined> {
  const { label } = plan;
  const account = storm.model.accounts[plan.account];
  const isCard = railCase.rail === 'stripe';
  const purpose = isCard && plan.purpose === 'signup' ? 'topup' : plan.purpose;
  const key = purpose === 'topup' ? account?.key.text : undefined;
  const price = priceOf({ ...plan, purpose }, railCase);
  const what = whatToAsk(storm, { ...plan, purpose }, { price, key });
  if (!what) return undefined;
  const gateway = storm.world.fleet.near(plan.gateways[0] ?? 0);
  if (!gateway) return undefined;
  const signal = AbortSignal.timeout(CHALLENGE_MS);
  const unpaid = await fetch(gateway.url + what.path, { ...what.request, signal });
  if (unpaid.status !== 402) {
    storm.counts.add(`payments not made: ${railCase.name}, ${unpaid.status} and no challenge`);
    return undefined;
  }
  const attempt: Attempt = {
    ...{ label, purpose, rail: railCase, price, units: unitsOf(railCase, price), key, answers: [] },
    ...{ path: what.path, request: what.request, paid: undefined, paying: undefined },
    payer: payer.credit?.payer,
  };
  if (railCase.rail !== 'lightning') {
    attempt.paid = withHeaders(what.request, await payer.pay(unpaid));
    return attempt;
  }
  const { macaroon, invoice } = readInvoice(unpaid);
  attempt.paying = storm.world.lab.lightning.pay(invoice).then((paid) => {
    attempt.paid = withHeaders(what.request, l402(macaroon, 'preimage' in paid ? paid.preimage : ''));
  });
  return attempt;
}

/** What is signed for our address anybody may send: we may find it there before, while, or after we run the call. */
function broadcast({ world, broadcasts, counts }: Storm, attempt: Attempt): void {
  if (attempt.rail?.rail !== 'evm' || !attempt.paid) return;
  const credential = attempt.paid.headers as Record<string, string>;
  const sent = broadcastForeign(world.lab.anvil, credential).then(
    () => counts.add('payments that somebody else brought to their chain'),
    () => counts.add('payments that somebody else could not bring to their chain'),
  );
  broadcasts.set(attempt, sent);
}

/** No two fill one key with the same amount: a payer who signs the same again is answered what it paid for before. */
function priceOf({ purpose, extra }: PayPlan, { rail, price }: RailCase): number {
  if (purpose === 'call') return price;
  if (purpose === 'signup') return SIGNUP_MCENTS;
  return (rail === 'stripe' ? DEAR : TOP_UP_MCENTS) + extra * CENT_MCENTS;
}

type Asking = { path: string; request: RequestInit };

function whatToAsk(
  { shops }: Storm,
  plan: PayPlan,
  { price, key }: { price: number; key: string | undefined },
): Asking | undefined {
  if (plan.purpose === 'signup') return { path: '/v1/signup', request: jsonBody({ label: plan.label }) };
  if (plan.purpose === 'topup') {
    return { path: '/v1/topup', request: jsonBody({ amount_mcents: price }, { 'x-api-key': key ?? '' }) };
  }
  const kind = shops.paid.get(price);
  const shop = plan.fails ? kind?.bad[plan.account % kind.bad.length] : kind?.good;
  if (!shop) return undefined;
  const given = { label: plan.label, mood: plan.fails ? 'error' : 'unique', ms: plan.runMs };
  return { path: shop.path, request: jsonBody({ tool: 'ask', arguments: given }) };
}

/** Sends a payment to a gateway and notes what it answers, if it is waited for. */
export async function sendPayment(
  storm: Storm,
  attempt: Attempt,
  { place, plan }: { place: number; plan: Pick<PayPlan, 'patienceMs'> },
): Promise<void> {
  const gateway = storm.world.fleet.near(place);
  if (!gateway) return;
  const rail = attempt.rail?.name ?? '';
  try {
    const signal = AbortSignal.timeout(plan.patienceMs);
    const response = await fetch(gateway.url + attempt.path, { ...attempt.paid, signal });
    attempt.answers.push({ status: response.status, body: (await response.json()) as Answer });
    storm.counts.add(`answers to payments: ${rail} ${attempt.purpose} ${response.status}`);
  } catch {
    storm.counts.add(`answers to payments: ${rail} ${attempt.purpose} unknown`);
  }
}
