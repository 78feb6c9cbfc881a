import type { Problem } from '../../core/problem.ts';
import type { Ctx, HttpDeps } from '../env.ts';
import { recogniseProblem } from '../problems.ts';
import { spellProblem } from './dialects/index.ts';
import type { Client } from './era.ts';
import { CODE, isObject, RpcFault } from './json-rpc.ts';
import type { Reply } from './reply.ts';
import { statusOf } from './server-error.ts';

type Circumstances = {
  /** Undefined while it is not known who asks. */
  client: Client | undefined;
  /** Of `tools/call`: its refusals are results, which clients read and models see. */
  isCall: boolean;
  idOrName: string;
  cancelled?: AbortSignal;
};

/** Turns whatever was thrown into an answer that MCP has for it. */
export function toReply(
  deps: Pick<HttpDeps, 'log' | 'settings'>,
  c: Ctx,
  thrown: unknown,
  circumstances: Circumstances,
): Reply {
  const { client, isCall, idOrName, cancelled } = circumstances;
  const era = client?.era ?? '2025';
  if (thrown instanceof RpcFault) {
    const { error } = thrown;
    return { kind: 'answer', answer: { error }, status: thrown.status ?? statusOf(era, error.code) };
  }
  const problem = recogniseProblem(deps.log, thrown, c);
  const requestId = c.env.requestId ?? '';
  if (cancelled?.aborted && problem.type === 'unavailable') {
    return {
      kind: 'answer',
      answer: { error: { code: CODE.refused, message: 'The request was cancelled.' } },
    };
  }
  const isResult = isCall && !AS_ERRORS.has(problem.type);
  const spelled = spellProblem(problem, { era, requestId });
  if (isResult) return { kind: 'answer', answer: { result: spelled } };
  const data = isObject(spelled._meta) ? spelled._meta : {};
  return {
    kind: 'answer',
    answer: { error: { code: codeOf(problem, client), message: problem.message, data } },
    status: httpStatusOf(problem, client),
    headers: headersOf(deps, problem, idOrName),
  };
}

/** Refusals that are not about the call, and those that HTTP has to say. */
const AS_ERRORS: ReadonlySet<Problem['type']> = new Set([
  'unauthorized',
  'internal-error',
  'malformed-request',
]);

function codeOf({ type }: Problem, client: Client | undefined): number {
  switch (type) {
    case 'malformed-request':
      // Who asks is read out of the message: from then on it is what the message says that is wrong.
      return client === undefined ? CODE.parseError : CODE.invalidParams;
    case 'body-too-large':
    case 'unsupported-media-type':
      return CODE.invalidRequest;
    case 'internal-error':
    case 'tool-failed':
    case 'tool-timeout':
      return CODE.internalError;
    default:
      return CODE.refused;
  }
}

/** Who asks, what is asked of whom, and whether it could be read, are HTTP's to say; all else went well there. */
function httpStatusOf({ type, status }: Problem, client: Client | undefined): number {
  if (client === undefined) return status;
  return type === 'unauthorized' || type === 'not-found' ? status : 200;
}

function headersOf(
  { settings }: Pick<HttpDeps, 'settings'>,
  { type, options }: Problem,
  idOrName: string,
): [string, string][] {
  const headers: [string, string][] = [];
  if (type === 'unauthorized') {
    const path = `/.well-known/oauth-protected-resource/mcp/${encodeURIComponent(idOrName)}`;
    const metadata = `${settings.publicUrl}${path}`;
    headers.push(['www-authenticate', `Bearer error="invalid_token", resource_metadata="${metadata}"`]);
  }
  if (options.retryAfterSeconds !== undefined)
    headers.push(['retry-after', String(options.retryAfterSeconds)]);
  return headers;
}
