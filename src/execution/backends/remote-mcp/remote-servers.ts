import { takeRandomText } from '../../../core/bytes.ts';
import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import { Problem } from '../../../core/problem.ts';
import type { Exchanged, Outage, RemoteServers } from '../../exchange.ts';
import { toPublicDetail } from '../../public-detail.ts';
import type { Answer } from './ask.ts';
import type { Reached } from './breaker.ts';
import type { CallTokens } from './call-tokens.ts';
import type { Resolve } from './connector.ts';
import { createEndpoints, type Endpoint, type EndpointHealth } from './endpoints.ts';
import type { Dialect } from './envelope.ts';
import { judgeAnswer, type Refusal } from './judge.ts';
import { createLeash, type Leash } from './leash.ts';
import { createLobby, type Lobby, retire } from './lobby.ts';
import type { Reply } from './messages.ts';
import { createPools } from './pools.ts';
import { type Party, type RequestDeps, type RequestInput, request } from './request.ts';
import { askInRounds } from './rounds.ts';

export type RemoteServersDeps = {
  tokens: CallTokens;
  clock: Clock;
  log: Log;
  /** The development switch: endpoints on this machine, and `http` to them. */
  allowLoopback: boolean;
  /** Connections to one origin at most. */
  connectionsMax: number;
  /** Stands in for the system's resolver. */
  resolve?: Resolve;
  /** Certificates to believe besides the system's, as PEM. */
  ca?: string;
};

export type RemoteMcp = RemoteServers & {
  /** How every endpoint does that was called lately. */
  health(): Record<string, EndpointHealth>;
};

const ORIGINS_MAX = 512;
const CONNECT_TIMEOUT_MS = 3_000;
/** Calls to one endpoint that run or wait for a connection. */
const IN_FLIGHT_MAX = 512;
const STRANGER_ID_BYTES = 12;
const GOODBYE_TIMEOUT_MS = 1_000;
/**
 * Requests that MCP 2026-07-28 took out. No update outlives a call here, whatever the server: one that lets resources
 * be watched is taken to have agreed.
 */
const SUBSCRIPTIONS = new Set(['resources/subscribe', 'resources/unsubscribe']);

/** Calls publishers' own servers: one request is one POST over a pooled connection (see the README). */
export function createRemoteServers(deps: RemoteServersDeps): RemoteMcp {
  const { tokens, clock, log, allowLoopback } = deps;
  if (allowLoopback)
    log.warn({}, 'REMOTE_ALLOW_LOOPBACK is on: publishers may register servers on this machine');
  const policy = { allowLoopback, ownUrl: allowLoopback ? undefined : tokens.issuer };
  const pools = createPools({
    ...{ ...policy, connectionsMax: deps.connectionsMax, originsMax: ORIGINS_MAX },
    ...{ connectTimeoutMs: CONNECT_TIMEOUT_MS, resolve: deps.resolve, ca: deps.ca },
  });
  const endpoints = createEndpoints({ pools, policy, clock });
  const talk = { tokens, log };
  const lobby = createLobby(talk);
  const talking = { talk, lobby };

  return {
    async exchange(input, signal) {
      const startedAt = performance.now();
      const finding = endpoints.find(input.server.endpoint);
      if (finding.kind === 'refused') return toExchanged(unreachable(finding.detail), startedAt);
      const { endpoint } = finding;
      const party = toParty(endpoint, input);
      const ending = await guard(endpoint, () =>
        within(signal, input.server.limits.runTimeoutMs, (leash) => {
          const budget = { bytesMax: input.server.limits.outputBytesMax, received: 0, decoded: 0 };
          return askInRounds(party, input.request, leash, (request) =>
            converse(talking, party, { request, budget, leash }),
          );
        }),
      );
      return toExchanged(ending, startedAt);
    },
    async greet(server, signal) {
      const finding = endpoints.find(server.endpoint);
      if (finding.kind === 'refused') throw refuseGreeting(finding.detail);
      const { endpoint } = finding;
      const party: Party = {
        ...{ endpoint, audience: server.serverId, caller: undefined, client: undefined, events: undefined },
      };
      const greeting = await guard(endpoint, () =>
        within(signal, server.limits.runTimeoutMs, (leash) => lobby.greetAnew(party, leash)),
      );
      if (greeting.kind === 'failed') throw refuseGreeting(greeting.detail);
      if (greeting.dialect.era === 'legacy' && greeting.dialect.sessionId !== undefined) {
        void retire(talk, endpoint, { dialect: greeting.dialect, audience: server.serverId });
      }
      return greeting.face;
    },
    findOutage(url) {
      const endpoint = endpoints.peek(url);
      const seconds = endpoint?.breaker.waitSeconds();
      return endpoint === undefined || seconds === undefined ? undefined : toOutage(endpoint, seconds);
    },
    health: endpoints.health,
    async close() {
      const goodbyes = [...endpoints.all()].flatMap((endpoint) =>
        endpoint.sessions.retireAll().map((session) => retire(talk, endpoint, session, GOODBYE_TIMEOUT_MS)),
      );
      await Promise.all(goodbyes);
      await pools.close();
    },
  };
}

function toParty(endpoint: Endpoint, input: Parameters<RemoteServers['exchange']>[0]): Party {
  const { server, caller, client, events, logLevel } = input;
  const strangerId = caller?.isStranger ? takeRandomText(STRANGER_ID_BYTES) : undefined;
  // Written member by member: every call comes by here.
  return { endpoint, audience: server.serverId, caller, strangerId, client, events, logLevel };
}

/** One request on the footing that its party has, or gets; once more where the endpoint has forgotten it. */
async function converse(
  { talk, lobby }: { talk: RequestDeps; lobby: Lobby },
  party: Party,
  { request: asked, budget, leash }: Pick<RequestInput, 'request' | 'budget' | 'leash'>,
): Promise<Reply | Refusal> {
  for (let isAgain = false; ; isAgain = true) {
    const footing = lobby.footing(party) ?? (await lobby.greet(party, leash));
    if (footing.kind === 'failed') return footing;
    if (footing.dialect.era === 'modern' && SUBSCRIPTIONS.has(asked.method)) {
      footing.leave();
      return { kind: 'result', result: {} };
    }
    const { dialect } = footing;
    if (party.logLevel !== undefined) await setLogLevel(talk, { party, dialect, budget, leash });
    const answer = await request(talk, { party, dialect, request: asked, budget, leash });
    footing.leave();
    if (isAgain || !isForgotten(dialect, answer)) return judgeAnswer(answer);
    footing.forget();
  }
}

/** A session is told how much to log; a stateless server reads it in each request. Whether it obeys is its affair. */
async function setLogLevel(deps: RequestDeps, input: Omit<RequestInput, 'request'>): Promise<void> {
  const { party, dialect } = input;
  if (party.logLevel === undefined || dialect?.era !== 'legacy' || dialect.sessionId === undefined) return;
  await request(deps, {
    ...input,
    request: { method: 'logging/setLevel', params: { level: party.logLevel } },
  });
}

/** Counts a call in and out, and keeps it from an endpoint that is not there or has enough to do. */
async function guard<T extends { kind: string }>(
  endpoint: Endpoint,
  call: () => Promise<T | Refusal>,
): Promise<T | Refusal> {
  if (endpoint.inFlight >= IN_FLIGHT_MAX) {
    throw new Problem('unavailable', {
      detail: `${IN_FLIGHT_MAX} calls to this server are under way already.`,
      retryAfterSeconds: 1,
      isUncharged: true,
    });
  }
  const admission = endpoint.breaker.enter();
  if (admission.kind === 'wait') {
    const outage = toOutage(endpoint, admission.seconds);
    return { ...unreachable(outage.detail), retryAfterSeconds: outage.retryAfterSeconds };
  }
  endpoint.inFlight += 1;
  let reached: Reached = 'unknown';
  try {
    const ending = await call();
    reached = judgeReach(ending);
    if (isRefusal(ending) && ending.isUnreachable) endpoint.lastFailure = ending.detail;
    return ending;
  } finally {
    endpoint.inFlight -= 1;
    admission.report(reached);
  }
}

function toOutage({ lastFailure = '' }: Endpoint, seconds: number): Outage {
  const detail = `The endpoint could not be reached lately (${lastFailure}); try again in ${seconds} s.`;
  return { detail: toPublicDetail(detail), retryAfterSeconds: seconds };
}

function isRefusal(ending: { kind: string }): ending is Refusal {
  return ending.kind === 'failed';
}

/** A call that its caller stopped, or that took too long, says nothing about whether the endpoint is there. */
function judgeReach(ending: { kind: string } | Refusal): Reached {
  if (!isRefusal(ending)) return 'reached';
  if (ending.isUnreachable) return 'unreachable';
  return ending.reason === 'timeout' || ending.reason === 'cancelled' ? 'unknown' : 'reached';
}

async function within<T>(signal: AbortSignal, ms: number, call: (leash: Leash) => Promise<T>): Promise<T> {
  const leash = createLeash(signal, ms);
  try {
    return await call(leash);
  } finally {
    leash.release();
  }
}

const BAD_REQUEST_CODES = new Set([-32000, -32020, -32022]);

/** Whether an endpoint has changed, or lost its memory, since it was greeted; it did not run what it was asked. */
function isForgotten(dialect: Dialect, answer: Answer): boolean {
  if (answer.kind !== 'status') return false;
  const { status, error } = answer;
  const code = error?.kind === 'error' ? error.code : undefined;
  if (dialect.era === 'modern') {
    return code === undefined ? [400, 404, 405].includes(status) : BAD_REQUEST_CODES.has(code);
  }
  // Many servers of the 2025 era say 400 where the specification says 404.
  if (status === 404) return true;
  return status === 400 && (code === undefined || BAD_REQUEST_CODES.has(code));
}

function toExchanged(ending: Reply | Refusal, startedAt: number): Exchanged {
  const runMs = Math.round(performance.now() - startedAt);
  if (ending.kind === 'result') return { kind: 'result', result: ending.result, runMs };
  if (ending.kind === 'error') return { ...ending, runMs };
  const { reason, detail, retryAfterSeconds } = ending;
  const retry = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return { kind: 'failed', reason, detail: toPublicDetail(detail), ...retry, runMs };
}

function unreachable(detail: string): Refusal {
  return { kind: 'failed', reason: 'unreachable', detail, isUnreachable: false };
}

function refuseGreeting(detail: string): Problem {
  return new Problem('tool-failed', { detail: toPublicDetail(detail), isUncharged: true });
}
