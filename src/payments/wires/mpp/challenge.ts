import type { Offer } from '../../rail.ts';
import type { ChallengeInput } from '../../wire.ts';
import { type Preference, readPreferences, weigh } from './accept-payment.ts';
import { bindChallenge, type ChallengeTerms, CREDENTIAL_HEADER } from './binding.ts';
import { METHODS, methodOf, spellRequest } from './methods.ts';

/** The member by which other implementations name what a challenge is for. */
const SCOPE = '_mppx_scope';
const INTENT = 'charge';
const PATH_CHARS_MAX = 256;
/** Clients stop reading headers at 16 KB in all; the other wires need room as well. */
const CHALLENGES_CHARS_MAX = 6 * 1024;

/**
 * One `WWW-Authenticate` value for each offer (draft-httpauth-payment, section 5.1), in the order of the
 * methods or of the client's preferences. Written by hand: every unpaid request makes all of them.
 */
export function spellChallenges(key: Buffer, realm: string, input: ChallengeInput): string[] {
  const offers = arrange(input.offers, readPreferences(input.carried.header('accept-payment')));
  if (offers.length === 0) return [];
  const digest = spellDigest(input.carried.bodyDigest?.());
  const scope = spellScope(input);
  const [opaque, scopeAlone] = [spellOpaque(scope, input.quoteToken), spellOpaque(scope)];
  const reference = spellReference({ quoteToken: input.quoteToken, digest, scope });
  const expires = input.quote.expiresAt.toISOString();
  const spelled = offers.map((offer) => {
    const method = methodOf(offer);
    const request = toBase64url(spellRequest(offer, reference));
    const terms: ChallengeTerms = {
      ...{ realm, method, intent: INTENT, request, expires, digest, header: CREDENTIAL_HEADER },
      // The reference inside a Lightning request has the quote already.
      opaque: method === 'lightning' ? scopeAlone : opaque,
    };
    return spellChallenge(bindChallenge(key, terms), terms);
  });
  return dropSurplus(spelled, offers);
}

/** `sha-256=<base64>` of the request's content, or undefined when it has none. */
export function spellDigest(sha256: string | undefined): string | undefined {
  return sha256 === undefined ? undefined : `sha-256=${sha256}`;
}

/** All that a challenge is bound to, for a client that hands back its request and little else. */
export type Reference = { quoteToken: string; digest: string | undefined; scope: string };

export function spellReference({ quoteToken, digest = '', scope }: Reference): string {
  return `${quoteToken};${digest};${scope}`;
}

export function readReference(text: string): Reference | undefined {
  const [, quoteToken, digest, scope] = /^([^;]*);([^;]*);(.*)$/s.exec(text) ?? [];
  if (quoteToken === undefined || scope === undefined) return undefined;
  return { quoteToken, digest: digest === '' ? undefined : digest, scope };
}

/** The correlation data of a challenge, base64url of canonical JSON. */
export function spellOpaque(scope: string, quoteToken?: string): string {
  const quoted = quoteToken === undefined ? '' : `,"quote":${JSON.stringify(quoteToken)}`;
  return toBase64url(`{"${SCOPE}":${JSON.stringify(scope)}${quoted}}`);
}

export function toBase64url(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64url');
}

/** Method and path, as in `POST /v1/topup`. */
function spellScope({ quote, carried }: ChallengeInput): string {
  const path = quote.resource.url.replace(/^[a-z]+:\/\/[^/]*/, '').slice(0, PATH_CHARS_MAX);
  return `${carried.method ?? quote.purpose} ${path}`;
}

function spellChallenge(id: string, terms: ChallengeTerms): string {
  const { realm, method, intent, request, digest, expires, header, opaque } = terms;
  const digested = digest === undefined ? '' : `, digest="${digest}"`;
  return `Payment id="${id}", realm="${realm}", method="${method}", intent="${intent}", request="${request}"${digested}, expires="${expires}", header="${header}", opaque="${opaque}"`;
}

/**
 * Methods in their order, or by how gladly the client pays by them. A client that accepts none of them is
 * shown all: it may know more than it says, and a 402 without a challenge helps nobody.
 */
function arrange(offers: readonly Offer[], preferences: Preference[] | undefined): Offer[] {
  const inOrder = METHODS.flatMap((method) => offers.filter((offer) => methodOf(offer) === method));
  if (!preferences) return inOrder;
  const weighed = inOrder.map((offer) => ({ offer, q: weigh(preferences, methodOf(offer)) }));
  const accepted = weighed.filter(({ q }) => q > 0).sort((one, other) => other.q - one.q);
  return accepted.length === 0 ? inOrder : accepted.map(({ offer }) => offer);
}

/** With many networks the last of a method that has several go, until what is left fits. */
function dropSurplus(spelled: string[], offers: readonly Offer[]): string[] {
  const kept = spelled.map((value, index) => ({ value, kind: offers[index]?.kind }));
  let chars = spelled.reduce((sum, value) => sum + value.length, 0);
  while (chars > CHALLENGES_CHARS_MAX) {
    const surplus = kept.findLastIndex(
      ({ kind }, index) => kept.findIndex((other) => other.kind === kind) !== index,
    );
    if (surplus < 0) break;
    for (const { value } of kept.splice(surplus, 1)) chars -= value.length;
  }
  return kept.map(({ value }) => value);
}
