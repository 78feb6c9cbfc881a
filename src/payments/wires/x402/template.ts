import { createMemo, createNumbering } from '../../../core/memo.ts';
import type { Quote } from '../../quote.ts';
import type { ChallengeInput } from '../../wire.ts';
import { isEip3009 } from './spelling.ts';
import type { X402Template, X402Terms, X402Version } from './version.ts';

const TEMPLATES_KEPT_MAX = 1_000;
const ASKED = 'Payment required';

/** What a challenge is made of, but for its quote. */
export type X402Asked = Pick<ChallengeInput, 'offers' | 'refusal'> & Pick<Quote, 'resource'>;

/**
 * The challenge of all versions for what an input asks, but for its quote. Every unpaid request needs one and
 * most ask the same, so it is made once for each resource and its offers. What is refused is told in words that
 * may be of the caller's making, and is not kept.
 */
export function createTemplates(
  versions: readonly X402Version[],
): (input: X402Asked) => X402Template | undefined {
  const kept = createMemo<{ template: X402Template | undefined }>(TEMPLATES_KEPT_MAX);
  const numberOf = createNumbering();
  return ({ offers: all, resource, refusal }) => {
    const offers = all.filter(isEip3009);
    if (offers.length === 0) return undefined;
    if (refusal) return prepare(versions, { offers, resource, error: refusal.detail });
    const key = `${offers.map(numberOf).join(',')} ${resource.url} ${resource.description}`;
    return kept(key, () => ({ template: prepare(versions, { offers, resource, error: ASKED }) })).template;
  };
}

function prepare(versions: readonly X402Version[], terms: X402Terms): X402Template | undefined {
  const parts = versions.map((version) => version.prepare(terms)).filter((part) => part !== undefined);
  if (parts.length === 0) return undefined;
  return {
    headers: (quoteToken) => spellHeaders(parts, quoteToken),
    body: Object.assign({}, ...parts.map((part) => part.body)),
  };
}

function spellHeaders(parts: readonly X402Template[], quoteToken: string): [name: string, value: string][] {
  const headers: [name: string, value: string][] = [];
  for (const part of parts) headers.push(...part.headers(quoteToken));
  return headers;
}
