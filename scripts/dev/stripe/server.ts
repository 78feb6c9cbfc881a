import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256Hex } from '../../../src/core/bytes.ts';
import { ApiError, invalidRequest } from './api-error.ts';
import { type Endpoint, listEndpoints } from './endpoints.ts';
import { expandObject } from './expand.ts';
import type { Fault, FaultSwitches } from './faults.ts';
import { type Answer, createIdempotency } from './idempotency.ts';
import { renderPage } from './page.ts';
import { parseForm, type Tree } from './params.ts';
import { getSession, paySession } from './sessions.ts';
import { newId, type World } from './world.ts';

const BODY_BYTES_MAX = 1024 * 1024;
const UNKNOWN = 'An unknown error occurred';

export type ApiServer = { apiBase: string; close(): Promise<void> };

export type ApiServerInput = {
  world: World;
  faults: FaultSwitches;
  secretKey: string;
  apiVersion: string;
  port: number;
  nowMs: () => number;
};

type Reply = { status: number; headers?: Record<string, string>; body: string };
type Request = { method: string; url: URL; text: string; headers: IncomingMessage['headers'] };

/** Serves the API and the payment page on loopback. */
export async function startApiServer(input: ApiServerInput): Promise<ApiServer> {
  const { world } = input;
  const answer = createAnswerer(input);
  const server = createServer((incoming, outgoing) => {
    handle(incoming, outgoing, answer).catch(() => incoming.socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(input.port, '127.0.0.1', resolve));
  // A listening TCP server has an address with a port.
  const { port } = server.address() as AddressInfo;
  world.apiBase = `http://127.0.0.1:${port}`;
  return {
    apiBase: world.apiBase,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

type Answerer = (request: Request) => Promise<Reply | 'broken'>;

async function handle(incoming: IncomingMessage, outgoing: ServerResponse, answer: Answerer): Promise<void> {
  const text = await readBody(incoming);
  const url = new URL(incoming.url ?? '/', 'http://127.0.0.1');
  const reply = await answer({ method: incoming.method ?? '', url, text, headers: incoming.headers });
  if (reply === 'broken') {
    incoming.socket.destroy();
    return;
  }
  outgoing.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers });
  outgoing.end(reply.body);
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new Error('the body is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function createAnswerer(input: ApiServerInput): Answerer {
  const { world, faults } = input;
  const endpoints = listEndpoints(faults);
  const idempotency = createIdempotency(input.nowMs);
  return async (request) => {
    const pageId = /^\/c\/pay\/([A-Za-z0-9_]+)$/.exec(request.url.pathname)?.[1];
    if (pageId !== undefined) return answerPage(world, pageId, request);
    const endpoint = endpoints.find(
      ({ method, path }) => method === request.method && path.test(request.url.pathname),
    );
    const before = endpoint && faults.take(endpoint.operation, 'before');
    if (before) return toBroken(before);
    const reply = await answerApi(input, idempotency, endpoint, request);
    const after = endpoint && faults.take(endpoint.operation, 'after');
    return after ? toBroken(after) : reply;
  };
}

function toBroken(fault: Fault): Reply | 'broken' {
  if (fault.status === undefined) return 'broken';
  const type = fault.status === 429 ? 'rate_limit_error' : 'api_error';
  const error = { type, message: UNKNOWN };
  return { status: fault.status, body: JSON.stringify({ error }) };
}

async function answerApi(
  input: ApiServerInput,
  idempotency: ReturnType<typeof createIdempotency>,
  endpoint: Endpoint | undefined,
  request: Request,
): Promise<Reply> {
  const { method, url, text, headers } = request;
  const apiVersion = String(headers['stripe-version'] ?? input.apiVersion);
  const common = { 'request-id': newId('req'), 'stripe-version': apiVersion };
  const key = method === 'POST' ? headers['idempotency-key']?.toString() : undefined;
  try {
    authenticate(headers.authorization, input.secretKey);
    if (!endpoint) throw unrecognized(request);
    // A key is in use for as long as its first request takes.
    const work = async () => {
      const kept = input.faults.take(endpoint.operation, 'kept');
      if (kept) throw new ApiError(kept.status ?? 500, { type: 'api_error', message: UNKNOWN });
      const answer = run(input.world, endpoint, { url, text, apiVersion });
      await sleep(input.faults.delayOf(endpoint.operation));
      return answer;
    };
    if (key === undefined) return toReply(await work(), common);
    const fingerprint = sha256Hex(method, url.pathname, '\0', text);
    const { isReplay, ...answer } = await idempotency.run({ key, fingerprint }, work);
    const replayed: Record<string, string> = isReplay ? { 'idempotent-replayed': 'true' } : {};
    return toReply(answer, { ...common, 'idempotency-key': key, ...replayed });
  } catch (error) {
    if (error instanceof ApiError) {
      return toReply({ status: error.status, body: { error: error.body } }, common);
    }
    const body = { error: { type: 'api_error', message: String(error) } };
    return toReply({ status: 500, body }, common);
  }
}

function run(
  world: World,
  endpoint: Endpoint,
  { url, text, apiVersion }: { url: URL; text: string; apiVersion: string },
): Answer {
  const params = parseForm(endpoint.method === 'GET' ? url.search.slice(1) : text);
  const id = decodeURIComponent(endpoint.path.exec(url.pathname)?.[1] ?? '');
  const object = endpoint.run(world, { id, params, apiVersion });
  return { status: 200, body: expandObject(world, object, readExpand(params)) };
}

function readExpand({ expand }: Tree): string[] {
  return Array.isArray(expand) ? expand.filter((path) => typeof path === 'string') : [];
}

function toReply(answer: Answer, headers: Record<string, string>): Reply {
  return { status: answer.status, headers, body: JSON.stringify(answer.body, undefined, 2) };
}

function authenticate(header: string | undefined, secretKey: string): void {
  const [scheme = '', value = ''] = (header ?? '').split(' ');
  const basic = Buffer.from(value, 'base64').toString('utf8').split(':')[0] ?? '';
  const given = scheme.toLowerCase() === 'basic' ? basic : value;
  if (given === '') {
    throw invalidRequest('You did not provide an API key.', { status: 401, isKept: false });
  }
  // Whoever acts for an agent has an account, and so a key, of its own.
  if (given === secretKey || given.startsWith('sk_test_agent')) return;
  throw invalidRequest(`Invalid API Key provided: ${given.slice(0, 8)}***`, { status: 401, isKept: false });
}

function unrecognized({ method, url }: Request): ApiError {
  const message = `Unrecognized request URL (${method}: ${url.pathname}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.`;
  return invalidRequest(message, { status: 404, isKept: false });
}

function answerPage(world: World, id: string, { method, text }: Request): Reply {
  const html = { 'content-type': 'text/html; charset=utf-8' };
  const session = world.sessions.get(id) && getSession(world, id);
  if (!session) return { status: 404, headers: html, body: '<p>There is no such session.</p>' };
  if (method !== 'POST') return { status: 200, headers: html, body: renderPage(session) };
  try {
    paySession(world, id, new URLSearchParams(text).get('payment_method') ?? 'pm_card_visa');
    const location = session.success_url.replaceAll('{CHECKOUT_SESSION_ID}', id);
    return { status: 303, headers: { location }, body: '' };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return { status: error.status, headers: html, body: renderPage(session, error.message) };
  }
}
