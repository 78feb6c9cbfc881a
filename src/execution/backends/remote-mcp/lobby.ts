import { canonicalJson } from '../../../core/canonical-json.ts';
import type { Endpoint } from './endpoints.ts';
import { type Dialect, MODERN_VERSION, offer } from './envelope.ts';
import { discover, type Greeting, initialize } from './greeting.ts';
import type { Refusal } from './judge.ts';
import { createLeash, type Leash } from './leash.ts';
import { endSession, type Party, type RequestDeps } from './request.ts';
import type { Retired, Session } from './sessions.ts';

/** How a party speaks with its endpoint until it gives that back. */
export type Footing = { kind: 'footing'; dialect: Dialect; leave(): void; forget(): void };

/** Greets endpoints, and remembers how each is spoken to. */
export type Lobby = {
  /** At once where it is known. */
  footing(party: Party): Footing | undefined;
  /** Greets the endpoint first; who comes meanwhile waits for the same greeting. */
  greet(party: Party, leash: Leash): Promise<Footing | Refusal>;
  /** Greets it whether or not it is known. */
  greetAnew(party: Party, leash: Leash): Promise<Greeting>;
};

const GREETING_TIMEOUT_MS = 10_000;
const NEVER = new AbortController().signal;

export function createLobby(deps: RequestDeps): Lobby {
  const underWay = new Map<string, Promise<Greeting>>();

  const greetAnew: Lobby['greetAnew'] = async (party, leash) => {
    const input = {
      party: { ...party, events: undefined, client: undefined },
      leash,
      capabilities: offer(party),
    };
    const { sessions } = party.endpoint;
    if (sessions.era() !== 'legacy' || sessions.shared() === undefined) {
      const greeting = await discover(deps, input);
      if (greeting?.kind === 'failed') return greeting;
      if (greeting !== undefined && !wantsLegacy(party, greeting.versions)) {
        sessions.share(greeting.dialect);
        return greeting;
      }
    }
    const greeting = await initialize(deps, input);
    if (greeting.kind === 'greeted' && isStateless(greeting.dialect)) sessions.share(greeting.dialect);
    return greeting;
  };

  const greetOnce = (party: Party, key: string): Promise<Greeting> => {
    const place = `${party.endpoint.url} ${key}`;
    const known = underWay.get(place);
    if (known !== undefined) return known;
    const leash = createLeash(NEVER, GREETING_TIMEOUT_MS);
    const greeting = greetAnew(party, leash).finally(() => {
      leash.release();
      underWay.delete(place);
    });
    underWay.set(place, greeting);
    return greeting;
  };

  return {
    footing(party) {
      const { sessions } = party.endpoint;
      const shared = sessions.shared();
      if (shared !== undefined) return onShared(party, shared);
      const session = sessions.take(keyOf(party));
      return session === undefined ? undefined : inSession(deps, party, session);
    },
    async greet(party, leash) {
      const key = keyOf(party);
      const greeting = await beforeEnd(greetOnce(party, key), leash);
      if (greeting.kind === 'failed') return greeting;
      const { sessions } = party.endpoint;
      if (isStateless(greeting.dialect)) return onShared(party, greeting.dialect);
      const session =
        sessions.take(key) ?? sessions.add(key, { dialect: greeting.dialect, audience: party.audience });
      for (const old of sessions.retire()) void retire(deps, party.endpoint, old);
      return inSession(deps, party, session);
    },
    greetAnew,
  };
}

/** Ends a session that nobody uses any more; a server that does not hear of it forgets it by itself. */
export function retire(deps: RequestDeps, endpoint: Endpoint, { dialect, audience }: Retired, ms?: number) {
  const party = { endpoint, audience, caller: undefined, client: undefined, events: undefined };
  return endSession(deps, { party, dialect }, ms).catch((error: unknown) => {
    deps.log.warn({ err: error }, 'a session at an endpoint could not be ended');
  });
}

function isStateless(dialect: Dialect): boolean {
  return dialect.era === 'modern' || dialect.sessionId === undefined;
}

function onShared({ endpoint }: Party, dialect: Dialect): Footing {
  return {
    kind: 'footing',
    dialect,
    // There is nothing to give back.
    leave() {},
    forget() {
      endpoint.sessions.forget('', dialect);
    },
  };
}

function inSession(deps: RequestDeps, party: Party, session: Session): Footing {
  const { sessions } = party.endpoint;
  return {
    kind: 'footing',
    dialect: session.dialect,
    leave() {
      sessions.give(session);
      if (party.strangerId === undefined) return;
      sessions.forget(keyOf(party), session.dialect);
      void retire(deps, party.endpoint, session);
    },
    forget() {
      sessions.forget(keyOf(party), session.dialect);
    },
  };
}

/** A session is one payer's alone, or one stranger's call: what a server remembers of one must not reach another. */
function keyOf(party: Party): string {
  const who = party.strangerId ?? party.caller?.subject ?? '';
  return `${party.audience} ${who} ${canonicalJson(offer(party))}`;
}

/** A client of the 2025 era that can be asked is asked in its own way, where the server knows that too. */
function wantsLegacy(party: Party, versions: readonly string[]): boolean {
  if (party.client === undefined || party.client.protocolVersion >= MODERN_VERSION) return false;
  return Object.keys(offer(party)).length > 0 && versions.some((version) => version < MODERN_VERSION);
}

async function beforeEnd(greeting: Promise<Greeting>, leash: Leash): Promise<Greeting> {
  let detach = () => {};
  const end = new Promise<Refusal>((resolve) => {
    detach = leash.onEnd(({ reason, detail }) =>
      resolve({ kind: 'failed', reason, detail, isUnreachable: false }),
    );
  });
  const first = await Promise.race([greeting, end]);
  detach();
  return first;
}
