import { decodePaymentRequiredHeader } from '@x402/core/http';
import { withHeaders } from '../../e2e/fault-lab.ts';
import { readAnswer } from '../../e2e/fixtures.ts';
import type { Ending } from '../../e2e/rail-faults/storm/audit.ts';
import type { TestGateway } from '../../harness/gateway.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';

/** How many payments are copied. */
const COPIED_MAX = 24;
const PAYMENT_HEADER = 'payment-signature';

/**
 * What pays on a chain is there for all to see. Whoever copies it and shows it with a challenge of its own is told
 * that it was used, and is given neither the answer that it bought, nor the key, nor the way to the money it left.
 */
export async function auditStrangers(
  storm: Storm,
  { auditor, endings }: { auditor: TestGateway; endings: readonly Ending[] },
): Promise<Violation[]> {
  const copied = endings
    .filter(({ attempt, status, body }) => {
      const isOnChain = attempt.rail?.rail === 'evm' && attempt.purpose !== 'topup';
      return isOnChain && (status === 200 || body?.refund_key !== undefined);
    })
    .slice(0, COPIED_MAX);
  const wrong: string[] = [];
  for (const { attempt } of copied) {
    const headers = await copyPayment(auditor, attempt);
    if (!headers) continue;
    const response = await auditor.fetch(attempt.path, withHeaders(attempt.request, headers));
    const body = (await readAnswer(response)) as Awaited<ReturnType<typeof readAnswer>> & { key?: string };
    const isGiven = body.refund_key !== undefined || body.key !== undefined;
    if (response.status === 200 || isGiven) {
      wrong.push(`${attempt.label}, ${attempt.rail?.name} ${attempt.purpose}: ${response.status}`);
    }
  }
  storm.counts.add('payments copied from their chain', copied.length);
  return tell('answered-stranger', wrong, (said) => said);
}

/** The payment of this attempt, as it stands on its chain, behind a challenge that was asked for anew. */
async function copyPayment(
  auditor: TestGateway,
  attempt: Ending['attempt'],
): Promise<Record<string, string> | undefined> {
  const unpaid = await auditor.fetch(attempt.path, attempt.request);
  const challenge = unpaid.headers.get('payment-required');
  const sent = new Headers(attempt.paid?.headers).get(PAYMENT_HEADER);
  if (!challenge || !sent) return undefined;
  const payment = JSON.parse(Buffer.from(sent, 'base64').toString()) as Record<string, unknown>;
  const { extensions } = decodePaymentRequiredHeader(challenge);
  return { [PAYMENT_HEADER]: Buffer.from(JSON.stringify({ ...payment, extensions })).toString('base64') };
}
