import { z } from 'zod';
import { isWithinDepth, JSON_DEPTH_MAX, type Json } from '../core/canonical-json.ts';
import { Problem } from '../core/problem.ts';
import type { Ctx } from './env.ts';

const KIB = 1024;
/** How large a body may be, by what it is for. */
export const BODY_BYTES_MAX = {
  key: 16 * KIB,
  call: 1024 * KIB,
  /** The publish JSON with the files in it. */
  upload: 10 * 1024 * KIB,
  /** A form with an archive, which may hold one large program. */
  archive: 32 * 1024 * KIB,
} as const;

const BODY_TIMEOUT_MS = 30_000;
/** One level less than can be hashed: a request's hash wraps what was sent in an object of its own. */
const BODY_DEPTH_MAX = JSON_DEPTH_MAX - 1;

/** Any JSON object: what came out of the parser holds nothing but JSON. */
export const jsonObject = z.custom<{ [key: string]: Json }>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be a JSON object',
);

/** The JSON body, bounded, parsed and checked. An absent body reads as `{}`. */
export async function readBody<T>(c: Ctx, schema: z.ZodType<T>, bytesMax: number): Promise<T> {
  const parsed = schema.safeParse(await readJson(c, bytesMax));
  if (parsed.success) return parsed.data;
  throw new Problem('malformed-request', { detail: describeIssues(parsed.error), isUncharged: true });
}

/** The JSON body, bounded in bytes and depth, with its shape still unknown. */
export async function readJson(c: Ctx, bytesMax: number, onBytes?: OnBytes): Promise<unknown> {
  const type = c.req.header('content-type');
  const text = decodeUtf8(await readContent(c, bytesMax, { onBytes }));
  if (text.trim() === '') return {};
  if (type !== undefined && !/^application\/(?:[a-z.+-]+\+)?json\b/i.test(type)) {
    throw new Problem('unsupported-media-type', {
      detail: 'Send the body as application/json.',
      isUncharged: true,
    });
  }
  return parseBounded(text);
}

/** The JSON value of a part of a body, bounded in depth. */
export function parseJsonText(bytes: Uint8Array): unknown {
  return parseBounded(decodeUtf8(bytes));
}

function parseBounded(text: string): unknown {
  const value = parseJson(text);
  if (!isWithinDepth(value, BODY_DEPTH_MAX)) {
    throw new Problem('malformed-request', { detail: 'The JSON body nests too deep.', isUncharged: true });
  }
  return value;
}

/** Where a value breaks its schema, in one sentence for people. */
export function describeIssues(error: z.ZodError): string {
  return error.issues
    .slice(0, 5)
    .map((issue) => `${issue.path.length > 0 ? `${issue.path.join('.')}: ` : ''}${issue.message}`)
    .join('; ');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const detail = `The body is not JSON: ${cause instanceof Error ? cause.message.slice(0, 120) : 'unreadable'}`;
    throw new Problem('malformed-request', { detail, isUncharged: true });
  }
}

/** Hears of bytes before they are kept; what it throws ends the reading. */
type OnBytes = ((bytes: number) => void) | undefined;

/** The bytes of the body as they came, bounded in number and in time. */
export async function readContent(
  c: Ctx,
  bytesMax: number,
  { timeoutMs = BODY_TIMEOUT_MS, onBytes }: { timeoutMs?: number; onBytes?: OnBytes } = {},
): Promise<Uint8Array> {
  const declared = Number(c.req.header('content-length') ?? 0);
  if (declared > bytesMax) throw tooLarge(bytesMax);
  const stream = c.req.raw.body;
  if (!stream) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const reader = stream.getReader();
  // A body that trickles in must not hold its connection and our memory for long.
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    reader.cancel().catch(() => {});
  }, timeoutMs);
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(refuseBroken);
      if (done) break;
      bytes += value.length;
      if (bytes > bytesMax) throw tooLarge(bytesMax);
      onBytes?.(value.length);
      chunks.push(value);
    }
  } finally {
    clearTimeout(timer);
  }
  // A cancelled stream ends like a whole one, and its beginning may well be JSON.
  if (isLate) {
    throw new Problem('malformed-request', {
      detail: `The body did not arrive within ${timeoutMs / 1000} seconds.`,
      isUncharged: true,
    });
  }
  const content = Buffer.concat(chunks);
  c.set('content', content);
  return content;
}

/** A client that goes away in the middle is no failure of ours. */
function refuseBroken(cause: unknown): never {
  throw new Problem('malformed-request', { detail: 'The body broke off.', cause, isUncharged: true });
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Problem('malformed-request', { detail: 'The body is not UTF-8.', isUncharged: true });
  }
}

function tooLarge(bytesMax: number): Problem {
  return new Problem('body-too-large', {
    detail: `The body may be ${bytesMax} bytes at most.`,
    isUncharged: true,
  });
}
