import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type Problem, spellProblem } from '../core/problem.ts';
import type { Principal } from '../keys/index.ts';
import { type Limiter, networkOf, spellLimit, tooMany } from '../traffic/index.ts';
import { addressOf } from './address.ts';
import type { Env, HttpDeps } from './env.ts';

type LimitDeps = Pick<HttpDeps, 'traffic' | 'isTrustedProxy'>;

/** What asks whether we live must be answered in a flood above all. */
const NEVER_LIMITED = /^\/(?:v1\/health|ready|metrics)(?:\?|$)/;
/** From here on a caller is told how much it has left. */
const TOLD_BELOW = 0.5;

/** Takes a token of the caller's address, before anything of a request is looked at; answers who has none. */
export function limitAddress(deps: LimitDeps, env: Env['Bindings']): Response | undefined {
  const refusal = refuseAddress(deps, env);
  return refusal && answerTooMany(refusal, env.requestId ?? '');
}

/** The same, to be answered by whoever asks. */
export function refuseAddress(deps: LimitDeps, env: Env['Bindings']): Problem | undefined {
  const { incoming } = env;
  const address = incoming && networkOfCaller(deps, incoming);
  if (address === undefined) return undefined;
  const { traffic } = deps;
  const left = traffic.address.take(address);
  if (left >= TOLD_BELOW) return undefined;
  if (left >= 0) {
    tell(env, traffic.address, left);
    return undefined;
  }
  if (NEVER_LIMITED.test(incoming?.url ?? '')) return undefined;
  return tooMany(traffic.address, -left);
}

/** Whose key it is, within what its address, the key and its account may ask; throws the 429. */
export function resolveLimited(
  deps: LimitDeps & Pick<HttpDeps, 'keys'>,
  env: Env['Bindings'] | undefined,
  keyText: string,
): Principal | undefined | Promise<Principal | undefined> {
  const { guesses, wrongKeys } = deps.traffic;
  const incoming = env?.incoming;
  const address = (incoming && networkOfCaller(deps, incoming)) ?? '';
  const tried = { address, keyText, env };
  // A key that is remembered costs no question to the database, whoever else guesses from its address.
  const known = deps.keys.recall(keyText);
  if (known) return admit(deps, tried, known);
  if (guesses.isWrong(keyText)) return undefined;
  const wait = guesses.waitOf(address, keyText);
  if (wait > 0) throw tooMany(wrongKeys, wait);
  return deps.keys.resolve(keyText).then((found) => admit(deps, tried, found));
}

function admit(
  deps: LimitDeps,
  { address, keyText, env }: { address: string; keyText: string; env: Env['Bindings'] | undefined },
  principal: Principal | undefined,
): Principal | undefined {
  const { guesses } = deps.traffic;
  if (!principal) {
    guesses.noteWrong(address, keyText);
    return undefined;
  }
  guesses.noteRight(address, keyText);
  takeForKey(deps, env, principal);
  return principal;
}

/** Both limits of a key-paid call, or none of them. */
function takeForKey(
  { traffic }: LimitDeps,
  env: Env['Bindings'] | undefined,
  { keyId, accountId }: Principal,
): void {
  const ofKey = traffic.key.take(keyId);
  if (ofKey < 0) throw tooMany(traffic.key, -ofKey);
  const ofPayer = traffic.payer.take(accountId);
  if (ofPayer < 0) {
    traffic.key.giveBack(keyId);
    throw tooMany(traffic.payer, -ofPayer);
  }
  if (ofKey >= TOLD_BELOW && ofPayer >= TOLD_BELOW) return;
  if (ofKey <= ofPayer) tell(env, traffic.key, ofKey);
  else tell(env, traffic.payer, ofPayer);
}

/**
 * On the socket's response, as the envelope is: whichever limit speaks last is the caller's own. The response is
 * asked for only here, because asking may be what makes it.
 */
function tell(env: Env['Bindings'] | undefined, limiter: Limiter, left: number): void {
  const outgoing = env?.outgoing;
  if (!outgoing || outgoing.headersSent) return;
  for (const [name, value] of spellLimit(limiter, left)) outgoing.setHeader(name, value);
}

function answerTooMany(problem: Problem, requestId: string): Response {
  const { headers = [], retryAfterSeconds } = problem.options;
  return new Response(spellProblem(problem, requestId), {
    status: problem.status,
    headers: {
      'content-type': 'application/problem+json',
      'retry-after': String(retryAfterSeconds),
      ...Object.fromEntries(headers),
    },
  });
}

/** Most callers keep their connections, and who is at the other end of one does not change. */
const networks = new WeakMap<Socket, string>();

function networkOfCaller(deps: LimitDeps, incoming: IncomingMessage): string | undefined {
  const { socket } = incoming;
  const known = networks.get(socket);
  if (known !== undefined) return known;
  // Node joins what came several times.
  const forwarded = incoming.headers['x-forwarded-for']?.toString();
  const address = addressOf(deps, socket.remoteAddress, forwarded);
  if (address === undefined) return undefined;
  const network = networkOf(address);
  // Behind a proxy of ours each request has its own.
  if (!deps.isTrustedProxy(socket.remoteAddress ?? '')) networks.set(socket, network);
  return network;
}
