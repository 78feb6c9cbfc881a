import { noteAnswer, paymentHeaders } from '../gateway/index.ts';
import type { Claim } from '../payments/index.ts';
import type { Ctx, HttpDeps } from './env.ts';
import { carriedBy } from './payment.ts';

/** A JSON answer to who paid with a credential: with the wires' receipts, and watched until it is delivered. */
export function answerPaid(deps: HttpDeps, c: Ctx, claim: Claim, body: Record<string, unknown>): Response {
  announcePayment(deps, c, claim);
  return c.json(body);
}

/** What the answer to who paid with a credential carries besides its body. */
export function announcePayment(deps: HttpDeps, c: Ctx, claim: Claim): void {
  watchDelivery(deps, c, claim);
  for (const [name, value] of paymentHeaders(deps, claim, carriedBy(deps, c)))
    c.header(name, value, { append: true });
}

/** An answer that never left is owed: the payer's next try gets it without paying again. */
export function watchDelivery(deps: HttpDeps, c: Ctx, claim: Claim): void {
  const outgoing = c.env?.outgoing;
  const note = (isDelivered: boolean) =>
    void noteAnswer(deps, claim.askedBy, isDelivered ? 'answered' : 'lost');
  if (!outgoing) note(true);
  else if (!outgoing.destroyed) outgoing.once('close', () => note(outgoing.writableFinished));
  else note(false);
}

/** Aborts when the client is gone before it was answered. */
export function clientSignal(c: Pick<Ctx, 'env'>): AbortSignal {
  const controller = new AbortController();
  const outgoing = c.env?.outgoing;
  if (outgoing?.destroyed) controller.abort();
  outgoing?.once('close', () => {
    if (!outgoing.writableFinished) controller.abort();
  });
  return controller.signal;
}
