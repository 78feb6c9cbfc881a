import { randomUUID } from 'node:crypto';
import { type Clock, systemClock } from '../../core/clock.ts';
import { type Budget, createBudget, type Limits } from './budget.ts';
import { callWithKey, keyHeader } from './call-with-key.ts';
import { type DeliverDeps, deliver } from './deliver.ts';
import { PaymentUnknownError } from './errors.ts';
import { createLogicalCalls, type LogicalCall, type Payment } from './logical-calls.ts';
import { type PayDeps, pay } from './pay.ts';
import type { Payable, Payer, RailName } from './payer.ts';
import { assertAllowed, type Outgoing, readOutgoing, send } from './send.ts';
import { settle } from './settle.ts';
import { createSpendLog, type Spend, type Spending } from './spending.ts';

export type PayingFetchOptions = {
  /** The rails that may pay; without `prefer`, in this order. */
  payers?: readonly Payer[];
  prefer?: readonly RailName[];
  /** In millicents ($1 = 100,000). */
  limits: Limits & {
    /** What a call by key takes from the budget until its price is known; `perCall` if absent. */
    keyCall?: bigint;
  };
  /** Requests go to these hosts and no other; with a port where it is not the scheme's own. */
  allowedHosts: readonly string[];
  /** A bearer key, used before any rail. */
  key?: string;
  /** One, and only one: a logical call is never paid twice. */
  maxPaymentAttempts?: 1;
  /** How long one request may take, a payment may take to be made, and a paid call may take in all. */
  attemptTimeoutMs?: number;
  payTimeoutMs?: number;
  deadlineMs?: number;
  fetch?: typeof globalThis.fetch;
  clock?: Clock;
};

export type PayingInit = RequestInit & {
  /** Names the logical call: every try of it sends the same payment. The header of that name does the same. */
  idempotencyKey?: string;
};

/** A response, with what it cost when something was paid or tried. */
export type PaidResponse = Response & { payment?: Spend };

export type PayingFetch = {
  /** Like `fetch`, and pays a 402 by a configured rail, within the limits, once. */
  fetch(input: string | URL | Request, init?: PayingInit): Promise<PaidResponse>;
  spending(): Spending;
};

/** How often one credential is sent at most; the deadline usually ends it sooner. */
const ATTEMPTS_MAX = 100;
const CALLS_REMEMBERED_MAX = 10_000;

type ClientDeps = DeliverDeps & PayDeps & { key: string | undefined; keyCall: bigint; dollars: Budget };

/**
 * A fetch that pays, and never more than once for one logical call: after a credential was sent, the same one
 * is sent again until the outcome is known, and a fresh challenge is handed to the caller instead of paid.
 */
export function createPayingFetch(options: PayingFetchOptions): PayingFetch {
  const deps = createClientDeps(options);
  const calls = createLogicalCalls(CALLS_REMEMBERED_MAX);
  return {
    async fetch(input, init = {}) {
      const { idempotencyKey: given, ...rest } = init;
      const outgoing = await readOutgoing(input, rest);
      assertAllowed(deps, outgoing.url);
      const named = given ?? outgoing.headers.get('idempotency-key') ?? undefined;
      if (named !== undefined) outgoing.headers.set('idempotency-key', named);
      const name = { idempotencyKey: named ?? randomUUID(), isGiven: named !== undefined };
      return calls.run(name, outgoing, (call) => answer(deps, call, outgoing));
    },
    spending: () => deps.log.report(),
  };
}

function createClientDeps(options: PayingFetchOptions): ClientDeps {
  const { limits, allowedHosts, payers = [], prefer = [], clock = systemClock, key } = options;
  if ((options.maxPaymentAttempts ?? 1) !== 1) throw new RangeError('maxPaymentAttempts can only be 1');
  const dollars = createBudget({ limits, unit: 'mcents', clock });
  const satLimits = payers.find((payer) => payer.satLimits)?.satLimits ?? { perCall: 0n };
  const sats = createBudget({ limits: satLimits, unit: 'sat', clock });
  const hosts = new Set(allowedHosts.map((host) => host.toLowerCase()));
  return {
    ...{ payers, prefer, clock, key, dollars, keyCall: limits.keyCall ?? limits.perCall },
    budgetOf: (payable: Payable) => (payable.mcents === undefined ? sats : dollars),
    log: createSpendLog(),
    fetch: options.fetch ?? globalThis.fetch,
    isAllowed: (url) => hosts.has(url.host),
    attemptsMax: ATTEMPTS_MAX,
    attemptTimeoutMs: options.attemptTimeoutMs ?? 60_000,
    payTimeoutMs: options.payTimeoutMs ?? 60_000,
    deadlineMs: options.deadlineMs ?? 120_000,
  };
}

/** One try of a logical call. */
async function answer(deps: ClientDeps, call: LogicalCall, outgoing: Outgoing): Promise<PaidResponse> {
  if (call.payment) return deliverPayment(deps, call.payment, outgoing);
  const first =
    deps.key === undefined
      ? await send(deps, outgoing, { headers: [], isPaid: false })
      : await callWithKey(deps, deps.key, call, outgoing);
  if (first.response.status !== 402) return first.response;
  const payment = await pay(deps, call, first).catch(async (cause: unknown) => {
    await first.response.body?.cancel();
    throw cause;
  });
  if (!payment) return first.response;
  await first.response.body?.cancel();
  return deliverPayment(deps, payment, outgoing);
}

/** Shows what was paid, or asks about it when the payer could not tell. */
async function deliverPayment(deps: ClientDeps, payment: Payment, outgoing: Outgoing): Promise<PaidResponse> {
  const { spend, header, question, target } = payment;
  const shown = header ?? question;
  if (!shown) throw new PaymentUnknownError('the payer failed while it paid', spend, payment.cause);
  const headers: [string, string][] = [[shown.name, shown.value]];
  if (deps.key !== undefined) {
    // The credential pays and the key authorises; where the first needs the header, the second moves.
    const isTaken = shown.name.toLowerCase() === 'authorization';
    headers.push(isTaken ? ['X-Api-Key', deps.key] : keyHeader(deps.key, outgoing));
  }
  const request = { ...outgoing, ...target, body: target.hasBody ? outgoing.body : undefined };
  const delivery = await deliver(deps, request, { headers, isPaid: true });
  // A new challenge is no answer to the question: the wallet may still be paying the old one.
  const isUnanswered = !header && delivery.answer?.response.status === 402;
  settle(payment, isUnanswered ? { kind: 'unclear' } : delivery.verdict);
  if (!delivery.answer) {
    throw new PaymentUnknownError(`${target.url.host} gave no answer to the payment`, spend, delivery.cause);
  }
  if (!header && spend.state === 'unknown') {
    throw new PaymentUnknownError('the wallet did not confirm the payment', spend, payment.cause);
  }
  return Object.assign(delivery.answer.response, { payment: { ...spend } });
}
