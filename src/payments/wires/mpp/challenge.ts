import { createMac, createMacBehind } from '../../../core/bytes.ts';
import { toIsoText } from '../../../core/clock.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Offer } from '../../rail.ts';
import type { ChallengeInput, StandingInput } from '../../wire.ts';
import { type Preference, readPreferences, weigh } from './accept-payment.ts';
import { CREDENTIAL_HEADER } from './binding.ts';
import { METHODS, methodOf } from './methods.ts';
import {
  createOfferParts,
  createScopes,
  type Part,
  spellAnswerPart,
  spellOfferPart,
  spellScopeAlone,
} from './template.ts';

/** Clients stop reading headers at 16 KB in all; the other wires need room as well. */
const CHALLENGES_CHARS_MAX = 6 * 1024;

/** Spells one `WWW-Authenticate` value for each offer (draft-httpauth-payment, section 5.1). */
export type Speller = {
  /** In the order of the methods or of the client's preferences. */
  spell(input: ChallengeInput): string[];
  /** The same as one value, for clients without preferences and requests without content. */
  prepare(input: StandingInput): ((quoteToken: string) => string) | undefined;
};

export function createSpeller(key: Buffer, realm: string): Speller {
  const sign = createMac(key);
  const partOf = createOfferParts(realm);
  const scopeOf = createScopes();
  // The id is an HMAC over all that is said.
  const join = (offer: Part, answer: Part) =>
    `Payment id="${sign(offer.bound + answer.bound, 'base64url')}", ${offer.said}${answer.said}`;
  return {
    spell(input) {
      const { carried, quote, quoteToken } = input;
      const offers = arrange(input.offers, readPreferences(carried.header('accept-payment')));
      if (offers.length === 0) return [];
      const scope = scopeOf(carried.method ?? quote.purpose, quote.resource.url);
      const digest = spellDigest(carried.bodyDigest?.());
      const terms = { expires: toIsoText(quote.expiresAt), digest, header: CREDENTIAL_HEADER };
      const answer = spellAnswerPart({ ...terms, opaque: scope.spellOpaque(quoteToken) });
      const spelled = offers.map((offer) => {
        if (offer.kind !== 'bolt11') return join(partOf(offer), answer);
        // The reference inside a Lightning request has the quote already.
        const reference = spellReference({ quoteToken, digest, scope: scope.text });
        const opaque = spellScopeAlone(scope.text);
        return join(spellOfferPart(realm, offer, reference), spellAnswerPart({ ...terms, opaque }));
      });
      return dropSurplus(spelled, offers);
    },
    prepare({ offers, resource, method, expiresAt }) {
      const inOrder = arrange(offers, undefined);
      invariant(!inOrder.some(({ kind }) => kind === 'bolt11'), 'an invoice is for one quote alone');
      const expires = toIsoText(expiresAt);
      const scope = scopeOf(method, resource.url);
      const parts = inOrder.map((offer) => prepareChallenge(key, partOf(offer), expires));
      const sample = parts.map((spell) => spell(scope.spellOpaque(SAMPLE_TOKEN)));
      const fitting = new Set(dropSurplus(sample, inOrder));
      const [first, ...others] = parts.filter((_, index) => fitting.has(sample[index] ?? ''));
      if (!first) return undefined;
      return (quoteToken) => {
        const opaque = scope.spellOpaque(quoteToken);
        let value = first(opaque);
        for (const spell of others) value += `, ${spell(opaque)}`;
        return value;
      };
    },
  };
}

/** As long as a quote's token. */
const SAMPLE_TOKEN = 'q'.repeat(111);

/** A challenge of one offer up to what its correlation data is: that stands last in what the id covers. */
function prepareChallenge(key: Buffer, offer: Part, expires: string): (opaque: string) => string {
  const answer = spellAnswerPart({ expires, header: CREDENTIAL_HEADER, opaque: '' });
  const sign = createMacBehind(key, offer.bound + answer.bound);
  const [before, after] = [`", ${offer.said}${answer.said.slice(0, -1)}`, '"'];
  return (opaque) => `Payment id="${sign(opaque)}${before}${opaque}${after}`;
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

/**
 * Methods in their order, or by how gladly the client pays by them. A client that accepts none of them is
 * shown all: it may know more than it says, and a 402 without a challenge helps nobody.
 */
function arrange(offers: readonly Offer[], preferences: Preference[] | undefined): readonly Offer[] {
  const isInOrder = offers.every((offer, at) => placeOf(offer) >= placeOf(offers[at - 1] ?? offer));
  const inOrder = isInOrder ? offers : offers.toSorted((one, other) => placeOf(one) - placeOf(other));
  if (!preferences) return inOrder;
  const weighed = inOrder.map((offer) => ({ offer, q: weigh(preferences, methodOf(offer)) }));
  const accepted = weighed.filter(({ q }) => q > 0).sort((one, other) => other.q - one.q);
  return accepted.length === 0 ? inOrder : accepted.map(({ offer }) => offer);
}

function placeOf(offer: Offer): number {
  return METHODS.indexOf(methodOf(offer));
}

/** With many networks the last of a method that has several go, until what is left fits. */
function dropSurplus(spelled: string[], offers: readonly Offer[]): string[] {
  let chars = 0;
  for (const value of spelled) chars += value.length;
  if (chars <= CHALLENGES_CHARS_MAX) return spelled;
  const kept = spelled.map((value, index) => ({ value, kind: offers[index]?.kind }));
  while (chars > CHALLENGES_CHARS_MAX) {
    const surplus = kept.findLastIndex(
      ({ kind }, index) => kept.findIndex((other) => other.kind === kind) !== index,
    );
    if (surplus < 0) break;
    for (const { value } of kept.splice(surplus, 1)) chars -= value.length;
  }
  return kept.map(({ value }) => value);
}
