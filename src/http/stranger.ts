import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Sale, standDemand } from '../gateway/index.ts';
import { addressOf } from './address.ts';
import type { HttpDeps } from './env.ts';
import { spellEnvelope } from './middleware/envelope.ts';
import { noteProblem } from './problems.ts';

/** The 402 that everybody gets who asks for one and the same call and shows nothing. */
export type StrangerWay = {
  /** Whether a request without a key and without a credential can be answered here. */
  isFor(incoming: IncomingMessage): boolean;
  answer(outgoing: ServerResponse, requestId: string): void;
};

type Place = { method: string; path: string };

/**
 * Asks for a payment in one write. An unpaid request should cost us less than it costs who sends it: whoever
 * wants nothing but our work sends them without end.
 */
export function strangerWay(deps: HttpDeps, sale: Sale, { method, path }: Place): StrangerWay {
  const demand = standDemand(deps, sale, method);
  return {
    isFor({ headers, socket }) {
      const forwarded = headers['x-forwarded-for']?.toString();
      return demand.isFor(() => addressOf(deps, socket.remoteAddress, forwarded));
    },
    answer(outgoing, requestId) {
      const { problem, headers: wires, body } = demand.ask(requestId);
      noteProblem(deps.log, problem, { requestId, path });
      const headers = spellEnvelope(requestId);
      headers.push('content-type', 'application/problem+json');
      for (const [name, value] of wires) headers.push(name.toLowerCase(), value);
      headers.push('content-length', String(Buffer.byteLength(body)));
      outgoing.writeHead(problem.status, headers);
      outgoing.end(body);
    },
  };
}
