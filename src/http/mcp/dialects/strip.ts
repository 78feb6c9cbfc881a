import { isWithinDepth } from '../../../core/canonical-json.ts';
import type { JsonObject } from './request.ts';

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
