import { setTimeout as sleep } from 'node:timers/promises';
import { RequestRefusedError } from './errors.ts';
import { type Answer, isFree, judge, readAnswer, type Verdict } from './outcome.ts';
import { type HeaderPairs, type Outgoing, type SendDeps, send } from './send.ts';

export type DeliverDeps = SendDeps & {
  /** How often one credential is sent at most, and for how long. */
  attemptsMax: number;
  deadlineMs: number;
};

/** How sending a payment ended; without an answer when none ever came. */
export type Delivery =
  | { answer: Answer & { request: Outgoing }; verdict: Exclude<Verdict, { kind: 'again' }> }
  | { answer: undefined; verdict: { kind: 'unclear' }; cause: unknown };

const BACKOFF_MS = 250;
const BACKOFF_MAX_MS = 8_000;

/**
 * Sends the same payment until an answer is final: the credential is the idempotency key, so sending it again
 * costs nothing, while paying anew would. Never throws.
 */
export async function deliver(
  deps: DeliverDeps,
  outgoing: Outgoing,
  extra: { headers: HeaderPairs; isPaid: boolean },
): Promise<Delivery> {
  const deadline = Date.now() + deps.deadlineMs;
  let backoff = BACKOFF_MS;
  for (let attempts = 1; ; attempts += 1) {
    const attempt = await attemptOnce(deps, outgoing, extra);
    if (attempt.kind === 'final') return attempt.delivery;
    const waitMs = attempt.afterSeconds === undefined ? backoff : attempt.afterSeconds * 1_000;
    const isOver = attempts >= deps.attemptsMax || Date.now() + waitMs > deadline;
    if (isOver || !(await pause(waitMs, outgoing.signal))) return attempt.delivery;
    if (attempt.afterSeconds === undefined) backoff = Math.min(backoff * 2, BACKOFF_MAX_MS);
  }
}

/** `delivery` is how it ends if this attempt was the last one. */
type Attempt =
  | { kind: 'final'; delivery: Delivery }
  | { kind: 'again'; afterSeconds: number | undefined; delivery: Delivery };

async function attemptOnce(
  deps: DeliverDeps,
  outgoing: Outgoing,
  extra: { headers: HeaderPairs; isPaid: boolean },
): Promise<Attempt> {
  try {
    const sent = await send(deps, outgoing, extra);
    const answer = { ...(await readAnswer(sent.response)), request: sent.request };
    const verdict = judge(answer);
    if (verdict.kind !== 'again') return { kind: 'final', delivery: { answer, verdict } };
    const last = { kind: isFree(answer) ? 'free' : 'unclear' } as const;
    return { ...verdict, delivery: { answer, verdict: last } };
  } catch (cause) {
    const delivery: Delivery = { answer: undefined, verdict: { kind: 'unclear' }, cause };
    // A redirect will not get better by asking again; a lost connection says nothing about the payment.
    const isFinal = cause instanceof RequestRefusedError || outgoing.signal.aborted;
    return isFinal ? { kind: 'final', delivery } : { kind: 'again', afterSeconds: undefined, delivery };
  }
}

/** Whether the time passed; false when the caller lost patience. */
async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return sleep(ms, true, { signal }).catch(() => false);
}
