import type { Problem } from '../../../core/problem.ts';
import type { Carried } from '../../../payments/index.ts';
import { decodeJson, isObject, type JsonObject, META } from './request.ts';

/**
 * Whether a used payment came from a client that shows its last one with every call, as if it were a pass: Apify's
 * mcpc, known by sending it twice, as header and in `_meta`, and without an echo of any quote of ours. It signs
 * anew when it is asked, and never calls again otherwise. Asking is safe there: what it has paid and was not
 * answered takes the new signature for a question and not for money (MONEY.md, rule 4).
 */
export function takesAsPass(
  problem: Problem,
  shown: { carried: Carried; meta: JsonObject | undefined },
): boolean {
  const { type, options } = problem;
  if (type !== 'credential-used') return false;
  // Money that came and bought nothing is told of, and not asked for again.
  if (!options.isUncharged && options.members?.receipt_id === undefined) return false;
  const header = shown.carried.header('payment-signature');
  if (header === undefined || shown.meta?.[META.x402] === undefined) return false;
  const payload = decodeJson(header);
  return isObject(payload) && payload.extensions === undefined;
}
