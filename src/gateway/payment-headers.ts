import type { Carried, Claim } from '../payments/index.ts';
import { readContext } from './claim-context.ts';
import type { GatewayDeps } from './deps.ts';

const RECEIPT_HEADER = 'Payment-Receipt';

/**
 * What tells a payer that its payment went through: the headers of the wire that carried it, spelled for the
 * request that is answered, and a `Payment-Receipt` (base64url JSON) whatever the wire.
 */
export function paymentHeaders(
  deps: Pick<GatewayDeps, 'wires'>,
  claim: Claim,
  carried?: Carried,
): [name: string, value: string][] {
  const wire = deps.wires.find(({ name }) => name === claim.wire);
  if (!wire || !claim.rail || !claim.intent || claim.reference === null) return [];
  const { payer, rail, reference } = claim;
  const settledAt = claim.closedAt ?? claim.createdAt;
  const { form } = claim.intent;
  const { resourceUrl } = readContext(claim);
  const headers = wire.receipt({ form, payer, rail, reference, settledAt, resourceUrl, carried });
  // A wire that has a receipt of this name says more in it.
  if (headers.some(([name]) => name === RECEIPT_HEADER)) return headers;
  const receipt = { method: rail, reference, status: 'success', timestamp: settledAt.toISOString() };
  return [...headers, [RECEIPT_HEADER, Buffer.from(JSON.stringify(receipt)).toString('base64url')]];
}
