import type { Json } from '../../../core/canonical-json.ts';
import type { Problem } from '../../../core/problem.ts';
import { type Challenges, readChallenges } from './challenges.ts';
import type { PaymentContext } from './payment-required.ts';
import { describe, PROBLEM_META, toProblemDocument } from './problem.ts';
import type { JsonObject } from './request.ts';

/**
 * One result in which the client of every dialect finds its challenge: `structuredContent` and the first text
 * (x402, transports-v2/mcp.md; mcpc), `_meta["x402/error"]` (Cloudflare), a text of version 1 (vercel's
 * x402-mcp), and `_meta["org.paymentauth/payment-required"]` (mppx).
 */
export function spellForMachines(problem: Problem, context: PaymentContext): JsonObject {
  const challenges = readChallenges(problem);
  const { x402 } = challenges;
  // Clients of the 2025 era hold every structured content against the tool's schema, also an error's.
  const isStructured = x402 !== undefined && !(context.hasOutputSchema && context.era === '2025');
  return {
    ...(context.era === '2026' ? { resultType: 'complete' } : {}),
    isError: true,
    content: spellContent(problem, challenges),
    ...(isStructured ? { structuredContent: x402 } : {}),
    _meta: spellChallenges(problem, challenges, context),
  };
}

function spellContent(problem: Problem, { x402, x402V1 }: Challenges): Json[] {
  const texts = [
    ...(x402 ? [JSON.stringify(x402)] : []),
    // A model that pays by version 1 copies its requirements out of here.
    ...(x402V1 ? [JSON.stringify(x402V1)] : []),
    describe(problem),
  ];
  return texts.map((text) => ({ type: 'text', text }));
}

function spellChallenges(
  problem: Problem,
  { x402, mpp }: Challenges,
  { requestId }: PaymentContext,
): JsonObject {
  const document = toProblemDocument(problem, requestId);
  return {
    ...(x402 ? { 'x402/error': x402 } : {}),
    ...(mpp.length > 0
      ? { 'org.paymentauth/payment-required': { httpStatus: 402, challenges: mpp, problem: document } }
      : {}),
    [PROBLEM_META]: document,
  };
}
