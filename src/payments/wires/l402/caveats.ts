import { type Clock, toUnixSeconds } from '../../../core/clock.ts';
import type { Quote } from '../../quote.ts';
import type { Refusal, RefusalCode } from '../../wire.ts';

/** What the caveats of a macaroon allow. */
export type Permission =
  /** `expired`: no new use any more; what was bought before is still answered. */
  | { kind: 'allowed'; quoteToken: string; expired: Refusal | undefined }
  | { kind: 'refused'; reason: string; code: RefusalCode };

/** The caveats of a new macaroon (L402, macaroon-spec.md: caveats are `condition=value`). */
export function writeCaveats(quote: Quote, quoteToken: string): Buffer[] {
  return [
    `${SERVICES}=${SERVICE}:0`,
    `${CAPABILITIES}=${quote.purpose}`,
    `${REQUEST_DIGEST}=${quote.requestDigest}`,
    `${QUOTE}=${quoteToken}`,
  ].map((caveat) => Buffer.from(caveat, 'utf8'));
}

/**
 * Whether every caveat allows the use. The signature has been checked: what stands first of a condition is
 * ours, and a holder can only have added. What is added may repeat ours or set a time; a caveat that nobody
 * here can judge must not be passed over, as its author meant to restrict.
 */
export function readCaveats(caveats: readonly Buffer[], clock: Clock): Permission {
  const ours = new Map<string, string>();
  let expired: Refusal | undefined;
  for (const caveat of caveats) {
    const text = caveat.toString('utf8');
    const split = text.indexOf('=');
    const [condition, value] = [text.slice(0, Math.max(split, 0)), text.slice(split + 1)];
    if (condition === VALID_UNTIL) {
      if (!/^[0-9]{1,12}$/.test(value)) return refuse(`A caveat "${VALID_UNTIL}" is no Unix time.`);
      if (toUnixSeconds(clock.now()) >= Number(value)) expired = EXPIRED;
      continue;
    }
    if (!MINTED.includes(condition)) return refuse('The token has a caveat that is not known here.');
    const earlier = ours.get(condition) ?? value;
    if (earlier !== value) return refuse(`The caveats "${condition}" contradict each other.`);
    ours.set(condition, value);
  }
  const quoteToken = ours.get(QUOTE);
  if (quoteToken === undefined) return refuse('The token carries no quote.');
  return { kind: 'allowed', quoteToken, expired };
}

const SERVICE = 'millicent';
const SERVICES = 'services';
const CAPABILITIES = `${SERVICE}_capabilities`;
const VALID_UNTIL = `${SERVICE}_valid_until`;
const REQUEST_DIGEST = 'request_digest';
const QUOTE = 'quote';
const MINTED = [SERVICES, CAPABILITIES, REQUEST_DIGEST, QUOTE];
const EXPIRED: Refusal = {
  detail: 'The token is no longer valid: a holder has limited it to an earlier time.',
  code: 'expired',
};

function refuse(reason: string): Permission {
  return { kind: 'refused', reason, code: 'verification-failed' };
}
