import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Problem } from '../core/problem.ts';
import { type Sale, type SpelledDemand, standDemand } from '../gateway/index.ts';
import { addressOf } from './address.ts';
import type { HttpDeps } from './env.ts';
import { cutHead, type HeadForm, takesForm, writeForm } from './head-form.ts';
import { spellEnvelope } from './middleware/envelope.ts';

/** The 402 that everybody gets who asks for one and the same call and shows nothing. */
export type StrangerWay = {
  /** Whether a request without a key and without a credential can be answered here. */
  isFor(incoming: IncomingMessage): boolean;
  answer(incoming: IncomingMessage, outgoing: ServerResponse, requestId: string): void;
};

type Place = { method: string; path: string };

/**
 * Asks for a payment in one write. An unpaid request should cost us less than it costs who sends it: whoever
 * wants nothing but our work sends them without end.
 */
export function strangerWay(deps: HttpDeps, sale: Sale, { method, path }: Place): StrangerWay {
  const demand = standDemand(deps, sale, method);
  let form: HeadForm | undefined;
  let formOf: Problem | undefined;
  return {
    isFor({ headers, socket }) {
      const forwarded = headers['x-forwarded-for']?.toString();
      return demand.isFor(() => addressOf(deps, socket.remoteAddress, forwarded));
    },
    answer(incoming, outgoing, requestId) {
      const asked = demand.ask(requestId);
      const { problem } = asked;
      deps.log.debug({ requestId, path, problem: problem.type }, problem.title);
      const isPlain = takesForm(outgoing, incoming.httpVersion);
      if (isPlain && form && formOf === problem) {
        return writeForm(outgoing, form, { ...toValues(asked, requestId), status: problem.status });
      }
      const names = writeWhole(outgoing, asked, requestId);
      // The same problem is the same in all that is not filled in, the time of day among it.
      if (isPlain) [form, formOf] = [isAscii(asked.body) ? cutHead(outgoing, names) : undefined, problem];
      outgoing.end(asked.body);
    },
  };
}

const REQUEST_ID = 'x-request-id';
const LENGTH = 'content-length';

/** The head by `writeHead`; the names of what the next one says in its own way. */
function writeWhole(outgoing: ServerResponse, asked: SpelledDemand, requestId: string): Set<string> {
  const headers = spellEnvelope(requestId);
  headers.push('content-type', 'application/problem+json');
  const names = new Set([REQUEST_ID, LENGTH]);
  for (const [name, value] of asked.headers) {
    headers.push(name, value);
    names.add(name);
  }
  headers.push(LENGTH, String(Buffer.byteLength(asked.body)));
  outgoing.writeHead(asked.problem.status, headers);
  return names;
}

function toValues({ headers, body }: SpelledDemand, requestId: string) {
  const values: Record<string, string> = { [REQUEST_ID]: requestId, [LENGTH]: String(body.length) };
  for (const [name, value] of headers) values[name] = value;
  return { values, body };
}

function isAscii(text: string): boolean {
  return Buffer.byteLength(text) === text.length;
}
