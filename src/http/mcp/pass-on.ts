import { Problem } from '../../core/problem.ts';
import type { Exchanged } from '../../execution/index.ts';
import { exchangeFree } from '../../gateway/index.ts';
import { callerAddress } from '../address.ts';
import { createClientEvents } from './client-events.ts';
import { dropClaims, stripMeta } from './dialects/index.ts';
import { isObject, methodNotFound } from './json-rpc.ts';
import type { Reply } from './reply.ts';
import {
  allowsNetwork,
  answerWith,
  logLevelOf,
  type McpDeps,
  type McpRequest,
  progressTokenOf,
  withoutEnvelope,
} from './request.ts';
import { type CacheHints, portray, toCapabilities, toStatelessCapabilities } from './served.ts';
import { spellError, statusOf } from './server-error.ts';

type PassedOn = { capability: string; needs?: 'subscribe'; isCacheable?: true };

/** What servers answer themselves, for nothing, by the capability that they have to declare for it. */
const PASSED_ON: Readonly<Record<string, PassedOn>> = {
  'resources/list': { capability: 'resources', isCacheable: true },
  'resources/templates/list': { capability: 'resources', isCacheable: true },
  'resources/read': { capability: 'resources', isCacheable: true },
  'resources/subscribe': { capability: 'resources', needs: 'subscribe' },
  'resources/unsubscribe': { capability: 'resources', needs: 'subscribe' },
  'prompts/list': { capability: 'prompts', isCacheable: true },
  'prompts/get': { capability: 'prompts' },
  'completion/complete': { capability: 'completions' },
};

/** Nobody knows how long the answer of a stranger's code stays true, nor for whom. */
const UNKNOWN: CacheHints = { ttlMs: 0, cacheScope: 'private' };

/** Hands a request on to the server as it is, and its answer back in the words of the client's era. */
export async function passOn(deps: McpDeps, asked: McpRequest): Promise<Reply> {
  const { request, client, served, meta, principal } = asked;
  const { method, params } = request;
  const passed = Object.hasOwn(PASSED_ON, method) ? PASSED_ON[method] : undefined;
  if (!passed || served.kind === 'built-in' || !isDeclared(asked, passed)) throw methodNotFound(method);
  const { _meta: _, ...rest } = params;
  const told = withoutEnvelope(stripMeta(meta));
  const logLevel = logLevelOf(deps, asked);
  const exchanged = await exchangeFree(
    deps,
    {
      listing: served.listing,
      request: { method, params: told ? { ...rest, _meta: told } : rest },
      client: client.face,
      events: createClientEvents({
        ...{ client, sink: asked.sink, asks: deps.asks, over: asked.over, logLevel },
        progressToken: progressTokenOf(meta),
      }),
      logLevel,
      allowNetwork: allowsNetwork(asked),
      principal,
      address: callerAddress(deps, asked.c),
    },
    asked.cancelled,
  );
  if (exchanged.kind === 'failed') throw toProblem(exchanged);
  if (exchanged.kind === 'error') {
    const error = spellError(client, exchanged);
    return { kind: 'answer', answer: { error }, status: statusOf(client.era, error.code) };
  }
  const result = dropClaims(exchanged.result);
  const isStale = client.era === '2025' || !passed.isCacheable || result.resultType === 'input_required';
  return answerWith(asked, isStale ? result : { ...UNKNOWN, ...result });
}

function isDeclared({ client, served }: McpRequest, { capability, needs }: PassedOn): boolean {
  const portrait = portray(served);
  const capabilities = client.era === '2025' ? toCapabilities(portrait) : toStatelessCapabilities(portrait);
  const declared = capabilities[capability];
  return isObject(declared) && (needs === undefined || declared[needs] === true);
}

function toProblem({ reason, detail }: Extract<Exchanged, { kind: 'failed' }>): Problem {
  if (reason === 'timeout') return new Problem('tool-timeout', { detail, isUncharged: true });
  if (reason === 'cancelled') return new Problem('unavailable', { detail, isUncharged: true });
  return new Problem('tool-failed', { detail, isUncharged: true });
}
