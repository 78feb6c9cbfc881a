import { type Problem, spellProblem as spellDocument } from '../../../core/problem.ts';
import type { McpEra } from './payment-required.ts';
import { isObject, type JsonObject } from './request.ts';

/** Where the problem document of a call that did not deliver stands. */
export const PROBLEM_META = 'millicent/problem';

/** Challenges have places of their own, and are no part of the document. */
const CHALLENGE_MEMBERS = new Set(['accepts', 'x402Version']);

/**
 * A refusal as the result of `tools/call`: clients read results, and most drop what a JSON-RPC error says.
 * There is no challenge in it: where money may have moved, none must be seen (MONEY.md, rule 12).
 */
export function spellProblem(problem: Problem, context: { era: McpEra; requestId: string }): JsonObject {
  return {
    ...(context.era === '2026' ? { resultType: 'complete' } : {}),
    isError: true,
    content: [{ type: 'text', text: describe(problem) }],
    _meta: { [PROBLEM_META]: toProblemDocument(problem, context.requestId) },
  };
}

/** The problem document (RFC 9457), with `retry_after_seconds` where a header would say it. */
export function toProblemDocument(problem: Problem, requestId: string): JsonObject {
  const document = JSON.parse(spellDocument(problem, requestId));
  if (!isObject(document)) return {};
  const { retryAfterSeconds } = problem.options;
  return {
    ...Object.fromEntries(Object.entries(document).filter(([name]) => !CHALLENGE_MEMBERS.has(name))),
    ...(retryAfterSeconds === undefined ? {} : { retry_after_seconds: retryAfterSeconds }),
  };
}

/** What a model reads. */
export function describe({ title, options: { detail, isUncharged, retryAfterSeconds } }: Problem): string {
  const parts = [`${title}: ${detail}`];
  if (isUncharged) parts.push('No charge applied.');
  if (retryAfterSeconds !== undefined) parts.push(`Try again in ${retryAfterSeconds} seconds.`);
  return parts.join(' ');
}
