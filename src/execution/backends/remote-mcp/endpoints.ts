import type { Pool } from 'undici';
import type { Clock } from '../../../core/clock.ts';
import { type Breaker, type BreakerState, createBreaker } from './breaker.ts';
import { type AddressPolicy, readEndpoint } from './endpoint-address.ts';
import type { Pools } from './pools.ts';
import { createSessions, type Sessions } from './sessions.ts';

/** One endpoint, and what is known of it. */
export type Endpoint = {
  readonly url: string;
  readonly path: string;
  pool(): Pool;
  breaker: Breaker;
  sessions: Sessions;
  /** Calls under way. */
  inFlight: number;
  lastFailure: string | undefined;
};

/** How an endpoint does, for whoever runs the gateway. */
export type EndpointHealth = {
  state: BreakerState;
  /** Failures to reach it in a row. */
  failures: number;
  retryAt: Date | undefined;
  lastFailure: string | undefined;
  era: 'modern' | 'legacy' | undefined;
  sessions: number;
  inFlight: number;
};

export type Endpoints = {
  find(url: string): { kind: 'ok'; endpoint: Endpoint } | { kind: 'refused'; detail: string };
  /** The endpoint where it is remembered. */
  peek(url: string): Endpoint | undefined;
  health(): Record<string, EndpointHealth>;
  /** Every endpoint that is remembered. */
  all(): Iterable<Endpoint>;
};

const ENDPOINTS_MAX = 2_000;

/** Remembers endpoints; of too many the one that was asked for longest ago is forgotten. */
export function createEndpoints(deps: { pools: Pools; policy: AddressPolicy; clock: Clock }): Endpoints {
  const { pools, policy, clock } = deps;
  const known = new Map<string, Endpoint>();
  return {
    find(text) {
      const remembered = known.get(text);
      if (remembered !== undefined) return { kind: 'ok', endpoint: remembered };
      const reading = readEndpoint(text, policy);
      if (reading.kind === 'refused') return reading;
      const { origin, pathname, search } = reading.url;
      const endpoint: Endpoint = {
        ...{ url: text, path: `${pathname}${search}`, pool: () => pools.of(origin) },
        ...{ breaker: createBreaker(clock), sessions: createSessions(clock) },
        ...{ inFlight: 0, lastFailure: undefined },
      };
      known.set(text, endpoint);
      if (known.size > ENDPOINTS_MAX) forgetIdle(known);
      return { kind: 'ok', endpoint };
    },
    peek: (url) => known.get(url),
    health: () =>
      Object.fromEntries([...known.values()].map((endpoint) => [endpoint.url, toHealth(endpoint)])),
    all: () => known.values(),
  };
}

function forgetIdle(known: Map<string, Endpoint>): void {
  for (const endpoint of known.values()) {
    if (endpoint.inFlight > 0) continue;
    known.delete(endpoint.url);
    return;
  }
}

function toHealth(endpoint: Endpoint): EndpointHealth {
  const { breaker, sessions, lastFailure, inFlight } = endpoint;
  return { ...breaker.state(), lastFailure, era: sessions.era(), sessions: sessions.count(), inFlight };
}
