import { z } from 'zod';
import { DemoFailure } from './must.ts';

export type Fetch = typeof globalThis.fetch;
export type Answer = { status: number; headers: Headers; text: string };

export type Request = {
  method?: 'GET' | 'POST' | 'PUT';
  body?: unknown;
  /** In place of a body of JSON. */
  form?: FormData;
  /** A bearer key. */
  key?: string | undefined;
  headers?: Record<string, string>;
  /** How the request is sent: a client that pays, or plain fetch when left out. */
  fetch?: Fetch;
};

const TIMEOUT_MS = 60_000;

/** One HTTP exchange, whatever its status. */
export async function send(url: string, request: Request = {}): Promise<Answer> {
  const { body, form, key, headers = {}, fetch = globalThis.fetch } = request;
  const content = form ?? (body === undefined ? undefined : JSON.stringify(body));
  try {
    const response = await fetch(url, {
      method: request.method ?? (content === undefined ? 'GET' : 'POST'),
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
        ...headers,
      },
      ...(content === undefined ? {} : { body: content }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (cause) {
    throw new DemoFailure(`${url} got no answer: ${cause instanceof Error ? cause.message : cause}`);
  }
}

/** The JSON of an answer that must have this status and this shape. */
export function read<T>(answer: Answer, status: number, schema: z.ZodType<T>): T {
  if (answer.status !== status) {
    throw new DemoFailure(`The answer should be ${status} and is ${answer.status}: ${excerpt(answer.text)}`);
  }
  const parsed = schema.safeParse(parseJson(answer.text));
  if (!parsed.success) {
    throw new DemoFailure(`The answer does not have the documented shape: ${excerpt(answer.text)}`);
  }
  return parsed.data;
}

/** `application/problem+json` (RFC 9457) as the gateway writes it. */
export const problemSchema = z.looseObject({
  ok: z.literal(false),
  title: z.string(),
  detail: z.string(),
  note: z.string().optional(),
});

export const callAnswerSchema = z.looseObject({
  ok: z.literal(true),
  result: z.looseObject({ structuredContent: z.record(z.string(), z.unknown()) }),
  charged_mcents: z.int(),
  receipt_id: z.string().optional(),
  balance_mcents: z.int().optional(),
});
export type CallAnswer = z.infer<typeof callAnswerSchema>;

export const issuedKeySchema = z.looseObject({
  ok: z.literal(true),
  key: z.string().regex(/^mcp_[0-9a-f]{48}$/),
  balance_mcents: z.int(),
  scopes: z.array(z.string()),
});

export const balanceSchema = z.looseObject({
  balance_mcents: z.int(),
  earned_mcents: z.int().optional(),
});

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function excerpt(text: string): string {
  return text.length <= 600 ? text : `${text.slice(0, 600)}...`;
}
