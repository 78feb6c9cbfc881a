import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Problem } from '../core/problem.ts';
import { type Sale, type SpelledDemand, standDemand } from '../gateway/index.ts';
import type { Reply } from '../traffic/index.ts';
import { addressOf } from './address.ts';
import type { HttpDeps } from './env.ts';
import { cutHead, fillForm, type HeadForm, isAscii, LENGTH, REQUEST_ID } from './head-form.ts';
import { spellEnvelope } from './middleware/envelope.ts';

/** The 402 that everybody gets who asks for one and the same call and shows nothing. */
export type StrangerWay = {
  /** Whether a request without a key and without a credential can be answered here. */
  isFor(incoming: IncomingMessage): boolean;
  answer(reply: Reply, requestId: string): void;
};

type Place = { method: string; path: string };

/**
 * Asks for a payment in one write. An unpaid request should cost us less than it costs who sends it: whoever
 * wants nothing but our work sends them without end.
 */
export function strangerWay(deps: HttpDeps, sale: Sale, { method, path }: Place): StrangerWay {
  const demand = standDemand(deps, sale, method);
  let form: DemandForm | undefined;
  return {
    isFor({ headers, socket }) {
      const forwarded = headers['x-forwarded-for']?.toString();
      return demand.isFor(() => addressOf(deps, socket.remoteAddress, forwarded));
    },
    answer(reply, requestId) {
      const asked = demand.ask(requestId);
      const { problem } = asked;
      deps.log.debug({ requestId, path, problem: problem.type }, problem.title);
      const { isBare } = reply;
      if (isBare && form?.problem === problem) {
        return reply.write(fillForm(form.head, form.pick(asked, requestId), asked.body));
      }
      const { outgoing } = reply;
      writeWhole(outgoing, asked, requestId);
      if (isBare && outgoing.socket) form = isAscii(asked.body) ? cutForm(outgoing, asked) : undefined;
      outgoing.end(asked.body);
    },
  };
}

/** The head by `writeHead`. */
function writeWhole(outgoing: ServerResponse, asked: SpelledDemand, requestId: string): void {
  const headers = spellEnvelope(requestId);
  headers.push('content-type', 'application/problem+json');
  for (const header of asked.headers) headers.push(...header);
  headers.push(LENGTH, String(Buffer.byteLength(asked.body)));
  outgoing.writeHead(asked.problem.status, headers);
}

/** The head of a 402. The same problem is the same in all that is not filled in, the time of day among it. */
type DemandForm = {
  head: HeadForm;
  problem: Problem;
  /** What is filled in, in the order of the form. */
  pick(asked: SpelledDemand, requestId: string): string[];
};

/** Cuts the head that was just written for one demand, to be filled in for the next on the same terms. */
function cutForm(outgoing: ServerResponse, { problem, headers }: SpelledDemand): DemandForm | undefined {
  const names = headers.map(([name]) => name);
  const head = cutHead(outgoing, new Set([REQUEST_ID, LENGTH, ...names]));
  if (!head) return undefined;
  // Where in the demand a value stands is looked up here, once: looking names up for each answer costs more than it.
  const places = head.names.map((name) => names.indexOf(name));
  const requestAt = head.names.indexOf(REQUEST_ID);
  const pick: DemandForm['pick'] = (asked, requestId) =>
    places.map((place, at) => {
      if (place >= 0) return asked.headers[place]?.[1] ?? '';
      return at === requestAt ? requestId : String(asked.body.length);
    });
  return { head, problem, pick };
}
