import { toUnixSeconds } from '../../../core/clock.ts';
import type { X402Settled } from './version.ts';

// The extension "offer-receipt" (specs/extensions/extension-offer-and-receipt.md), of which we issue receipts. Signed
// offers would double a challenge, and a 402 has to stay under 8 KB in all.

/** Signs a statement as a compact JWS whose `kid` is a DID URL (section 3.3). */
export type SignStatement = (statement: object) => string;

const EXTENSION = 'offer-receipt';

/** What the extension looks like, for clients that check it. */
const SCHEMA = {
  type: 'object',
  properties: {
    receipt: {
      type: 'object',
      properties: { format: { type: 'string', const: 'jws' }, signature: { type: 'string' } },
      required: ['format', 'signature'],
    },
  },
  required: ['receipt'],
};

/**
 * The `extensions` of a settlement response, with a signed receipt (section 5); undefined when nobody signs, or when
 * it is not known what was bought. The transaction is left out, as the specification does by default: our own receipt
 * names it, together with amount, code and place in the log.
 */
export function receiptExtensions(
  { form, resourceUrl, settledAt }: X402Settled,
  sign: SignStatement | undefined,
): { extensions: Record<string, object> } | undefined {
  if (!sign || resourceUrl === undefined || form.kind !== 'eip3009') return undefined;
  const signature = sign({
    version: 1,
    network: form.network,
    resourceUrl,
    payer: form.from,
    issuedAt: toUnixSeconds(settledAt),
  });
  return {
    extensions: { [EXTENSION]: { info: { receipt: { format: 'jws', signature } }, schema: SCHEMA } },
  };
}
