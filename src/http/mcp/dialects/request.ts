import { canonicalJson, type Json } from '../../../core/canonical-json.ts';
import { Problem } from '../../../core/problem.ts';
import type { Carried } from '../../../payments/index.ts';
import { findAuthorization } from './authorization.ts';

export type JsonObject = { [key: string]: Json };

/** Where the dialects put a credential, and a client says that no person is to be asked. */
export const META = {
  x402: 'x402/payment',
  x402Dotted: 'x402.payment',
  mpp: 'org.paymentauth/credential',
  pay: 'millicent/pay',
} as const;

/**
 * What a request over MCP carries, as HTTP headers: that is all the wires know. A credential in `_meta`, in
 * any dialect, appears as the header its wire reads, beside the headers that came with the request itself. Nothing
 * is bound to the content of the request: a retry has another id and its credential inside.
 */
export function carryMeta(carried: Carried, meta: JsonObject | undefined): Carried {
  const shown = [...(meta ? readMeta(meta) : []), ...readHeaders(carried)];
  refuseSeveral(shown);
  const { method, address } = carried;
  const spelled = new Map(shown.map(({ header, value }) => [header, value]));
  return {
    method,
    address,
    header: (name) => spelled.get(name.toLowerCase()) ?? carried.header(name),
  };
}

/** Whether the request speaks of payments in HTTP itself: then it is answered there, with the status 402. */
export function isHttpPayer(carried: Carried): boolean {
  return carried.header('accept-payment') !== undefined || readHeaders(carried).length > 0;
}

/** Whether the `_meta` of a request shows that a program pays: a person is not asked then. */
export function isMachinePayer(meta: JsonObject | undefined): boolean {
  if (!meta) return false;
  return meta[META.pay] === 'machine' || CREDENTIALS.some((key) => meta[key] !== undefined);
}

const CREDENTIALS = [META.x402, META.x402Dotted, META.mpp];

/** A credential under the header that its wire reads; `identity` is the same for two spellings of one payment. */
type Shown = { header: string; value: string; identity: string };

function readMeta(meta: JsonObject): Shown[] {
  const shown: Shown[] = [];
  for (const key of [META.x402, META.x402Dotted]) {
    const value = meta[key];
    if (value !== undefined) shown.push(readX402(key, value));
  }
  const value = meta[META.mpp];
  if (value !== undefined) shown.push(readMpp(value));
  return shown;
}

/** The specification sends the payload as an object, other clients the text that would be the header. */
function readX402(key: string, value: Json): Shown {
  const payload = typeof value === 'string' ? decodeJson(value) : value;
  const header = isObject(payload) && payload.x402Version === 1 ? 'x-payment' : 'payment-signature';
  if (typeof value === 'string') return { header, value, identity: identifyX402(value) };
  if (!isObject(value)) throw unreadable(key);
  const text = Buffer.from(JSON.stringify(value), 'utf8').toString('base64');
  return { header, value: text, identity: identifyX402(text) };
}

/** In `_meta` the request of the echoed challenge is an object; the header has it as base64url JSON. */
function readMpp(value: Json): Shown {
  const challenge = isObject(value) ? value.challenge : undefined;
  if (!isObject(value) || !isObject(challenge)) throw unreadable(META.mpp);
  const { meta: _, request, ...terms } = challenge;
  const echoed = isObject(request) ? encodeJson(request) : request;
  const token = encodeJson({ ...value, challenge: { ...terms, request: echoed ?? null } });
  return { header: 'payment-authorization', value: `Payment ${token}`, identity: identifyMpp(token) };
}

function readHeaders(carried: Carried): Shown[] {
  const shown: Shown[] = [];
  for (const header of ['payment-signature', 'x-payment']) {
    const value = carried.header(header);
    if (value !== undefined) shown.push({ header, value, identity: identifyX402(value) });
  }
  const own = carried.header('payment-authorization');
  if (own !== undefined) {
    const token = findAuthorization(own, ['payment']) ?? own;
    shown.push({ header: 'payment-authorization', value: own, identity: identifyMpp(token) });
  }
  const authorization = carried.header('authorization');
  if (authorization === undefined) return shown;
  const payment = findAuthorization(authorization, ['payment']);
  if (payment !== undefined) {
    shown.push({ header: 'authorization', value: authorization, identity: identifyMpp(payment) });
  }
  const token = findAuthorization(authorization, ['l402', 'lsat']);
  if (token !== undefined) {
    shown.push({ header: 'authorization', value: authorization, identity: `l402 ${token}` });
  }
  return shown;
}

/** Which of two payments was meant is nobody's guess: taking either could cost the payer both. */
function refuseSeveral(shown: readonly Shown[]): void {
  if (shown.every(({ identity }) => identity === shown[0]?.identity)) return;
  throw new Problem('malformed-request', {
    detail: 'Two different payments came with one request. Send one of them.',
    isUncharged: true,
  });
}

/** One authorization is one payment, whatever envelope it comes in. */
function identifyX402(text: string): string {
  const envelope = decodeJson(text);
  return `x402 ${isObject(envelope) ? spellForm(envelope.payload) : text}`;
}

function identifyMpp(token: string): string {
  const envelope = decodeJson(token);
  if (!isObject(envelope)) return `mpp ${token}`;
  const { challenge } = envelope;
  return `mpp ${isObject(challenge) ? spellForm(challenge.id) : ''} ${spellForm(envelope.payload)}`;
}

function spellForm(value: Json | undefined): string {
  try {
    return canonicalJson(value);
  } catch {
    // Too deep for any wire: it is told so there.
    return JSON.stringify(value);
  }
}

function unreadable(key: string): Problem {
  return new Problem('malformed-request', {
    detail: `_meta["${key}"] is not a payment.`,
    isUncharged: true,
  });
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function encodeJson(value: Json): string {
  return Buffer.from(JSON.stringify(value), 'utf8').toString('base64url');
}

/** JSON in base64 of either alphabet; undefined for anything else. */
export function decodeJson(text: string): Json | undefined {
  try {
    const value: Json = JSON.parse(Buffer.from(text, 'base64').toString('utf8'));
    return value;
  } catch {
    return undefined;
  }
}
