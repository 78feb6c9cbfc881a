import type { Budget } from './budget.ts';
import { type DeliverDeps, deliver } from './deliver.ts';
import { PaymentUnknownError, RequestRefusedError } from './errors.ts';
import type { LogicalCall } from './logical-calls.ts';
import type { PayDeps } from './pay.ts';
import type { Outgoing, Sent } from './send.ts';
import type { Spend, SpendLog } from './spending.ts';

type KeyDeps = DeliverDeps & Pick<PayDeps, 'clock'> & { log: SpendLog; dollars: Budget; keyCall: bigint };

/**
 * A call that a bearer key pays. Its price is the server's to say, so `keyCall` is taken from the budget until
 * the answer says what was charged. With its idempotency key it is sent again like a credential.
 */
export async function callWithKey(
  deps: KeyDeps,
  key: string,
  call: LogicalCall,
  outgoing: Outgoing,
): Promise<Sent> {
  const byKey = call.byKey ?? open(deps, call, outgoing);
  call.byKey = byKey;
  const headers: [string, string][] = [['Idempotency-Key', call.idempotencyKey], keyHeader(key, outgoing)];
  const delivery = await deliver(deps, outgoing, { headers, isPaid: false });
  const { verdict, answer } = delivery;
  const { spend, reservation } = byKey;
  if (verdict.kind === 'delivered') {
    const { chargedMcents = 0n, receipts } = verdict;
    Object.assign(spend, { ...receipts, ...priced(chargedMcents) });
    spend.state = chargedMcents > 0n ? 'spent' : 'returned';
    reservation.settle(chargedMcents);
  } else if (isUnknown(verdict.kind, answer?.response.status)) {
    const isRefused = !answer && delivery.cause instanceof RequestRefusedError;
    if (isRefused) reservation.release();
    spend.state = isRefused ? 'returned' : 'unknown';
  } else {
    reservation.release();
    spend.state = 'returned';
  }
  if (answer) {
    const { response, request } = answer;
    if (spend.state === 'returned') return { response, request };
    return { response: Object.assign(response, { payment: { ...spend } }), request };
  }
  if (spend.state === 'returned') throw delivery.cause;
  throw new PaymentUnknownError(`${outgoing.url.host} gave no answer`, spend, delivery.cause);
}

/** Where the key goes: what the caller wrote into `Authorization` stands. */
export function keyHeader(key: string, { headers }: Pick<Outgoing, 'headers'>): [string, string] {
  return headers.has('authorization') ? ['X-Api-Key', key] : ['Authorization', `Bearer ${key}`];
}

function open(deps: KeyDeps, call: LogicalCall, outgoing: Outgoing) {
  const reservation = deps.dollars.reserve(deps.keyCall);
  const spend: Spend = {
    ...{ idempotencyKey: call.idempotencyKey, url: outgoing.url.href, rail: 'key', state: 'pending' },
    ...{ unit: 'mcents', ...priced(deps.keyCall), startedAt: deps.clock.now() },
    ...{ reference: undefined, receiptId: undefined, receipt: undefined },
  };
  deps.log.add(spend);
  return { reservation, spend };
}

function priced(mcents: bigint): Pick<Spend, 'units' | 'mcents'> {
  return { units: mcents, mcents };
}

/** A refusal charges nothing, whatever it is; no answer, a broken one, or one under way may have. */
function isUnknown(kind: 'free' | 'credited' | 'unclear', status: number | undefined): boolean {
  return kind === 'unclear' && (status === undefined || status >= 500 || status === 409);
}
