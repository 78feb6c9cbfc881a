import { z } from 'zod';
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

/** A token that is taken: a credential of version 1 names its network alone. */
export type X402Network = { chainId: number; token: `0x${string}` };

/**
 * x402 version 1 (specs/x402-specification-v1.md, specs/transports-v1/http.md), for clients that read only the
 * body of a 402. On a network with several tokens it speaks of the first.
 */
export function createV1(networks: readonly X402Network[]): X402Version {
  const tokens = new Map<string, Token>();
  for (const { chainId, token } of networks) {
    const name = NAMES[chainId];
    if (name === undefined || tokens.has(name)) continue;
    tokens.set(name, { name, network: `eip155:${chainId}`, asset: token.toLowerCase() });
  }
  const tokenOf = (offer: Eip3009Offer) =>
    [...tokens.values()].find(
      ({ network, asset }) => network === offer.network && asset === offer.asset.toLowerCase(),
    );
  return {
    credentialHeader: 'x-payment',
    prepare: (terms) => prepare(terms, tokenOf),
    read: (header) => read(header, tokens),
    receipt: (settled, sign) => receipt(settled, tokens, sign),
  };
}

type Token = { name: string; network: string; asset: string };

/** The networks that clients of version 1 know; of any other a single entry makes them refuse the whole list. */
const NAMES: Readonly<Record<number, string>> = {
  137: 'polygon',
  1328: 'sei-testnet',
  1329: 'sei',
  1514: 'story',
  2741: 'abstract',
  3338: 'peaq',
  4689: 'iotex',
  8453: 'base',
  11124: 'abstract-testnet',
  41923: 'educhain',
  43113: 'avalanche-fuji',
  43114: 'avalanche',
  80002: 'polygon-amoy',
  84532: 'base-sepolia',
  324705682: 'skale-base-sepolia',
};

function prepare(
  { offers, resource: { url, description }, error }: X402Terms,
  tokenOf: (offer: Eip3009Offer) => Token | undefined,
): X402Template | undefined {
  const accepts = offers.flatMap((offer) => {
    const token = tokenOf(offer);
    if (!token) return [];
    return {
      scheme: 'exact',
      network: token.name,
      maxAmountRequired: offer.units.toString(),
      resource: url,
      description: description.slice(0, DESCRIPTION_CHARS_MAX),
      mimeType: 'application/json',
      payTo: offer.payTo,
      maxTimeoutSeconds: offer.timeoutSeconds,
      asset: offer.asset,
      extra: { name: offer.tokenName, version: offer.tokenVersion },
    };
  });
  if (accepts.length === 0) return undefined;
  return { headers: () => [], body: { x402Version: 1, accepts: Object.freeze(accepts), error } };
}

const envelopeSchema = z.object({
  x402Version: z.literal(1),
  scheme: z.string(),
  network: z.string(),
  payload: z.unknown(),
});

function read(header: string, tokens: ReadonlyMap<string, Token>): CredentialReading {
  if (header.length > CREDENTIAL_CHARS_MAX) {
    return malformed(`X-PAYMENT is longer than ${CREDENTIAL_CHARS_MAX} characters.`);
  }
  const json = decodeHeader(header);
  if (json === undefined) return malformed('X-PAYMENT is not base64-encoded JSON.');
  const envelope = envelopeSchema.safeParse(json);
  if (!envelope.success) return malformed('X-PAYMENT is not an x402 version 1 payment payload.');
  const { scheme, network, payload } = envelope.data;
  if (scheme !== 'exact') return malformed(`The only scheme taken is "exact".`);
  const token = tokens.get(network);
  if (!token) return malformed('Payments on that network are not taken by x402 version 1.');
  const exact = exactPayloadSchema.safeParse(payload);
  if (!exact.success) return malformed('The payload must be an EIP-3009 authorization and its signature.');
  const form = formSchema.safeParse({
    kind: 'eip3009',
    network: token.network,
    asset: token.asset,
    signature: exact.data.signature,
    ...exact.data.authorization,
  });
  if (!form.success) {
    return malformed(`The authorization is wrong at: ${form.error.issues[0]?.path.join('.')}.`);
  }
  // This version has no room for an echo of the quote: whoever pays by it is known by the authorization alone.
  return { kind: 'credential', credential: { wire: 'x402', form: form.data, quoteToken: undefined } };
}

function receipt(
  settled: X402Settled,
  tokens: ReadonlyMap<string, Token>,
  sign: SignStatement | undefined,
): [name: string, value: string][] {
  const { form, reference } = settled;
  if (form.kind !== 'eip3009') return [];
  const token = [...tokens.values()].find(({ network }) => network === form.network);
  if (!token) return [];
  const response = {
    success: true,
    transaction: toTransaction(reference),
    network: token.name,
    payer: form.from,
    ...receiptExtensions(settled, sign),
  };
  return [['X-PAYMENT-RESPONSE', toHeader(response)]];
}
