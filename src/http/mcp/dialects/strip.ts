import { isWithinDepth, type Json } from '../../../core/canonical-json.ts';
import { isObject, type JsonObject } from './request.ts';

const META_CHARS_MAX = 16 * 1024;
const META_DEPTH_MAX = 16;

/** Whose keys are between the client and the gateway alone. */
const OURS = /^\s*(?:x402(?:[./].*)?|org\.paymentauth\/.*|agents-x402\/.*|millicent\/.*)$/is;

/**
 * What of a request's `_meta` may reach a tool: nothing of payments, nothing of ours, and no more than a
 * request has use for. What is larger is left out whole, as half of it could mean something else.
 */
export function stripMeta(meta: JsonObject | undefined): JsonObject | undefined {
  if (!meta) return undefined;
  const stripped = dropPaymentKeys(meta);
  const isSmall =
    isWithinDepth(stripped, META_DEPTH_MAX) && JSON.stringify(stripped).length <= META_CHARS_MAX;
  return isSmall && Object.keys(stripped).length > 0 ? stripped : undefined;
}

/**
 * The `_meta` that a server sends, without what only we may say: a client that pays would take a server's word
 * for our challenge, and pay whom it names.
 */
export function dropPaymentKeys(meta: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(meta).filter(([key]) => !OURS.test(key)));
}

/** Where errors of JSON-RPC name a payment: `data` of a `PaymentRequired` (x402) or of challenges (MPP). */
const CHALLENGE_MEMBERS = new Set(['challenges', 'accepts', 'x402Version', 'httpStatus']);

/** The data of a server's own error, in which no client finds a challenge. */
export function dropChallenges(data: Json): Json {
  if (!isObject(data)) return data;
  return Object.fromEntries(
    Object.entries(dropPaymentKeys(data)).filter(([key]) => !CHALLENGE_MEMBERS.has(key)),
  );
}

/** A server's own result, whose `_meta` says nothing that only we may say. */
export function dropClaims(result: JsonObject): JsonObject {
  return isObject(result._meta) ? { ...result, _meta: dropPaymentKeys(result._meta) } : result;
}
