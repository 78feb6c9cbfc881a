import { deriveKey, equalConstantTime, hmacSha256 } from '../../../core/bytes.ts';

/** The header that carries a credential, so that `Authorization` stays free for a bearer key. */
export const CREDENTIAL_HEADER = 'Payment-Authorization';

/** A challenge as it travels: every member is the text of its auth-param (draft-httpauth-payment, 5.1). */
export type ChallengeTerms = {
  realm: string;
  method: string;
  intent: string;
  /** base64url of canonical JSON. */
  request: string;
  expires?: string | undefined;
  digest?: string | undefined;
  header?: string | undefined;
  /** base64url of canonical JSON, whose members are all texts. */
  opaque?: string | undefined;
};

/**
 * The key that challenges are bound with. It is text, so that any other implementation can be given the same
 * one: theirs take a string.
 */
export function toBindingKey(secret: Buffer): Buffer {
  return Buffer.from(deriveKey(secret, 'mpp').toString('base64url'), 'latin1');
}

/** The challenge's id: an HMAC over all it says, members in fixed places (draft-httpauth-payment, 5.1.2.1.1). */
export function bindChallenge(key: Buffer, terms: ChallengeTerms): string {
  const { realm, method, intent, request, expires = '', digest = '', header, opaque = '' } = terms;
  // The place of the header name exists only where one is named; `Authorization` is what no name means.
  const named = header === undefined || header.toLowerCase() === 'authorization' ? '' : `${header}|`;
  const bound = `${realm}|${method}|${intent}|${request}|${expires}|${digest}|${named}${opaque}`;
  return hmacSha256(key, bound).toString('base64url');
}

/** Whether one of the keys gave the challenge this id. */
export function isBound(keys: readonly Buffer[], id: string, terms: ChallengeTerms): boolean {
  return keys.some((key) => equalConstantTime(id, bindChallenge(key, terms)));
}
