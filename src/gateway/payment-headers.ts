import type { Claim } from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';

/**
 * What tells a payer that its payment went through: the headers of the wire that carried it, and a
 * `Payment-Receipt` (base64url JSON with method, reference, status, timestamp) whatever the wire.
 */
export function paymentHeaders(
  deps: Pick<GatewayDeps, 'wires'>,
  claim: Claim,
): [name: string, value: string][] {
  const wire = deps.wires.find(({ name }) => name === claim.wire);
  if (!wire || !claim.rail || !claim.intent || claim.reference === null) return [];
  const { form } = claim.intent;
  const settledAt = claim.closedAt ?? claim.createdAt;
  const receipt = {
    method: claim.rail,
    reference: claim.reference,
    status: 'success',
    timestamp: settledAt.toISOString(),
  };
  return [
    ...wire.receipt({ form, payer: claim.payer, rail: claim.rail, reference: claim.reference, settledAt }),
    ['Payment-Receipt', Buffer.from(JSON.stringify(receipt)).toString('base64url')],
  ];
}
