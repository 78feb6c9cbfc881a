import { isWithinDepth, type Json } from '../../../core/canonical-json.ts';
import type { JsonObject } from './request.ts';

const META_CHARS_MAX = 16 * 1024;
const META_DEPTH_MAX = 16;

/** Whose keys are between the client and the gateway alone: no tool ever sees a credential. */
const OURS = /^(?:x402(?:[./].*)?|org\.paymentauth\/.*|agents-x402\/.*|millicent\/.*)$/i;

/**
 * What of a request's `_meta` may reach a tool: nothing of payments, nothing of ours, and no more than a
 * request has use for. What is larger is left out whole, as half of it could mean something else.
 */
export function stripMeta(meta: JsonObject | undefined): JsonObject | undefined {
  if (!meta) return undefined;
  const kept: [string, Json][] = Object.entries(meta).filter(
    ([key, value]) => !OURS.test(key.trim()) && isWithinDepth(value, META_DEPTH_MAX),
  );
  if (kept.length === 0) return undefined;
  const stripped = Object.fromEntries(kept);
  return JSON.stringify(stripped).length <= META_CHARS_MAX ? stripped : undefined;
}
