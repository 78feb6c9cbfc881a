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

/** What every challenge of an offer says alike. */
export type OfferTerms = Pick<ChallengeTerms, 'realm' | 'method' | 'intent' | 'request'>;
/** What every challenge of a 402 says alike. */
export type AnswerTerms = Omit<ChallengeTerms, keyof OfferTerms>;

/** The first half of what a challenge's id covers, members in fixed places (draft-httpauth-payment, 5.1.2.1.1). */
export function spellBoundOffer({ realm, method, intent, request }: OfferTerms): string {
  return `${realm}|${method}|${intent}|${request}|`;
}

/** The second half. */
export function spellBoundAnswer({ expires = '', digest = '', header, opaque = '' }: AnswerTerms): string {
  // The place of the header name exists only where one is named; `Authorization` is what no name means.
  const named = header === undefined || header.toLowerCase() === 'authorization' ? '' : `${header}|`;
  return `${expires}|${digest}|${named}${opaque}`;
}

/** The challenge's id: an HMAC over all it says. */
export function bindChallenge(key: Buffer, terms: ChallengeTerms): string {
  return hmacSha256(key, spellBoundOffer(terms) + spellBoundAnswer(terms)).toString('base64url');
}

/** Whether one of the keys gave the challenge this id. */
export function isBound(keys: readonly Buffer[], id: string, terms: ChallengeTerms): boolean {
  return keys.some((key) => equalConstantTime(id, bindChallenge(key, terms)));
}
