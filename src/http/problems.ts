import { HTTPException } from 'hono/http-exception';
import { isDatabaseLost } from '../core/database-lost.ts';
import type { Log } from '../core/log.ts';
import { Problem, spellProblem } from '../core/problem.ts';
import type { Ctx } from './env.ts';

/** When to come again, where a 503 does not know it better. */
const RETRY_AFTER_SECONDS = 5;

/** Turns whatever was thrown into `application/problem+json` (RFC 9457). Only a `Problem` may speak. */
export function answerProblem(log: Log, thrown: unknown, c: Ctx): Response {
  const problem = recogniseProblem(log, thrown, c);
  const { requestId = '', outgoing } = c.env;
  const headers = problemHeaders(problem);
  // On a socket the envelope has said it.
  if (!outgoing) headers['x-request-id'] = requestId;
  return new Response(spellProblem(problem, requestId), { status: problem.status, headers });
}

/** What was thrown, as a `Problem` that is in the log. */
export function recogniseProblem(log: Log, thrown: unknown, c: Ctx): Problem {
  return noteProblem(log, thrown, { requestId: c.env.requestId ?? '', path: c.req.path });
}

/** The same of a request that does not come by Hono. */
export function noteProblem(
  log: Log,
  thrown: unknown,
  request: { requestId: string; path: string },
): Problem {
  const problem = toProblem(thrown);
  note(log, problem, { ...request, problem: problem.type });
  return problem;
}

/**
 * A plain object with one value for each name, several joined the way RFC 9110 (5.3) lets anyone join them:
 * `Headers` would join them too, and costs more than all the rest of the answer.
 */
export function problemHeaders(problem: Problem): Record<string, string> {
  const { headers = [], retryAfterSeconds } = problem.options;
  const joined: Record<string, string> = { 'content-type': 'application/problem+json' };
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    const earlier = joined[key];
    joined[key] = earlier === undefined ? value : `${earlier}, ${value}`;
  }
  if (problem.type === 'unauthorized') joined['www-authenticate'] = 'Bearer error="invalid_token"';
  const waitSeconds = retryAfterSeconds ?? (problem.status === 503 ? RETRY_AFTER_SECONDS : undefined);
  if (waitSeconds !== undefined) joined['retry-after'] = String(waitSeconds);
  return joined;
}

/** Our bugs are errors with their trace; what waits behind a refusal is worth a warning; a refusal is neither. */
function note(log: Log, problem: Problem, fields: object): void {
  const { cause } = problem.options;
  if (problem.type === 'internal-error') log.error({ ...fields, err: cause }, 'a request met a bug');
  else if (cause !== undefined) log.warn({ ...fields, err: cause }, problem.title);
  else log.debug(fields, problem.title);
}

function toProblem(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  if (thrown instanceof HTTPException && thrown.status === 404) {
    return new Problem('not-found', { detail: 'There is nothing at this address.' });
  }
  // Whoever may have charged by then says so, and how to ask again; this is for everything before that.
  if (isDatabaseLost(thrown)) {
    return new Problem('unavailable', {
      detail: 'The database does not answer now. Send the same request again shortly.',
      cause: thrown,
    });
  }
  return new Problem('internal-error', {
    detail: 'The request id names the entry in our log.',
    cause: thrown,
  });
}
