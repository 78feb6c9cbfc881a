import { withHeaders } from '../../e2e/fault-lab.ts';
import { type Answer, readAnswer } from '../../e2e/fixtures.ts';
import type { Payer } from '../../e2e/rail-faults/payers.ts';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import { isSame } from '../audit/rails.ts';

export type SignedAgain = {
  paid: RequestInit;
  status: number;
  body: Answer;
  /** The very same payment, sent once more, was answered the same. */
  isRepeated: boolean;
};

/** Makes a new payment for the same request and sends it twice, to one gateway after the other. */
export async function signAgain(
  { path, request }: Attempt,
  payer: Payer,
  [first, second]: readonly [string, string],
): Promise<SignedAgain> {
  const headers = await payer.pay(await fetch(first + path, request));
  const paid = withHeaders(request, headers);
  const response = await fetch(first + path, paid);
  const body = await readAnswer(response);
  const repeated = await fetch(second + path, paid);
  const isRepeated = repeated.status === response.status && isSame(body, await readAnswer(repeated));
  return { paid, status: response.status, body, isRepeated };
}

/** As one of those whose payments are summed up. */
export function toAttempt(attempt: Attempt, { paid, status, body }: SignedAgain): Attempt {
  return { ...attempt, label: `${attempt.label}, again`, paid, answers: [{ status, body }] };
}
