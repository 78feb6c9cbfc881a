import { callTool } from './call-tool.ts';
import { discover, initialize, LISTED } from './greet.ts';
import { invalidParams, methodNotFound } from './json-rpc.ts';
import { listTools } from './list-tools.ts';
import { acknowledgeListening } from './listen.ts';
import { readLogLevel } from './log-levels.ts';
import { passOn } from './pass-on.ts';
import type { Reply } from './reply.ts';
import { answerWith, type McpDeps, type McpRequest } from './request.ts';
import { portray, toCapabilities } from './served.ts';

/** Answers one request by its method, in the era of its client. */
export async function dispatch(deps: McpDeps, asked: McpRequest): Promise<Reply> {
  const { client, request, served } = asked;
  const { method, params } = request;
  if (method === 'tools/list') {
    const listed = listTools(deps, served, params);
    return answerWith(asked, client.era === '2026' ? { ...LISTED, ...listed } : listed);
  }
  if (method === 'tools/call') return callTool(deps, asked);
  return client.era === '2026' ? dispatchStateless(deps, asked) : dispatchSession(deps, asked);
}

async function dispatchStateless(deps: McpDeps, asked: McpRequest): Promise<Reply> {
  const { request, served, sink } = asked;
  const portrait = portray(served);
  switch (request.method) {
    case 'server/discover':
      return answerWith(asked, discover(portrait, deps.version));
    case 'subscriptions/listen': {
      const { acknowledgement, result } = acknowledgeListening(portrait, request);
      sink.send(acknowledgement);
      return answerWith(asked, result);
    }
    default:
      return passOn(deps, asked);
  }
}

async function dispatchSession(deps: McpDeps, asked: McpRequest): Promise<Reply> {
  const { request, served, client } = asked;
  const portrait = portray(served);
  switch (request.method) {
    case 'initialize': {
      if (typeof request.params.protocolVersion !== 'string') {
        throw invalidParams('protocolVersion is the revision that the client wants to speak.');
      }
      const result = initialize(portrait, client, deps.version);
      const session = deps.mcpSessions.issue(client.face);
      return { kind: 'answer', answer: { result }, headers: [['mcp-session-id', session]] };
    }
    case 'ping':
      return answerWith(asked, {});
    case 'logging/setLevel': {
      if (toCapabilities(portrait).logging === undefined) throw methodNotFound(request.method);
      const level = readLogLevel(request.params.level);
      if (!level) throw invalidParams('level is one of debug to emergency.');
      if (client.sessionId !== undefined) deps.logLevels.set(client.sessionId, level);
      return answerWith(asked, {});
    }
    default:
      return passOn(deps, asked);
  }
}
