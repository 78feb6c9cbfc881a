import type { Clock } from '../../core/clock.ts';
import { timeLimit } from '../../core/time-limit.ts';
import type { Budget } from './budget.ts';
import { InvoiceNotPaidError, PaymentFailedError, type SpendingLimitError } from './errors.ts';
import type { LogicalCall, Payment } from './logical-calls.ts';
import type { Payable, Payer, PaymentHeader, RailName } from './payer.ts';
import type { Outgoing, Sent } from './send.ts';
import type { SpendLog } from './spending.ts';

export type PayDeps = {
  payers: readonly Payer[];
  /** Rails in the order they are tried; those left out come last, as the payers are listed. */
  prefer: readonly RailName[];
  budgetOf(payable: Payable): Budget;
  log: SpendLog;
  clock: Clock;
  payTimeoutMs: number;
};

/**
 * Pays a 402 by the first way that the limits allow: takes the budget, then signs, once. Undefined when no
 * payer can pay it. Throws a `SpendingLimitError` before anything is signed when every way costs too much.
 */
export async function pay(deps: PayDeps, call: LogicalCall, challenge: Sent): Promise<Payment | undefined> {
  const { request, response } = challenge;
  const challenged = { url: request.url.href, headers: response.headers, now: deps.clock.now() };
  const ways = (await Promise.all(inOrder(deps).map((payer) => payer.list(challenged)))).flat();
  request.signal.throwIfAborted();
  // From here to the reservation nothing waits: the limits that allow a payment are the ones it takes from.
  const payable = choose(deps, ways);
  if (!payable) return undefined;
  const payment = reserve(deps, call, request, payable);
  call.payment = payment;
  try {
    payment.header = await sign(deps, payable, request.signal);
  } catch (cause) {
    if (!payable.movesMoney || cause instanceof InvoiceNotPaidError) {
      payment.reservation.release();
      payment.spend.state = 'returned';
      // Nothing was signed that anybody has seen, so the call may be paid another time.
      call.payment = undefined;
      throw new PaymentFailedError(`the ${payable.rail} payer could not pay, and did not`, { cause });
    }
    // The wallet may have paid, or still do so: only the server can tell what became of it.
    payment.spend.state = 'unknown';
    payment.cause = cause;
  }
  return payment;
}

function choose(deps: PayDeps, ways: readonly Payable[]): Payable | undefined {
  let refusal: SpendingLimitError | undefined;
  for (const way of ways) {
    const broken = deps.budgetOf(way).judge(way.mcents ?? way.units);
    if (!broken) return way;
    refusal ??= broken;
  }
  if (refusal) throw refusal;
  return undefined;
}

function inOrder({ payers, prefer }: PayDeps): Payer[] {
  const rank = ({ rail }: Payer) => {
    const index = prefer.indexOf(rail);
    return index < 0 ? prefer.length : index;
  };
  return [...payers].sort((one, other) => rank(one) - rank(other));
}

function reserve(deps: PayDeps, call: LogicalCall, request: Outgoing, payable: Payable): Payment {
  const { rail, units, unit, mcents, reference, movesMoney, question } = payable;
  const amount = mcents ?? units;
  const reservation = deps.budgetOf(payable).reserve(amount);
  const payment: Payment = {
    ...{ header: undefined, cause: undefined, question, movesMoney, amount, reservation },
    target: { url: request.url, method: request.method, hasBody: request.body !== undefined },
    spend: {
      ...{ idempotencyKey: call.idempotencyKey, url: request.url.href, rail, state: 'pending' },
      ...{ units, unit, mcents, reference, receiptId: undefined, receipt: undefined },
      startedAt: deps.clock.now(),
    },
  };
  deps.log.add(payment.spend);
  return payment;
}

/** Bounded even when the payer does not heed its signal. */
async function sign(deps: PayDeps, payable: Payable, caller: AbortSignal): Promise<PaymentHeader> {
  const signal = timeLimit(caller, deps.payTimeoutMs);
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  return Promise.race([payable.pay(signal), aborted]);
}
