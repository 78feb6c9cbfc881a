import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { z } from 'zod';
import { equalConstantTime } from '../../../../core/bytes.ts';
import type { Agent } from './agent.ts';
import {
  fundSchema,
  hashSchema,
  invoiceInputSchema,
  mineSchema,
  payInputSchema,
  settleSchema,
  toJson,
  transactionSchema,
} from './api.ts';
import { type Chain, toLine } from './chain.ts';
import { countUsable, readBalanceMsat } from './channels.ts';
import { fromHex, toHex } from './ldk.ts';
import type { LightningNode } from './node.ts';
import type { Receiver } from './receive.ts';
import { Refusal } from './refusal.ts';
import type { Payer } from './send.ts';
import { waitForCommit } from './wait.ts';

export type ApiDeps = {
  node: LightningNode;
  receiver: Receiver;
  payer: Payer;
  /** Only the node that keeps the chain has it. */
  chain: Chain | undefined;
  agent: Agent | undefined;
  token: string;
};

const BODY_MAX_BYTES = 128 * 1024;
const SETTLE_WAIT_MS = 15_000;
const POLL_WAIT_MAX_MS = 30_000;
const BLOCKS_PAGE = 500;

type Route = (deps: ApiDeps, input: { id: string; query: URLSearchParams; body: unknown }) => unknown;

const ROUTES: Record<string, Route> = {
  'GET /health': ({ node }) => {
    const usableChannels = countUsable(node);
    return { isReady: usableChannels > 0, nodeId: node.id, height: node.height(), usableChannels };
  },
  'GET /balance': ({ node }) => ({ msat: readBalanceMsat(node) }),
  'GET /changes': readChanges,
  'POST /invoices': ({ receiver }, { body }) => {
    const { paymentHash, ...input } = invoiceInputSchema.parse(body);
    return receiver.createInvoice({ ...input, ...(paymentHash ? { hold: { paymentHash } } : {}) });
  },
  'GET /invoices/:id': ({ receiver }, { id }) => receiver.lookup(id),
  'POST /invoices/:id/settle': async ({ receiver }, { id, body }) => {
    const { preimage } = settleSchema.parse(body);
    await receiver.settle({ paymentHash: id, preimage }, AbortSignal.timeout(SETTLE_WAIT_MS));
    return {};
  },
  'POST /invoices/:id/cancel': async ({ receiver }, { id }) => {
    await receiver.cancel(id);
    return {};
  },
  'POST /payments': ({ payer }, { body }) => {
    const { amountMsat, ...input } = payInputSchema.parse(body);
    const timeout = AbortSignal.timeout(input.timeoutMs);
    return payer.pay({ ...input, ...(amountMsat === undefined ? {} : { amountMsat }) }, timeout);
  },
  'GET /payments/:id': ({ payer }, { id }) => payer.track(id),
  'GET /chain/tip': async (deps) => {
    const { height, hash } = await keeperOf(deps).readTip();
    return { height, hash: toHex(hash) };
  },
  'GET /chain/blocks': readBlocks,
  'POST /chain/transactions': (deps, { body }) => {
    const chain = keeperOf(deps);
    chain.broadcast(fromHex(transactionSchema.parse(body).transaction));
    if (chain.waiting() > 0) chain.mine(1);
    return {};
  },
  'POST /chain/fund': (deps, { body }) => {
    const { script, sats } = fundSchema.parse(body);
    return { transaction: toHex(keeperOf(deps).fund(fromHex(script), sats)) };
  },
  'POST /chain/mine': (deps, { body }) => {
    keeperOf(deps).mine(mineSchema.parse(body).blocks);
    return {};
  },
};

/** The service's API: for whoever has the token, on loopback. */
export function createApiServer(deps: ApiDeps): Server {
  const server = createServer((request, response) => {
    answer(deps, request)
      .then(({ status, body }) => send(response, status, body))
      .catch((error) => send(response, 500, { error: String(error) }));
  });
  // A payment to a hold invoice is answered when that is settled.
  server.requestTimeout = 0;
  return server;
}

type Answer = { status: number; body: unknown };

async function answer(deps: ApiDeps, request: IncomingMessage): Promise<Answer> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  try {
    const body = await readBody(request);
    const byAgent = deps.agent?.route({ method: request.method ?? '', path: url.pathname, body });
    if (byAgent !== undefined) return await byAgent;
    if (!equalConstantTime(request.headers.authorization ?? '', `Bearer ${deps.token}`)) {
      return { status: 401, body: { error: 'the token is not valid' } };
    }
    const { route, id } = findRoute(request.method ?? '', url.pathname);
    if (route === undefined) return { status: 404, body: { error: 'there is no such route' } };
    return { status: 200, body: await route(deps, { id, query: url.searchParams, body }) };
  } catch (error) {
    if (error instanceof Refusal) return { status: 409, body: { error: error.message } };
    if (error instanceof z.ZodError) return { status: 400, body: { error: z.prettifyError(error) } };
    if (error instanceof SyntaxError) return { status: 400, body: { error: 'the body is no JSON' } };
    return { status: 500, body: { error: error instanceof Error ? error.message : String(error) } };
  }
}

function findRoute(method: string, path: string): { route: Route | undefined; id: string } {
  const [, noun = '', id = '', ...rest] = path.split('/');
  if (hashSchema.safeParse(id).success) {
    return { route: ROUTES[`${method} /${[noun, ':id', ...rest].join('/')}`], id };
  }
  return { route: ROUTES[`${method} ${path}`], id: '' };
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  if (request.method !== 'POST') return undefined;
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_MAX_BYTES) throw new Refusal('the body is too large');
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8') || '{}');
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(toJson(body));
}

async function readChanges({ node, receiver }: ApiDeps, { query }: { query: URLSearchParams }) {
  const after = query.get('after') ?? undefined;
  const look = () => {
    const changes = receiver.changesAfter(after);
    return changes.length > 0 ? { changes } : undefined;
  };
  return waitOr(node, look, query, { changes: [] });
}

async function readBlocks(deps: ApiDeps, { query }: { query: URLSearchParams }) {
  const chain = keeperOf(deps);
  const after = Math.max(0, Number(query.get('after')) || 0);
  const look = () => {
    const blocks = chain.blocksAfter(after).slice(0, BLOCKS_PAGE).map(toLine);
    return blocks.length > 0 ? { blocks } : undefined;
  };
  return waitOr(deps.node, look, query, { blocks: [] });
}

/** What `look` finds within the time that the caller would wait, else `nothing`. */
function waitOr<T>(
  node: LightningNode,
  look: () => T | undefined,
  query: URLSearchParams,
  nothing: T,
): Promise<T> {
  const waitMs = Math.min(POLL_WAIT_MAX_MS, Math.max(0, Number(query.get('waitMs')) || 0));
  if (waitMs === 0) return Promise.resolve(look() ?? nothing);
  return waitForCommit(node, look, AbortSignal.timeout(waitMs)).catch(() => nothing);
}

function keeperOf({ chain }: ApiDeps): Chain {
  if (chain === undefined) throw new Refusal('this node keeps no chain');
  return chain;
}
