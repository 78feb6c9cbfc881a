import { setTimeout as sleep } from 'node:timers/promises';
import type { GatewayClient } from '../../../harness/gateway.ts';
import type { RailLab } from '../../../harness/rail-lab.ts';
import { withHeaders } from '../../fault-lab.ts';
import { type Answer, jsonBody, publishEcho } from '../../fixtures.ts';
import { CHEAP, DEAR, l402, type Payer, RAIL_CASES, type RailCase, readInvoice } from '../payers.ts';
import type { Fleet } from './fleet.ts';
import type { Random } from './random.ts';

export type Purpose = 'call' | 'signup' | 'topup';

/** One thing a client wanted, and all it needs to ask for it again: nothing of it is ever signed twice. */
export type Attempt = {
  label: string;
  purpose: Purpose;
  /** Undefined: a bearer key pays, under an Idempotency-Key. */
  rail: RailCase | undefined;
  /** What is charged when it is delivered, and what that is on the rail. */
  price: number;
  units: bigint;
  path: string;
  request: RequestInit;
  /** The request with its payment. Undefined while nobody has paid. */
  paid: RequestInit | undefined;
  /** On Lightning: the payment under way, and then what came of it. */
  paying: Promise<unknown> | undefined;
  /** Every answer that arrived, in order. */
  answers: { status: number; body: Answer }[];
  /** The bearer key that is charged or filled. */
  key: string | undefined;
  /** CAIP-10, where the rail knows payers by an address that signs. */
  payer?: string | undefined;
};

export type Shops = { cheap: string; dear: string; failing: string[]; failingDear: string };

/** Servers that only fail are others than those that deliver: who fails too often is paused. */
export async function openShops(gateway: GatewayClient): Promise<Shops> {
  const publish = async (amount_mcents: number) =>
    (await publishEcho(gateway, { pricing: { model: 'per_call', amount_mcents } })).call;
  return {
    ...{ cheap: await publish(CHEAP), dear: await publish(DEAR), failingDear: await publish(DEAR) },
    failing: [await publish(CHEAP), await publish(CHEAP)],
  };
}

/** Wallets of every kind, which pay more than once. */
export type Wallets = { railCase: RailCase; payer: Payer }[];

export async function openWallets(lab: RailLab): Promise<Wallets> {
  const wallets: Wallets = [];
  for (const railCase of Object.values(RAIL_CASES) as RailCase[]) {
    const count = railCase.rail === 'lightning' || railCase.rail === 'stripe' ? 1 : 3;
    for (let index = 0; index < count; index += 1) {
      wallets.push({ railCase, payer: await railCase.createPayer(lab) });
    }
  }
  return wallets;
}

export type World = {
  lab: RailLab;
  fleet: Fleet;
  shops: Shops;
  wallets: Wallets;
  /** Keys that the operator filled, to pay calls from. */
  keys: string[];
  attempts: Attempt[];
};

const TIMEOUT_MS = 3_500;
/** A key for a signup; the same for a top-up, where a card can pay it. */
const SIGNUP_MCENTS = 10_000;
const TOP_UP_MCENTS = 20_000;

/** Wants one thing after the other until told to stop. */
export async function liveAsClient(world: World, random: Random, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const attempt = await decide(world, random).catch(() => undefined);
    if (!attempt) {
      await sleep(50);
      continue;
    }
    world.attempts.push(attempt);
    await pursue(world, random, attempt, signal);
  }
}

let labels = 0;

async function decide(world: World, random: Random): Promise<Attempt> {
  labels += 1;
  const label = `storm ${labels}`;
  const common = { label, paid: undefined, paying: undefined, answers: [], key: undefined };
  if (random.isTrue(0.04)) return wantByKey(world, random, common);
  const { railCase, payer } = random.pick(world.wallets);
  const wish = random.next();
  if (wish < 0.1 && railCase.rail !== 'stripe') {
    const units = unitsOf(railCase, SIGNUP_MCENTS);
    const what = { purpose: 'signup' as const, path: '/v1/signup', request: jsonBody({ label }) };
    return payLater(world, random, payer, {
      ...common,
      ...what,
      rail: railCase,
      price: SIGNUP_MCENTS,
      units,
    });
  }
  if (wish < 0.2) {
    const price = railCase.rail === 'stripe' ? DEAR : TOP_UP_MCENTS;
    const key = await gatewayOf(world, random).mint(0);
    const request = jsonBody({ amount_mcents: price }, { 'x-api-key': key });
    const what = { purpose: 'topup' as const, path: '/v1/topup', request, key, price };
    return payLater(world, random, payer, {
      ...common,
      ...what,
      rail: railCase,
      units: unitsOf(railCase, price),
    });
  }
  const isDear = railCase.price === DEAR;
  const { shops } = world;
  const [tool, path] = random.isTrue(0.25)
    ? ['fail', isDear ? shops.failingDear : random.pick(shops.failing)]
    : [random.pick(['random', 'random', 'sleep']), isDear ? shops.dear : shops.cheap];
  const request = jsonBody({ tool, arguments: { label, seconds: random.between(1, 8) / 10 } });
  const what = { purpose: 'call' as const, path, request, price: railCase.price, units: railCase.units };
  return payLater(world, random, payer, { ...common, ...what, rail: railCase });
}

async function wantByKey(
  world: World,
  random: Random,
  common: Pick<Attempt, 'label' | 'paying' | 'answers'>,
): Promise<Attempt> {
  const { label } = common;
  const key = random.pick(world.keys);
  const tool = random.pick(['random', 'sleep', 'fail']);
  const path = tool === 'fail' ? random.pick(world.shops.failing) : world.shops.cheap;
  const headers = { authorization: `Bearer ${key}`, 'idempotency-key': label };
  const request = jsonBody({ tool, arguments: { label, seconds: 0.3 } }, headers);
  return {
    ...{ ...common, key, path, request, paid: request, rail: undefined },
    ...{ purpose: 'call', price: CHEAP, units: 0n },
  };
}

/** Asks for the challenge and makes the payment; on Lightning it is under way from here. */
async function payLater(world: World, random: Random, payer: Payer, attempt: Attempt): Promise<Attempt> {
  const { path, request, rail } = attempt;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const unpaid = await gatewayOf(world, random).fetch(path, { ...request, signal });
  if (unpaid.status !== 402) throw new Error(`no challenge in ${unpaid.status}`);
  if (rail?.rail !== 'lightning') {
    return { ...attempt, paid: withHeaders(request, await payer.pay(unpaid)) };
  }
  const { macaroon, invoice } = readInvoice(unpaid);
  const paying = world.lab.lightning.pay(invoice).then((paid) => {
    const proof = 'preimage' in paid ? paid.preimage : '';
    attempt.paid = withHeaders(request, l402(macaroon, proof));
  });
  attempt.paying = paying;
  return attempt;
}

/** What an amount is on a rail, in its own units. */
export function unitsOf({ rail }: RailCase, mcents: number): bigint {
  const amount = BigInt(mcents);
  switch (rail) {
    case 'evm':
    case 'tempo':
      return amount * 10n;
    case 'lightning':
      // A satoshi is 100 mcents, one percent on top, and whole satoshis.
      return ((amount * 101n + 9_999n) / 10_000n) * 1_000n;
    case 'stripe':
      return amount / 1_000n;
    default:
      return rail satisfies never;
  }
}

/** Sends it: often more than once, to either gateway, and now and then without waiting for the answer. */
async function pursue(world: World, random: Random, attempt: Attempt, signal: AbortSignal): Promise<void> {
  if (attempt.paying) {
    const wait = sleep(TIMEOUT_MS, 'late', { ref: false });
    if ((await Promise.race([attempt.paying, wait])) === 'late') return;
  }
  const copies = random.isTrue(0.3) ? random.between(2, 4) : 1;
  const tries = random.between(1, 3);
  for (let round = 0; round < tries && !signal.aborted; round += 1) {
    const isHasty = random.isTrue(0.15);
    const timeoutMs = isHasty ? random.between(5, 150) : TIMEOUT_MS;
    await Promise.all(Array.from({ length: copies }, () => send(world, random, attempt, timeoutMs)));
    if (!isHasty && attempt.answers.at(-1)?.status === 200 && random.isTrue(0.7)) return;
  }
}

async function send(world: World, random: Random, attempt: Attempt, timeoutMs: number): Promise<void> {
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const response = await gatewayOf(world, random).fetch(attempt.path, { ...attempt.paid, signal });
    attempt.answers.push({ status: response.status, body: (await response.json()) as Answer });
  } catch {
    // The gateway was killed, is not there, or was not waited for: the next try tells.
    await sleep(20);
  }
}

function gatewayOf({ fleet }: World, random: Random): GatewayClient {
  const [first, second] = random.isTrue(0.5) ? ([0, 1] as const) : ([1, 0] as const);
  const gateway = fleet.at(first) ?? fleet.at(second);
  if (!gateway) throw new Error('every gateway is down');
  return gateway;
}
