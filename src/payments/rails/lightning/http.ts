import { Agent, type Dispatcher, request } from 'undici';
import { timeLimit } from '../../../core/time-limit.ts';

export type HttpEndpoint = {
  baseUrl: string;
  headers?: Record<string, string>;
  /** PEM of the certificate that signed the endpoint's own, where no public authority did. */
  tlsCa?: string;
  timeoutMs: number;
};

export type HttpCall = {
  method: 'GET' | 'POST';
  path: string;
  json?: unknown;
  form?: Record<string, string>;
  /** Left out for endpoints that need no secret. */
  headers?: Record<string, string>;
};

export type HttpAnswer = { status: number; body: unknown };

export type Http = {
  /** Answers whatever the status; rejects when nothing readable came back in time. */
  send(call: HttpCall, signal: AbortSignal): Promise<HttpAnswer>;
  /** The answer as it streams, for as long as `signal` lets it. */
  stream(call: HttpCall, signal: AbortSignal): Promise<Dispatcher.ResponseData>;
};

/** What a vendor answered instead of what was asked for. Its text is for the log. */
export class HttpError extends Error {
  override name = 'HttpError';
  readonly answer: HttpAnswer;

  constructor(call: HttpCall, answer: HttpAnswer) {
    super(`${call.method} ${call.path} was answered with ${answer.status}: ${excerpt(answer.body)}`);
    this.answer = answer;
  }
}

const BODY_BYTES_MAX = 1024 * 1024;

/** JSON over HTTP with bounds on time and size, and a certificate authority of one's own where needed. */
export function createHttp(endpoint: HttpEndpoint): Http {
  const dispatcher = endpoint.tlsCa ? new Agent({ connect: { ca: endpoint.tlsCa } }) : undefined;
  const open = (call: HttpCall, signal: AbortSignal, bodyTimeout: number) =>
    request(endpoint.baseUrl + call.path, {
      method: call.method,
      headers: { ...endpoint.headers, ...call.headers, ...contentTypeOf(call) },
      body: bodyOf(call),
      signal,
      headersTimeout: endpoint.timeoutMs,
      bodyTimeout,
      ...(dispatcher ? { dispatcher } : {}),
    });
  return {
    async send(call, signal) {
      const bound = timeLimit(signal, endpoint.timeoutMs);
      const response = await open(call, bound, endpoint.timeoutMs);
      return { status: response.statusCode, body: parse(await readText(response.body)) };
    },
    // No end of its own: a subscription is silent for as long as nobody pays.
    stream: (call, signal) => open(call, signal, 0),
  };
}

/** The body of an answer that must be a success. */
export function expectSuccess(call: HttpCall, answer: HttpAnswer): unknown {
  if (answer.status >= 200 && answer.status < 300) return answer.body;
  throw new HttpError(call, answer);
}

/** The lines of a stream, each of at most a megabyte. */
export async function* readLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest = '';
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > BODY_BYTES_MAX) throw new Error('a line of the stream is too long');
    for (const line of lines) if (line.trim() !== '') yield line;
  }
  if (rest.trim() !== '') yield rest;
}

function contentTypeOf(call: HttpCall): Record<string, string> {
  if (call.json !== undefined) return { 'content-type': 'application/json' };
  return call.form ? { 'content-type': 'application/x-www-form-urlencoded' } : {};
}

function bodyOf(call: HttpCall): string | null {
  if (call.json !== undefined) return JSON.stringify(call.json);
  return call.form ? new URLSearchParams(call.form).toString() : null;
}

async function readText(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new Error('the answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** JSON where it is JSON: an error may be a line of text. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function excerpt(body: unknown): string {
  return (typeof body === 'string' ? body : (JSON.stringify(body) ?? '')).slice(0, 200);
}
