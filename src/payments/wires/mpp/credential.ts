import { z } from 'zod';
import { canonicalJson } from '../../../core/canonical-json.ts';
import type { Clock } from '../../../core/clock.ts';
import type { Carried, Credential, CredentialReading, Refusal, RefusalCode } from '../../wire.ts';
import { CREDENTIAL_HEADER, isBound } from './binding.ts';
import { readReference, spellDigest } from './challenge.ts';
import { findPaymentScheme } from './header-value.ts';
import { isMethodName, type MethodName, readForm } from './methods.ts';
import { spellScopeAlone, toBase64url } from './template.ts';

export type Reader = { keys: readonly Buffer[]; realm: string; clock: Clock };

const CREDENTIAL_CHARS_MAX = 16 * 1024;

const challengeSchema = z.object({
  id: z.string().min(1).max(128),
  realm: z.string().max(256),
  method: z.string().max(64),
  intent: z.string().max(64),
  request: z.string().max(CREDENTIAL_CHARS_MAX),
  expires: z.string().max(64).optional(),
  digest: z.string().max(128).optional(),
  header: z.string().max(64).optional(),
  // Older clients echo it parsed.
  opaque: z.union([z.string(), z.record(z.string(), z.string())]).optional(),
});
/** draft-httpauth-payment, section 5.2. */
const credentialSchema = z.object({
  challenge: challengeSchema,
  payload: z.unknown(),
  source: z.string().max(256).optional(),
});
type Shown = z.infer<typeof credentialSchema>;
type Echo = z.infer<typeof challengeSchema>;

/** The MPP credential that a request carries, whose challenge is ours; undefined when it carries none. */
export function readCredential(reader: Reader, carried: Carried): CredentialReading | undefined {
  const token = findToken(carried);
  if (token === undefined) return undefined;
  if (token.length > CREDENTIAL_CHARS_MAX) {
    return malformed(`The Payment credential is longer than ${CREDENTIAL_CHARS_MAX} characters.`);
  }
  const shown = parseToken(token);
  if (!shown) return malformed('The Payment credential is not base64url-encoded JSON as specified.');
  const issued = findIssued(reader, shown.challenge);
  if (!issued) return malformed('The Payment credential answers no challenge of ours.', 'unknown-challenge');
  const { id, realm } = shown.challenge;
  const { method, request, quoteToken } = issued;
  const reading = readForm(method, { id, realm, request, payload: shown.payload, source: shown.source });
  if (reading.kind === 'refused') return malformed(reading.reason, reading.code);
  const refusal = judge(reader.clock, issued, carried);
  const credential: Credential = { wire: 'mpp', form: reading.form, quoteToken };
  return { kind: 'credential', credential: refusal ? { ...credential, refusal } : credential };
}

/** Id and method of the challenge that a credential says it answers; nothing of it is verified. */
export function peekChallenge(carried: Carried): { id: string; method: MethodName | undefined } | undefined {
  const token = findToken(carried);
  if (token === undefined) return undefined;
  const { id = '', method = '' } = parseToken(token)?.challenge ?? {};
  return { id, method: isMethodName(method) ? method : undefined };
}

/** What follows `Payment`, from the header that our challenges name or the usual one. */
function findToken(carried: Carried): string | undefined {
  const own = carried.header(CREDENTIAL_HEADER);
  // Nothing else belongs in there: what is not the scheme is a broken credential.
  if (own !== undefined) return findPaymentScheme(own) ?? '';
  const shared = carried.header('authorization');
  return shared === undefined ? undefined : findPaymentScheme(shared);
}

function parseToken(token: string): Shown | undefined {
  const json = decodeJson(token);
  const shown = credentialSchema.safeParse(json);
  return shown.success ? shown.data : undefined;
}

type Issued = {
  method: MethodName;
  request: unknown;
  quoteToken: string;
  expires: string | undefined;
  digest: string | undefined;
};

/** The challenge as we made it, when its id proves that we did. */
function findIssued({ keys, realm }: Reader, echo: Echo): Issued | undefined {
  const request = decodeJson(echo.request);
  const canonical = respell(request);
  if (echo.realm !== realm || canonical === undefined || !isMethodName(echo.method)) return undefined;
  const { method, intent, expires } = echo;
  const given = typeof echo.opaque === 'object' ? respell(echo.opaque) : echo.opaque;
  const dropped = method === 'lightning' ? recoverDropped(request) : undefined;
  const { digest = dropped?.digest, header = dropped?.header } = echo;
  const opaque = given ?? dropped?.opaque;
  const terms = { realm, method, intent, request: canonical, expires, digest, header, opaque };
  if (!isBound(keys, echo.id, terms)) return undefined;
  const quoteToken = dropped?.quoteToken ?? readOpaque(opaque);
  // The id covers its members joined: the same text with its members cut elsewhere has no quote of ours in it.
  if (quoteToken === undefined) return undefined;
  return { method, request, quoteToken, expires, digest };
}

/** What a stock Lightning client does not hand back, from the request that it does: see README.md. */
function recoverDropped(request: unknown) {
  const reference = readReference(referenceSchema.safeParse(request).data?.externalId ?? '');
  if (!reference) return undefined;
  const { quoteToken, digest, scope } = reference;
  return { quoteToken, digest, header: CREDENTIAL_HEADER, opaque: spellScopeAlone(scope) };
}

const referenceSchema = z.object({ externalId: z.string().optional() });
const opaqueSchema = z.object({ quote: z.string().optional() });

function readOpaque(opaque: string | undefined): string | undefined {
  return opaqueSchema.safeParse(decodeJson(opaque ?? '')).data?.quote;
}

/** Why a challenge of ours cannot be answered any more, or not by this request. */
function judge(clock: Clock, issued: Issued, carried: Carried): Refusal | undefined {
  if (issued.expires !== undefined && !(new Date(issued.expires) > clock.now())) {
    return refuse('The challenge has expired. Pay the one in this answer.', 'expired');
  }
  if (issued.digest !== spellDigest(carried.bodyDigest?.())) {
    return refuse('The payment answers the challenge of a request with another body.', 'verification-failed');
  }
  return undefined;
}

function refuse(detail: string, code: RefusalCode): Refusal {
  return { detail, code, wire: 'mpp' };
}

function malformed(reason: string, code: RefusalCode = 'malformed'): CredentialReading {
  return { kind: 'malformed', reason, code };
}

const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/;

/** Undefined for what is not base64 (either alphabet) of JSON. */
function decodeJson(token: string): unknown {
  if (!BASE64.test(token)) return undefined;
  try {
    return JSON.parse(Buffer.from(token, 'base64').toString('utf8'));
  } catch {
    return undefined;
  }
}

/** An object in the spelling that ids are made over; undefined for anything else, and for what nests too deep. */
function respell(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  try {
    return toBase64url(canonicalJson(value));
  } catch {
    return undefined;
  }
}
