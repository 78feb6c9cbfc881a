import { setTimeout as sleep } from 'node:timers/promises';
import type { Json } from '../../../core/canonical-json.ts';
import { isObject, type JsonObject } from '../../json-lines.ts';
import { offer } from './envelope.ts';
import type { Refusal } from './judge.ts';
import type { Leash } from './leash.ts';
import type { Reply } from './messages.ts';
import type { Party } from './request.ts';

type Question = { key: string; method: string; params: JsonObject };
type Needs = { questions: Question[]; state: Json | undefined };
type Request = { method: string; params: JsonObject };

/** As many as the SDKs go. */
const ROUNDS_MAX = 10;
const QUESTIONS_MAX = 32;
/** More than this is no question. */
const NEEDS_BYTES_MAX = 16 * 1024;
const STATE_ONLY_PAUSE_MS = 250;

/**
 * Asks a client of the 2025 era in its own way for what a stateless server needs, and the server again with what the
 * client said (MCP 2026-07-28, "Multi Round-Trip Requests"). A client of that revision does so by itself.
 */
export async function askInRounds(
  party: Party,
  request: Request,
  leash: Leash,
  send: (request: Request) => Promise<Reply | Refusal>,
): Promise<Reply | Refusal> {
  const canBeAsked = Object.keys(offer(party)).length > 0;
  let answer = await send(request);
  for (let round = 0; canBeAsked; round += 1) {
    const needs = readNeeds(answer);
    if (needs === undefined) return answer;
    if (needs === 'unreadable') return fail('The server asked for input in a way that cannot be read.');
    if (round >= ROUNDS_MAX) return fail(`The server still asked for input after ${ROUNDS_MAX} rounds.`);
    const given = await askClient(party, needs, leash);
    if (given.kind === 'failed') return given;
    const { inputResponses, requestState } = given;
    const further = {
      ...(inputResponses === undefined ? {} : { inputResponses }),
      ...(requestState === undefined ? {} : { requestState }),
    };
    answer = await send({ method: request.method, params: { ...request.params, ...further } });
  }
  return answer;
}

function readNeeds(answer: Reply | Refusal): Needs | 'unreadable' | undefined {
  if (answer.kind !== 'result' || answer.result.resultType !== 'input_required') return undefined;
  const { inputRequests = {}, requestState: state } = answer.result;
  if (!isObject(inputRequests) || Buffer.byteLength(JSON.stringify(answer.result)) > NEEDS_BYTES_MAX) {
    return 'unreadable';
  }
  const questions = Object.entries(inputRequests).flatMap(([key, asked]) =>
    isObject(asked) && typeof asked.method === 'string'
      ? [{ key, method: asked.method, params: isObject(asked.params) ? asked.params : {} }]
      : [],
  );
  const isReadable =
    questions.length === Object.keys(inputRequests).length && questions.length <= QUESTIONS_MAX;
  return isReadable ? { questions, state } : 'unreadable';
}

type Given = { kind: 'given'; inputResponses: JsonObject | undefined; requestState: Json | undefined };

async function askClient(
  { events }: Party,
  { questions, state }: Needs,
  leash: Leash,
): Promise<Given | Refusal> {
  const stop = new AbortController();
  const detach = leash.onEnd(() => stop.abort());
  try {
    if (questions.length === 0) {
      // A server that only wants to be asked later; the call may be over before, which its next step sees.
      await sleep(STATE_ONLY_PAUSE_MS, undefined, { signal: stop.signal }).catch(() => undefined);
      return { kind: 'given', inputResponses: undefined, requestState: state };
    }
    const said: [string, JsonObject][] = [];
    for (const { key, method, params } of questions) {
      const answer = await events?.ask?.({ method, params }, stop.signal);
      if (answer === undefined || 'error' in answer) {
        const why = answer?.error.message ?? 'it offers nothing';
        return { ...fail(`The server asked its client for ${method}: ${why}`), reason: 'tool-error' };
      }
      said.push([key, answer.result]);
    }
    return { kind: 'given', inputResponses: Object.fromEntries(said), requestState: state };
  } finally {
    detach();
  }
}

function fail(detail: string): Refusal {
  return { kind: 'failed', reason: 'protocol', detail, isUnreachable: false };
}
