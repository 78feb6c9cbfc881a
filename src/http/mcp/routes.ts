import { Hono } from 'hono';
import { createPaymentPages, createPriceTags, findMcpServer } from '../../gateway/index.ts';
import { clientSignal } from '../answer.ts';
import { readPrincipal } from '../auth.ts';
import { BODY_BYTES_MAX, readJson } from '../body.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';
import { createAsks } from './asks.ts';
import { pinnedVersion } from './call-tool.ts';
import { dispatch } from './dispatch.ts';
import { type Client, readClient } from './era.ts';
import { toReply } from './faults.ts';
import { findId, type RpcId, type RpcMessage, type RpcRequest, readMessage } from './json-rpc.ts';
import { createLogLevels } from './log-levels.ts';
import { refuseRebinding } from './origin.ts';
import { answerRequest, toResponse } from './reply.ts';
import { type McpDeps, readMeta } from './request.ts';
import { createRunning } from './running.ts';
import { shareSessions, tellAnswer, tellCancelled } from './shared-sessions.ts';

const ASKS_WAITING_MAX = 4_096;
const LOG_LEVELS_MAX = 10_000;
/** One for all: an error of its own, with its stack, would cost more than most requests. */
const OVER = new DOMException('The request is over.', 'AbortError');

/** MCP itself (streamable HTTP): every listed server, and our own, for clients of every era. */
export function mcpRoutes(http: HttpDeps): App {
  const app = new Hono<Env>();
  const deps: McpDeps = {
    ...http,
    asks: createAsks({ waitingMax: ASKS_WAITING_MAX }),
    running: createRunning(),
    logLevels: createLogLevels({ sessionsMax: LOG_LEVELS_MAX }),
    pages: createPaymentPages({ secrets: http.keySecrets, clock: http.clock }),
    priceTags: createPriceTags(http),
  };
  shareSessions(deps);
  app.post('/mcp/:id', (c) => answerPost(deps, c, c.req.param('id')));
  return app;
}

async function answerPost(deps: McpDeps, c: Ctx, idOrName: string): Promise<Response> {
  let id: RpcId | null = null;
  let client: Client | undefined;
  try {
    refuseRebinding(deps, c);
    const body = await readJson(c, BODY_BYTES_MAX.call);
    id = findId(body);
    const message = readMessage(body);
    client = readClient((name) => c.req.header(name), message, deps.mcpSessions);
    if (message.kind !== 'request') return take(deps, c, message, client);
    return await answerAsked(deps, c, { request: message, client, idOrName });
  } catch (thrown) {
    const reply = toReply(deps, c, thrown, { client, isCall: false, idOrName });
    return toResponse(id, reply);
  }
}

/** What needs no answer (MCP, "Sending Messages to the Server"): 202, whatever it is. */
function take(
  deps: McpDeps,
  c: Ctx,
  message: Exclude<RpcMessage, RpcRequest>,
  { sessionId }: Client,
): Response {
  if (message.kind === 'response') tellAnswer(deps, message);
  else if (message.method === 'notifications/cancelled') {
    const { requestId } = message.params;
    if (typeof requestId === 'string' || typeof requestId === 'number') {
      tellCancelled(deps, { sessionId, requestId });
    }
  }
  return c.body(null, 202);
}

async function answerAsked(
  deps: McpDeps,
  c: Ctx,
  input: { request: RpcRequest; client: Client; idOrName: string },
): Promise<Response> {
  const { request, client, idOrName } = input;
  const meta = readMeta(request);
  const served = await findMcpServer(deps, { idOrName, version: pinnedVersion({ c, meta }) });
  const principal = await readPrincipal(deps, c);
  return answerRequest(c, request.id, async (sink) => {
    const over = new AbortController();
    const { cancel, finish } = deps.running.start(client.sessionId, request.id);
    const gone = clientSignal(c);
    gone.addEventListener('abort', () => cancel.abort(), { once: true });
    try {
      return await dispatch(deps, {
        ...{ c, request, client, served, principal, meta, sink },
        ...{ cancelled: cancel.signal, over: over.signal },
      });
    } catch (thrown) {
      const isCall = request.method === 'tools/call';
      return toReply(deps, c, thrown, { client, isCall, idOrName, cancelled: cancel.signal });
    } finally {
      over.abort(OVER);
      finish();
    }
  });
}
