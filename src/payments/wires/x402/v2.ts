import { PaymentPayloadV2Schema } from '@x402/core/schemas';
import type { PaymentRequired, PaymentRequirements, SettleResponse } from '@x402/core/types';
import { z } from 'zod';
import { encodeAround } from '../../../core/base64.ts';
import { spellJson } from '../../../core/canonical-json.ts';
import { invariant } from '../../../core/invariant.ts';
import { formSchema } from '../../form.ts';
import type { Eip3009Offer } from '../../rail.ts';
import type { CredentialReading } from '../../wire.ts';
import { receiptExtensions, type SignStatement } from './offer-receipt.ts';
import {
  CREDENTIAL_CHARS_MAX,
  DESCRIPTION_CHARS_MAX,
  decodeHeader,
  exactPayloadSchema,
  malformed,
  toHeader,
  toTransaction,
} from './spelling.ts';
import type { X402Settled, X402Template, X402Terms, X402Version } from './version.ts';

/** x402 version 2 (specs/x402-specification-v2.md, specs/transports-v2/http.md). */
export const v2: X402Version = { credentialHeader: 'payment-signature', prepare, read, receipt };

/** The extension by which a client hands the quote back to us. */
const QUOTE_EXTENSION = 'millicent-quote';
/** Clients stop reading headers at 16 KB in all; half of it leaves room for the other wires. */
const CHALLENGE_CHARS_MAX = 8 * 1024;
const QUOTE_TOKEN_CHARS_MAX = 4 * 1024;

/** What the extension looks like, for clients that check what they echo. */
const QUOTE_SCHEMA = {
  type: 'object',
  properties: { quote: { type: 'string' } },
  required: ['quote'],
};

/** The last member of a challenge, cut where the quote stands. */
const BEFORE_QUOTE = `"extensions":{"${QUOTE_EXTENSION}":{"info":{"quote":`;
const AFTER_QUOTE = `},"schema":${JSON.stringify(QUOTE_SCHEMA)}}}}`;

const quoteExtensionSchema = z.object({
  info: z.object({ quote: z.string().min(1).max(QUOTE_TOKEN_CHARS_MAX) }),
});

function prepare({ offers, resource, error }: X402Terms): X402Template {
  const accepts = offers.map(toRequirements);
  const required: PaymentRequired = {
    x402Version: 2,
    error,
    resource: {
      url: resource.url,
      description: resource.description.slice(0, DESCRIPTION_CHARS_MAX),
      mimeType: 'application/json',
    },
    accepts,
  };
  const spell = encodeAround(
    `${JSON.stringify(required).slice(0, -1)},${BEFORE_QUOTE}`,
    AFTER_QUOTE,
    'base64',
  );
  return {
    headers(quoteToken) {
      const header = spell(spellJson(quoteToken));
      invariant(header.length <= CHALLENGE_CHARS_MAX, `an x402 challenge of ${header.length} characters`);
      return [['PAYMENT-REQUIRED', header]];
    },
    body: { x402Version: 2, accepts: Object.freeze(accepts), error },
  };
}

function toRequirements(offer: Eip3009Offer): PaymentRequirements {
  return {
    scheme: 'exact',
    network: toNetwork(offer.network),
    amount: offer.units.toString(),
    asset: offer.asset,
    payTo: offer.payTo,
    maxTimeoutSeconds: offer.timeoutSeconds,
    extra: { name: offer.tokenName, version: offer.tokenVersion },
  };
}

function read(header: string): CredentialReading {
  if (header.length > CREDENTIAL_CHARS_MAX) {
    return malformed(`PAYMENT-SIGNATURE is longer than ${CREDENTIAL_CHARS_MAX} characters.`);
  }
  const json = decodeHeader(header);
  if (json === undefined) return malformed('PAYMENT-SIGNATURE is not base64-encoded JSON.');
  const payload = PaymentPayloadV2Schema.safeParse(json);
  if (!payload.success) return malformed('PAYMENT-SIGNATURE is not an x402 version 2 payment payload.');
  const { accepted, extensions } = payload.data;
  if (accepted.scheme !== 'exact') return malformed(`The only scheme taken is "exact".`);
  const exact = exactPayloadSchema.safeParse(payload.data.payload);
  if (!exact.success) return malformed('The payload must be an EIP-3009 authorization and its signature.');
  const form = formSchema.safeParse({
    kind: 'eip3009',
    network: accepted.network,
    asset: accepted.asset,
    signature: exact.data.signature,
    ...exact.data.authorization,
  });
  if (!form.success)
    return malformed(`The authorization is wrong at: ${form.error.issues[0]?.path.join('.')}.`);
  const echo = extensions?.[QUOTE_EXTENSION];
  const quote = quoteExtensionSchema.safeParse(echo);
  if (echo !== undefined && !quote.success)
    return malformed(`The extension "${QUOTE_EXTENSION}" is not ours.`);
  return {
    kind: 'credential',
    credential: { wire: 'x402', form: form.data, quoteToken: quote.data?.info.quote },
  };
}

function receipt(settled: X402Settled, sign: SignStatement | undefined): [name: string, value: string][] {
  const { form, reference } = settled;
  if (form.kind !== 'eip3009') return [];
  const response: SettleResponse = {
    success: true,
    transaction: toTransaction(reference),
    network: toNetwork(form.network),
    payer: form.from,
    amount: form.value.toString(),
    ...receiptExtensions(settled, sign),
  };
  return [['PAYMENT-RESPONSE', toHeader(response)]];
}

/** Offers and forms carry CAIP-2, which is what the protocol's type spells out. */
function toNetwork(caip2: string): `${string}:${string}` {
  return caip2 as `${string}:${string}`;
}
