import { z } from 'zod';
import { isWithinDepth, JSON_DEPTH_MAX, type Json } from '../core/canonical-json.ts';
import { Problem } from '../core/problem.ts';
import { type OnBytes, readContent } from './content.ts';
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

const utf8 = new TextDecoder('utf-8', { fatal: true });

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new Problem('malformed-request', { detail: 'The body is not UTF-8.', isUncharged: true });
  }
}
