import { decodePaymentSignatureHeader } from '@x402/core/http';
import { z } from 'zod';
import type { Eip3009Offer, Offer } from '../../rail.ts';
import type { CredentialReading } from '../../wire.ts';

// What the versions of the protocol spell alike.

export const CREDENTIAL_CHARS_MAX = 16 * 1024;
export const DESCRIPTION_CHARS_MAX = 280;

const authorizationSchema = z.object({
  from: z.string(),
  to: z.string(),
  value: z.string(),
  validAfter: z.string(),
  validBefore: z.string(),
  nonce: z.string(),
});
/** The `exact` scheme on EVM networks by EIP-3009 (specs/schemes/exact/scheme_exact_evm.md). */
export const exactPayloadSchema = z.object({ signature: z.string(), authorization: authorizationSchema });

export function isEip3009(offer: Offer): offer is Eip3009Offer {
  return offer.kind === 'eip3009';
}

export function malformed(reason: string): CredentialReading {
  return { kind: 'malformed', reason, code: 'malformed' };
}

/** Undefined for what is not base64 or not JSON; deep nesting stays within what the size allows to parse. */
export function decodeHeader(header: string): unknown {
  try {
    return decodePaymentSignatureHeader(header);
  } catch {
    return undefined;
  }
}

/** What the protocol's own encoder makes, without its detour over an array of characters: this is a hot path. */
export function toHeader(value: object): string {
  return Buffer.from(JSON.stringify(value), 'utf8').toString('base64');
}

/** The bare transaction hash of a payment that may be one of several in somebody's batch. */
export function toTransaction(reference: string): string {
  return reference.replace(/#.*$/, '');
}
