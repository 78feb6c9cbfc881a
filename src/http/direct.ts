import type { IncomingMessage, ServerResponse } from 'node:http';
import { invariant } from '../core/invariant.ts';
import { type Problem, spellProblem } from '../core/problem.ts';
import { callPaidByKey, isAlwaysPaid, type Sale } from '../gateway/index.ts';
import type { Carried } from '../payments/index.ts';
import type { Reply } from '../traffic/index.ts';
import { addressOf } from './address.ts';
import { principalOf } from './auth.ts';
import type { HttpDeps } from './env.ts';
import { cutHead, fillForm, type HeadForm, LENGTH, REQUEST_ID } from './head-form.ts';
import { refuseAddress } from './limits.ts';
import { nameRequest, spellEnvelope } from './middleware/envelope.ts';
import { readPlainHead } from './plain-head.ts';
import { noteProblem, problemHeaders } from './problems.ts';
import { type ExampleAnswer, plainExample, spellExample } from './routes/example.ts';
import { type StrangerWay, strangerWay } from './stranger.ts';

/** Answers a request before Hono sees it, or leaves it to Hono: true when it is answered here. */
export type DirectWay = (reply: Reply) => boolean;

const SECOND_MS = 1_000;
const METHOD = 'GET';
const PATH = '/v1/example';

/**
 * A plain call of the example, by key or with nothing to pay for it, without a router and without making a
 * `Request`, a `Response` and their headers: those cost as much as the call. Only what a request may not do
 * without is looked at here; it is admitted, charged and answered by the functions that the general way uses.
 * Whatever is the least unusual goes that way: another method, a query, a body, a header that `readPlainHead` does not know,
 * or one that came twice.
 */
export function directWay(deps: HttpDeps): DirectWay {
  const sale = plainExample(deps);
  invariant(isAlwaysPaid(sale), 'the example costs something');
  const stranger = strangerWay(deps, sale, { method: METHOD, path: PATH });
  const write = createAnswerWriter();
  return (reply) => {
    const { incoming } = reply;
    if (incoming.url !== PATH || incoming.method !== METHOD) return false;
    const head = readPlainHead(incoming.rawHeaders);
    if (!head) return false;
    const { authorization, requestId } = head;
    if (authorization === undefined) return answerStranger(deps, stranger, reply, nameRequest(requestId));
    if (!PLAIN_KEY.test(authorization)) return false;
    const keyText = authorization.slice(BEARER.length);
    void answer(deps, { sale, write, keyText, requestId: nameRequest(requestId) }, reply);
    return true;
  };
}

const BEARER = 'Bearer ';
const PLAIN_KEY = /^Bearer mcp_[0-9a-f]{48}$/;

function answerStranger(deps: HttpDeps, stranger: StrangerWay, reply: Reply, requestId: string): boolean {
  try {
    if (!stranger.isFor(reply.incoming)) return false;
    const refusal = refuseAddress(deps, reply);
    if (refusal) throw refusal;
    stranger.answer(reply, requestId);
  } catch (thrown) {
    writeThrown(deps, reply, requestId, thrown);
  }
  return true;
}

type Asked = { sale: Sale; write: AnswerWriter; keyText: string; requestId: string };

async function answer(
  deps: HttpDeps,
  { sale, write, keyText, requestId }: Asked,
  reply: Reply,
): Promise<void> {
  try {
    const refusal = refuseAddress(deps, reply);
    if (refusal) throw refusal;
    const found = principalOf(deps, reply, keyText);
    const principal = found instanceof Promise ? await found : found;
    const carried = new PlainRequest(deps, reply.incoming);
    write(reply, requestId, await callPaidByKey(deps, { sale, carried }, principal));
  } catch (thrown) {
    writeThrown(deps, reply, requestId, thrown);
  }
}

/** Nobody is behind a direct way to catch anything: what it threw on would end the process. */
function writeThrown(deps: HttpDeps, { outgoing }: Reply, requestId: string, thrown: unknown): void {
  const problem = noteProblem(deps.log, thrown, { requestId, path: PATH });
  if (outgoing.headersSent) outgoing.destroy();
  else writeProblem(outgoing, requestId, problem);
}

type AnswerWriter = (reply: Reply, requestId: string, answer: ExampleAnswer) => void;

/** Of all heads that are written within a second only the request's name and the length differ. */
function createAnswerWriter(): AnswerWriter {
  let form: { head: HeadForm; isLengthFirst: boolean; second: number } | undefined;
  return (reply, requestId, answer) => {
    const body = spellExample(answer);
    const second = Math.floor(Date.now() / SECOND_MS);
    const { isBare } = reply;
    if (isBare && form?.second === second) {
      const length = `${body.length}`;
      const values = form.isLengthFirst ? [length, requestId] : [requestId, length];
      return reply.write(fillForm(form.head, values, body));
    }
    const { outgoing } = reply;
    const headers = spellEnvelope(requestId);
    headers.push('content-type', 'application/json', LENGTH, String(body.length));
    outgoing.writeHead(200, headers);
    // Whose client is gone has a response that belongs to no connection, and says less than others.
    if (isBare && outgoing.socket) {
      const head = cutHead(outgoing, new Set([REQUEST_ID, LENGTH]));
      form = head && { head, isLengthFirst: head.names[0] === LENGTH, second };
    }
    outgoing.end(body);
  };
}

function writeProblem(outgoing: ServerResponse, requestId: string, problem: Problem): void {
  const body = spellProblem(problem, requestId);
  const headers = spellEnvelope(requestId);
  headers.push(...Object.entries(problemHeaders(problem)).flat());
  headers.push(LENGTH, String(Buffer.byteLength(body)));
  outgoing.writeHead(problem.status, headers);
  outgoing.end(body);
}

/** What the wires see of a plain request. A class, because an object with functions of its own costs more. */
class PlainRequest implements Carried {
  readonly method = 'GET';
  readonly #deps: HttpDeps;
  readonly #incoming: IncomingMessage;

  constructor(deps: HttpDeps, incoming: IncomingMessage) {
    this.#deps = deps;
    this.#incoming = incoming;
  }

  header(name: string): string | undefined {
    const key = name.toLowerCase();
    // It holds the key and nothing else: there is no credential to look for.
    return key === 'authorization' ? undefined : this.#incoming.headers[key]?.toString();
  }

  get address(): string | undefined {
    const { headers, socket } = this.#incoming;
    return addressOf(this.#deps, socket.remoteAddress, headers['x-forwarded-for']?.toString());
  }
}
