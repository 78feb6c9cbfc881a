import type { Problem } from '../../../core/problem.ts';
import { readAuthParams } from './authorization.ts';
import { decodeJson, isObject, type JsonObject } from './request.ts';

/** What a 402 asks, read back from its headers and members. */
export type Challenges = {
  /** x402 version 2: a `PaymentRequired`. */
  x402: JsonObject | undefined;
  /** x402 version 1: `{x402Version, accepts, error}`. */
  x402V1: JsonObject | undefined;
  /** Challenges of the `Payment` scheme, with their requests as objects. */
  mpp: JsonObject[];
};

/** The challenges of a 402. Wires spell headers and know of no other carrier, so this reads what they wrote. */
export function readChallenges({ options: { headers = [], members = {} } }: Problem): Challenges {
  const challenges: Challenges = { x402: undefined, x402V1: undefined, mpp: [] };
  for (const [name, value] of headers) {
    if (name.toLowerCase() === 'payment-required') {
      const required = decodeJson(value);
      if (isObject(required)) challenges.x402 = required;
    }
    if (name.toLowerCase() !== 'www-authenticate') continue;
    const challenge = readMpp(value);
    if (challenge) challenges.mpp.push(challenge);
  }
  const { x402Version, accepts, error } = members;
  if (x402Version === 1 && Array.isArray(accepts) && typeof error === 'string') {
    challenges.x402V1 = { x402Version, accepts, error };
  }
  return challenges;
}

/** One `WWW-Authenticate` value (draft-httpauth-payment, 5.1) as the object that travels over MCP. */
function readMpp(value: string): JsonObject | undefined {
  const params = readAuthParams(value, 'payment');
  if (!params) return undefined;
  const { id, realm, method, intent, request, ...further } = params;
  const asked = request === undefined ? undefined : decodeJson(request);
  if (id === undefined || realm === undefined || method === undefined || intent === undefined)
    return undefined;
  if (!isObject(asked)) return undefined;
  // The id covers every member, also the header that nobody needs here: all of it has to come back.
  return { id, realm, method, intent, request: asked, ...further };
}
