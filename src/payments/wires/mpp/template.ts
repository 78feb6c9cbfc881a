import { encodeAround } from '../../../core/base64.ts';
import { spellJson } from '../../../core/canonical-json.ts';
import { createMemo } from '../../../core/memo.ts';
import type { Offer } from '../../rail.ts';
import { type AnswerTerms, type OfferTerms, spellBoundAnswer, spellBoundOffer } from './binding.ts';
import { methodOf, spellRequest } from './methods.ts';

// A challenge is an offer's part and a 402's part under one id. Every unpaid request needs a challenge for each
// offer, and what repeats itself in them is spelled once: here.

/** A part of a challenge: as its id covers it, and as its header says it. */
export type Part = { bound: string; said: string };

/** The member by which other implementations name what a challenge is for. */
const SCOPE = '_mppx_scope';
const INTENT = 'charge';
const SCOPES_KEPT_MAX = 1_000;
const PATH_CHARS_MAX = 256;

/** The offer's part, spelled once for each offer that is not minted for a quote. */
export function createOfferParts(realm: string): (offer: Offer) => Part {
  const kept = new WeakMap<Offer, Part>();
  return (offer) => {
    const known = kept.get(offer);
    if (known) return known;
    const part = spellOfferPart(realm, offer, '');
    kept.set(offer, part);
    return part;
  };
}

/** `reference` is the seller's, where the method has a place for it. */
export function spellOfferPart(realm: string, offer: Offer, reference: string): Part {
  const request = toBase64url(spellRequest(offer, reference));
  const terms: OfferTerms = { realm, method: methodOf(offer), intent: INTENT, request };
  const said = `realm="${realm}", method="${terms.method}", intent="${INTENT}", request="${request}"`;
  return { bound: spellBoundOffer(terms), said };
}

export function spellAnswerPart(terms: AnswerTerms): Part {
  const { digest, expires, header, opaque } = terms;
  const digested = digest === undefined ? '' : `, digest="${digest}"`;
  const said = `${digested}, expires="${expires}", header="${header}", opaque="${opaque}"`;
  return { bound: spellBoundAnswer(terms), said };
}

/** What a challenge is for: method and path, as in `POST /v1/topup`. */
export type Scope = {
  text: string;
  /** The correlation data of a challenge, base64url of canonical JSON. */
  spellOpaque(quoteToken: string): string;
};

/** Scopes, spelled once for each resource. */
export function createScopes(): (method: string, url: string) => Scope {
  const kept = createMemo<Scope>(SCOPES_KEPT_MAX);
  return (method, url) =>
    kept(`${method} ${url}`, () => {
      const path = url.replace(/^[a-z]+:\/\/[^/]*/, '').slice(0, PATH_CHARS_MAX);
      return toScope(`${method} ${path}`);
    });
}

function toScope(text: string): Scope {
  const spell = encodeAround(`{"${SCOPE}":${JSON.stringify(text)},"quote":`, '}', 'base64url');
  return { text, spellOpaque: (quoteToken) => spell(spellJson(quoteToken)) };
}

/** The correlation data of a challenge whose quote stands elsewhere. */
export function spellScopeAlone(scope: string): string {
  return toBase64url(`{"${SCOPE}":${JSON.stringify(scope)}}`);
}

export function toBase64url(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64url');
}
