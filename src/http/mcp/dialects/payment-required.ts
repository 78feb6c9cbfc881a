import type { Problem } from '../../../core/problem.ts';
import { spellForMachines } from './machine.ts';
import { askPerson, type PersonAsked, wantsPerson } from './person.ts';
import type { JsonObject } from './request.ts';

export type McpEra = '2025' | '2026';

export type PaymentContext = {
  era: McpEra;
  /** The tool declares an `outputSchema`. */
  hasOutputSchema: boolean;
  /** What the client declared. */
  capabilities: JsonObject;
  /** The request's `_meta`, whole. */
  meta: JsonObject | undefined;
  /** `isHttpPayer` of what came with the HTTP request. */
  isHttpPayer: boolean;
  /** The request id, named by the problem document. */
  requestId: string;
  /** The page for a person; undefined where this gateway has no page that could take money. */
  person?: PersonAsked | undefined;
};

/** How a 402 is said over MCP. */
export type PaymentSpelling =
  /** The result of the JSON-RPC request; on 2026-07-28 it has its `resultType`. */
  | { kind: 'result'; result: JsonObject }
  /** A JSON-RPC error, only for clients of the 2025 era. */
  | { kind: 'error'; code: number; message: string; data: JsonObject }
  /** HTTP 402 with all headers, as `answerProblem` writes it. */
  | { kind: 'http' };

/**
 * Says a 402 in the words of whoever asked. HTTP first, for a request that speaks of payments in its headers;
 * then the page, for a client that said it can show one and is no program that pays; else a result that
 * carries every dialect at once (README.md, "Who is asked how").
 */
export function spellPaymentRequired(problem: Problem, context: PaymentContext): PaymentSpelling {
  if (context.isHttpPayer) return { kind: 'http' };
  const asked = spellForMachines(problem, context);
  const { person } = context;
  if (person && wantsPerson(context)) {
    const page = askPerson(person, context.era, asked);
    if (page) return page;
  }
  return { kind: 'result', result: asked };
}
