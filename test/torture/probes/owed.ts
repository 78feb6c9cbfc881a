import { withHeaders } from '../../e2e/fault-lab.ts';
import { readAnswer } from '../../e2e/fixtures.ts';
import type { Payer } from '../../e2e/rail-faults/payers.ts';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import type { TestGateway } from '../../harness/gateway.ts';
import { hashOfAttempt } from '../audit/rails.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';
import { signAgain } from './sign-again.ts';

/** How many payers sign again. */
const SIGNED_MAX = 12;

type Owed = { claim: string; attempt: Attempt; payer: Payer };

/**
 * Who signs again for a call that was delivered, and whose answer it never had, is given that one and pays for it
 * once (MONEY.md, rule 4).
 */
export async function auditOwed(storm: Storm, auditor: TestGateway): Promise<Violation[]> {
  const owed = (await findOwed(storm)).slice(0, SIGNED_MAX);
  const wrong: string[] = [];
  const strange: string[] = [];
  for (const { claim, attempt, payer } of owed) {
    if (await isGivenTo(storm, { claim, attempt, auditor }))
      strange.push(`${attempt.label}, ${attempt.rail?.name}: ${claim}`);
    const { status, body, isRepeated } = await signAgain(attempt, payer, [auditor.url, auditor.url]);
    if (status !== 200 || body.receipt_id !== claim || !isRepeated)
      wrong.push(
        `${attempt.label}, ${attempt.rail?.name}: owed ${claim}, told ${status} ${body.receipt_id}, ${isRepeated ? '' : 'and something else when repeated'}`,
      );
  }
  storm.counts.add('calls signed for again, as their answers were lost', owed.length);
  return [
    ...tell('paid-again', wrong, (said) => said),
    ...tell('answered-stranger', strange, (said) => `${said}, by who paid for the same`),
  ];
}

/** Whether another payer who asks and pays for the very same is given what this one is owed, and not a call of its own. */
async function isGivenTo(
  storm: Storm,
  { claim, attempt, auditor }: { claim: string; attempt: Attempt; auditor: TestGateway },
): Promise<boolean> {
  const other = storm.wallets.find(
    ({ railCase, payer }) =>
      railCase === attempt.rail && payer.credit && payer.credit.payer !== attempt.payer,
  );
  if (!other) return false;
  const unpaid = await auditor.fetch(attempt.path, attempt.request);
  const paid = withHeaders(attempt.request, await other.payer.pay(unpaid));
  const response = await auditor.fetch(attempt.path, paid);
  const body = await readAnswer(response);
  const answers = [{ status: response.status, body }];
  const { payer } = other.payer.credit ?? {};
  storm.attempts.push({ ...attempt, label: `${attempt.label} by another`, paid, payer, answers });
  return body.receipt_id === claim;
}

async function findOwed({ world, wallets, attempts }: Storm): Promise<Owed[]> {
  const rows = await world.postgres.sql<{ id: string; payer: string; request: string }[]>`
    SELECT id, payer, context ->> 'requestHash' AS request FROM payment_claim
    WHERE rail IN ('evm', 'tempo') AND purpose = 'call' AND state = 'delivered' AND answer_state = 'lost'`;
  return attempts.flatMap((attempt) => {
    const wallet = wallets.find(({ payer }) => payer.credit && payer.credit.payer === attempt.payer);
    // What is pushed has moved before we see it: it buys what it was sent for.
    if (attempt.purpose !== 'call' || !wallet || attempt.rail?.name === 'tempo push') return [];
    const request = hashOfAttempt(attempt);
    const row = rows.find((each) => each.request === request && each.payer === attempt.payer);
    return row ? [{ claim: row.id, attempt, payer: wallet.payer }] : [];
  });
}
