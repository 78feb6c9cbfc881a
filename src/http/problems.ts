import { HTTPException } from 'hono/http-exception';
import type { Log } from '../core/log.ts';
import { Problem, spellProblem } from '../core/problem.ts';
import type { Ctx } from './env.ts';

/** Turns whatever was thrown into `application/problem+json` (RFC 9457). Only a `Problem` may speak. */
export function answerProblem(log: Log, thrown: unknown, c: Ctx): Response {
  const problem = toProblem(thrown);
  const { requestId = '' } = c.env;
  note(log, problem, { requestId, path: c.req.path });
  return new Response(spellProblem(problem, requestId), {
    status: problem.status,
    headers: toHeaders(problem, requestId),
  });
}

/**
 * A plain object with one value for each name, several joined the way RFC 9110 (5.3) lets anyone join them:
 * `Headers` would join them too, and costs more than all the rest of the answer.
 */
function toHeaders(problem: Problem, requestId: string): Record<string, string> {
  const { headers = [], retryAfterSeconds } = problem.options;
  const joined: Record<string, string> = {
    'content-type': 'application/problem+json',
    'x-request-id': requestId,
  };
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    const earlier = joined[key];
    joined[key] = earlier === undefined ? value : `${earlier}, ${value}`;
  }
  if (problem.type === 'unauthorized') joined['www-authenticate'] = 'Bearer error="invalid_token"';
  if (retryAfterSeconds !== undefined) joined['retry-after'] = String(retryAfterSeconds);
  return joined;
}

/** Our bugs are errors with their trace; what waits behind a refusal is worth a warning; a refusal is neither. */
function note(log: Log, problem: Problem, fields: { requestId: string; path: string }): void {
  const { cause } = problem.options;
  if (problem.type === 'internal-error') log.error({ ...fields, err: cause }, 'a request met a bug');
  else if (cause !== undefined) log.warn({ ...fields, problem: problem.type, err: cause }, problem.title);
  else log.debug({ ...fields, problem: problem.type }, problem.title);
}

function toProblem(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  if (thrown instanceof HTTPException && thrown.status === 404) {
    return new Problem('not-found', { detail: 'There is nothing at this address.' });
  }
  return new Problem('internal-error', {
    detail: 'The request id names the entry in our log.',
    cause: thrown,
  });
}
