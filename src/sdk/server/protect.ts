import type { IncomingMessage, ServerResponse } from 'node:http';
import { CallRefused } from './refused.ts';
import type { MillicentCall, MillicentVerifier } from './verify-call.ts';

/** What a handler of node:http is given: the body was read already. */
export type NodeCall = { call: MillicentCall; body: Buffer };

const BODY_BYTES_MAX = 4 * 1024 * 1024;

/** Puts a verifier before a handler of node:http (or Express, before anything reads the body). */
export function protectNode(
  verify: MillicentVerifier,
  handler: (request: IncomingMessage, response: ServerResponse, call: NodeCall) => void | Promise<void>,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  return async (request, response) => {
    let call: NodeCall;
    try {
      const body = await readBody(request);
      if (body === undefined) return void response.writeHead(413).end();
      call = { body, call: await verify({ headers: request.headers, body }) };
    } catch (error) {
      const { status, headers, text } = explain(error);
      return void response.writeHead(status, headers).end(text);
    }
    await handler(request, response, call);
  };
}

/** Puts a verifier before a handler of web requests; the request it passes on can be read anew. */
export function protectFetch(
  verify: MillicentVerifier,
  handler: (request: Request, call: MillicentCall) => Response | Promise<Response>,
): (request: Request) => Promise<Response> {
  return async (request) => {
    let body: Buffer | undefined;
    let call: MillicentCall;
    try {
      body = await readBody(request.body ?? []);
      if (body === undefined) return new Response(null, { status: 413 });
      call = await verify({ headers: request.headers, body });
    } catch (error) {
      const { status, headers, text } = explain(error);
      return new Response(text, { status, headers });
    }
    const { url, method, headers, signal } = request;
    const again = ['GET', 'HEAD'].includes(method) ? {} : { body: new Uint8Array(body) };
    return handler(new Request(url, { method, headers, signal, ...again }), call);
  };
}

async function readBody(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.byteLength;
    if (bytes > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Rethrows what is no refusal. */
function explain(error: unknown) {
  if (!(error instanceof CallRefused)) throw error;
  const isOurs = error.reason === 'keys-unavailable';
  return {
    status: isOurs ? 503 : 401,
    headers: {
      'content-type': 'application/json',
      ...(isOurs ? { 'retry-after': '30' } : { 'www-authenticate': 'Bearer error="invalid_token"' }),
    },
    text: JSON.stringify({ error: error.reason, message: error.message }),
  };
}
