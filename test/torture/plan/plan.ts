import { createRandom, type Random } from '../../e2e/rail-faults/storm/random.ts';
import type { StormOptions } from '../options.ts';
import { type AccountPlan, isWithin, planAccounts } from './accounts.ts';
import { planCall, planPlainCall } from './calls.ts';
import { type FaultPlan, planFaults } from './faults.ts';
import { planPayment } from './payments.ts';

/** What a caller does with a key, and to which gateways it sends it. */
export type CallPlan = {
  kind: 'call';
  at: number;
  label: string;
  account: number;
  /** The child of the account whose key it is; the account's first key when left out. */
  child: number | undefined;
  tool: 'example' | 'moody';
  /** Which of the servers of its kind. */
  shop: number;
  mood: Mood;
  runMs: number;
  /** What everybody calls its first request, its second and so on: no two of one key's calls, and many of others'. */
  idempotencyKey: string | undefined;
  /** One request for each of these gateways, all at once. */
  gateways: readonly number[];
  /** How long each of them is waited for; a short one leaves before the answer. */
  patienceMs: number;
  /** With the secret that the last rotation replaced. */
  usesFormerSecret: boolean;
};

export type Mood = 'well' | 'unique' | 'error' | 'breach' | 'text' | 'hang' | 'crash';

/** The owner changes a child's key, while calls of it are under way. */
export type KeyPlan = {
  kind: 'revoke' | 'rotate';
  at: number;
  account: number;
  child: number;
  gateway: number;
  /**
   * Calls of a key that is revoked, of one below it, and of the account's first one, which go into one batch: at every
   * gateway right before that, and right after it was answered.
   */
  before: readonly CallPlan[];
  after: readonly CallPlan[];
};

/** Somebody pays on a rail for a call, for a key, or to fill one. */
export type PayPlan = {
  kind: 'pay';
  at: number;
  label: string;
  /** Which wallet, of all the storm has. */
  wallet: number;
  purpose: 'call' | 'signup' | 'topup';
  /** The account whose key is filled, and by how many cents more than the others. */
  account: number;
  extra: number;
  /** The tool delivers nothing: then the payment comes back, or is credit. */
  fails: boolean;
  /** How long it runs. */
  runMs: number;
  /** Somebody else brings it to its chain while it is sent here, where anybody may. */
  isBroadcast: boolean;
  /** Where the challenge comes from, and where the payment goes. */
  gateways: readonly number[];
  /** How often the whole is sent. */
  rounds: number;
  patienceMs: number;
};

export type Deed = CallPlan | KeyPlan | PayPlan;
export type Plan = { accounts: readonly AccountPlan[]; deeds: readonly Deed[]; faults: readonly FaultPlan[] };

/** Key changes: one for so many calls. */
const CALLS_A_KEY_CHANGE = 40;
/** Payments a second, as far as the machine keeps up: each is a challenge, a signature and a settlement. */
const PAYMENTS_A_SECOND = 4;

/** All that is sent and all that breaks, and when: from the options alone. */
export function createPlan(options: StormOptions): Plan {
  const root = createRandom(options.seed);
  const [forAccounts, forCalls, forKeys, forPayments, forFaults] = Array.from({ length: 5 }, () =>
    root.fork(),
  ) as [Random, Random, Random, Random, Random];
  const accounts = planAccounts(options, forAccounts);
  const count = Math.max(1, Math.round(options.seconds * options.rate));
  const stepMs = (options.seconds * 1_000) / count;
  const making = { options, accounts, random: forCalls, asked: new Map<string, number>() };
  const calls = Array.from({ length: count }, (_, index) => planCall(making, { index, at: index * stepMs }));
  const payments = !options.hasRails
    ? []
    : Array.from({ length: Math.round(options.seconds * PAYMENTS_A_SECOND) }, (_, index) =>
        planPayment({ options, accounts, random: forPayments }, index),
      );
  const deeds = [...calls, ...payments, ...planKeyChanges(options, accounts, forKeys)];
  deeds.sort((one, other) => one.at - other.at);
  return { accounts, deeds, faults: planFaults(options, forFaults) };
}

function planKeyChanges(options: StormOptions, accounts: readonly AccountPlan[], random: Random): KeyPlan[] {
  const owners = accounts.filter(({ children }) => children.length > 0);
  const count = Math.round((options.seconds * options.rate) / CALLS_A_KEY_CHANGE);
  return Array.from({ length: count }, (_, index): KeyPlan => {
    const owner = random.pick(owners);
    const kind = random.isTrue(0.5) ? 'revoke' : 'rotate';
    const at = random.between(0, options.seconds * 1_000);
    const account = owner.index;
    const child = random.between(0, owner.children.length - 1);
    const within = owner.children.flatMap((_, each) => (isWithin(owner.children, each, child) ? [each] : []));
    const callers = [undefined, undefined, child, within.at(-1)];
    const around = (when: string) =>
      (kind === 'revoke' ? gatewaysOf(options) : []).flatMap((gateway) =>
        callers.map((caller, number) => {
          const label = `${when} revocation ${index} at ${gateway}, ${number}`;
          return planPlainCall({ account, child: caller, at, gateway, label });
        }),
      );
    const gateway = random.between(0, options.gateways - 1);
    return { kind, at, account, child, gateway, before: around('before'), after: around('after') };
  });
}

const gatewaysOf = ({ gateways }: StormOptions) => Array.from({ length: gateways }, (_, gateway) => gateway);
