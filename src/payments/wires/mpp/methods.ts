import { keccak256 } from 'ox/Hash';
import { fromString } from 'ox/Hex';
import { z } from 'zod';
import { sha256Hex } from '../../../core/bytes.ts';
import { type Form, formSchema } from '../../form.ts';
import type { Bolt11Offer, Eip3009Offer, Offer, SptOffer, TempoOffer } from '../../rail.ts';
import type { RefusalCode } from '../../wire.ts';

/** Payment methods as the protocol names them, in the order challenges stand in: they are our rails. */
export const METHODS = ['evm', 'tempo', 'stripe', 'lightning'] as const;
export type MethodName = (typeof METHODS)[number];

const METHOD_OF = {
  eip3009: 'evm',
  tempo: 'tempo',
  spt: 'stripe',
  bolt11: 'lightning',
} as const satisfies Record<Offer['kind'], MethodName>;

export function methodOf(offer: Offer): MethodName {
  return METHOD_OF[offer.kind];
}

export function isMethodName(name: string): name is MethodName {
  return METHODS.some((method) => method === name);
}

/** The `request` of a charge as canonical JSON (RFC 8785): members are written in their order. */
export function spellRequest(offer: Offer, reference: string): string {
  switch (offer.kind) {
    case 'eip3009':
      return spellEvm(offer);
    case 'tempo':
      return spellTempo(offer);
    case 'spt':
      return spellStripe(offer);
    case 'bolt11':
      return spellLightning(offer, reference);
    default:
      throw offer satisfies never;
  }
}

const text = (value: string) => JSON.stringify(value);

function spellEvm(offer: Eip3009Offer): string {
  const details = `{"chainId":${chainIdOf(offer.network)},"credentialTypes":["authorization"]}`;
  return `{"amount":"${offer.units}","currency":"${offer.asset}","methodDetails":${details},"recipient":"${offer.payTo}"}`;
}

function spellTempo(offer: TempoOffer): string {
  const details = `{"chainId":${chainIdOf(offer.network)}}`;
  return `{"amount":"${offer.units}","currency":"${offer.currency}","methodDetails":${details},"recipient":"${offer.recipient}"}`;
}

function spellStripe(offer: SptOffer): string {
  const types = offer.paymentMethodTypes.map(text).join(',');
  const details = `{"networkId":${text(offer.networkId)},"paymentMethodTypes":[${types}]}`;
  return `{"amount":"${offer.units}","currency":"${offer.currency}","methodDetails":${details}}`;
}

/** draft-lightning-charge-00, section 5. `externalId` is the seller's reference (README.md). */
function spellLightning(offer: Bolt11Offer, reference: string): string {
  const details = `{"invoice":${text(offer.invoice)},"network":"${offer.network}","paymentHash":"${offer.paymentHash}"}`;
  return `{"amount":"${offer.sats}","currency":"sat","externalId":${text(reference)},"methodDetails":${details}}`;
}

function chainIdOf(caip2: string): string {
  return caip2.slice('eip155:'.length);
}

/** A challenge that is ours, with what the client says pays it. */
export type Answer = {
  id: string;
  realm: string;
  request: unknown;
  payload: unknown;
  /** A DID of who pays. */
  source: string | undefined;
};

export type FormReading =
  | { kind: 'form'; form: Form }
  | { kind: 'refused'; reason: string; code: RefusalCode };

/** How the payer authorises, from the payload of a credential whose challenge is known to be ours. */
export function readForm(method: MethodName, answer: Answer): FormReading {
  switch (method) {
    case 'evm':
      return readEvm(answer);
    case 'tempo':
      return readTempo(answer);
    case 'stripe':
      return readStripe(answer);
    case 'lightning':
      return readLightning(answer);
    default:
      throw method satisfies never;
  }
}

const onChainRequestSchema = z.object({
  amount: z.string(),
  currency: z.string(),
  recipient: z.string(),
  methodDetails: z.object({ chainId: z.int().positive() }),
});

const evmPayloadSchema = z.object({
  type: z.literal('authorization'),
  from: z.string(),
  to: z.string(),
  value: z.string(),
  validAfter: z.string(),
  validBefore: z.string(),
  nonce: z.string(),
  signature: z.string(),
});

function readEvm(answer: Answer): FormReading {
  const request = onChainRequestSchema.safeParse(answer.request);
  if (!request.success) return refuse('The challenge is not one of an EVM charge.', 'unknown-challenge');
  const payload = evmPayloadSchema.safeParse(answer.payload);
  if (!payload.success) return refuse('The payload must be an EIP-3009 authorization and its signature.');
  const { amount, currency, recipient, methodDetails } = request.data;
  const { type: _, ...authorization } = payload.data;
  const network = `eip155:${methodDetails.chainId}`;
  // The nonce is what ties the authorization to this challenge and no other.
  const nonce = keccak256(fromString(answer.id + answer.realm));
  if (authorization.nonce.toLowerCase() !== nonce) {
    return refuse('The nonce must be the Keccak-256 of challenge id and realm.', 'verification-failed');
  }
  if (authorization.to.toLowerCase() !== recipient.toLowerCase() || authorization.value !== amount) {
    return refuse('The authorization does not pay what the challenge asks.', 'verification-failed');
  }
  if (answer.source !== undefined && payerOf(answer.source, network) !== authorization.from.toLowerCase()) {
    return refuse('The source is not who signed the authorization.', 'verification-failed');
  }
  return toForm({ kind: 'eip3009', network, asset: currency, ...authorization });
}

const tempoPayloadSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('transaction'), signature: z.string() }),
  z.object({ type: z.literal('hash'), hash: z.string() }),
]);

function readTempo(answer: Answer): FormReading {
  const request = onChainRequestSchema.safeParse(answer.request);
  if (!request.success) return refuse('The challenge is not one of a Tempo charge.', 'unknown-challenge');
  const payload = tempoPayloadSchema.safeParse(answer.payload);
  if (!payload.success) return refuse('The payload must be a signed transaction, or the hash of one sent.');
  const network = `eip155:${request.data.methodDetails.chainId}`;
  const payer = answer.source === undefined ? undefined : payerOf(answer.source, network);
  if (answer.source !== undefined && payer === undefined) {
    return refuse(`The source must be an account on ${network}.`, 'verification-failed');
  }
  const value = payload.data.type === 'hash' ? payload.data.hash : payload.data.signature;
  const { type: shows } = payload.data;
  const { id: challengeId, realm } = answer;
  return toForm({ kind: 'tempo', network, shows, value, challengeId, realm, payer });
}

const stripePayloadSchema = z.object({ spt: z.string(), externalId: z.string().optional() });

function readStripe(answer: Answer): FormReading {
  const payload = stripePayloadSchema.safeParse(answer.payload);
  if (!payload.success) return refuse('The payload must be a shared payment token, as "spt".');
  const { spt: token, externalId } = payload.data;
  return toForm({ kind: 'spt', token, externalId });
}

const lightningRequestSchema = z.object({ methodDetails: z.object({ paymentHash: z.string() }) });
const lightningPayloadSchema = z.object({
  preimage: z.string().regex(/^[0-9a-fA-F]{64}$/),
});

function readLightning(answer: Answer): FormReading {
  const request = lightningRequestSchema.safeParse(answer.request);
  if (!request.success) return refuse('The challenge is not one of a Lightning charge.', 'unknown-challenge');
  const payload = lightningPayloadSchema.safeParse(answer.payload);
  if (!payload.success) return refuse('The payload must be a preimage of 64 hexadecimal digits.');
  const { paymentHash } = request.data.methodDetails;
  const preimage = payload.data.preimage.toLowerCase();
  if (sha256Hex(Buffer.from(preimage, 'hex')) !== paymentHash) {
    return refuse('The SHA-256 of the preimage is not the payment hash.', 'verification-failed');
  }
  return toForm({ kind: 'preimage', paymentHash, preimage });
}

function toForm(candidate: object): FormReading {
  const form = formSchema.safeParse(candidate);
  if (form.success) return { kind: 'form', form: form.data };
  return refuse(`The payload is wrong at: ${form.error.issues[0]?.path.join('.')}.`);
}

function refuse(reason: string, code: RefusalCode = 'malformed'): FormReading {
  return { kind: 'refused', reason, code };
}

/** The account that a DID names (`did:pkh:<CAIP-10>`), lower case; undefined when it is on another network. */
function payerOf(did: string, network: string): string | undefined {
  const prefix = `did:pkh:${network}:`;
  const account = did.slice(prefix.length).toLowerCase();
  return did.startsWith(prefix) && /^0x[0-9a-f]{40}$/.test(account) ? account : undefined;
}
