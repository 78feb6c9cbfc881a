import type { Clock } from '../../../core/clock.ts';
import type { Uuid } from '../../../core/ids.ts';
import type { Dialect } from './envelope.ts';

export type Session = {
  readonly dialect: Dialect;
  /** The audience of the tokens it was opened with. */
  readonly audience: Uuid;
  uses: number;
  usedAt: number;
};

/** What it takes to end one. */
export type Retired = Pick<Session, 'dialect' | 'audience'>;

/** What is remembered of how an endpoint is spoken to. */
export type Sessions = {
  /** What serves everyone: a stateless dialect, or one without sessions. */
  shared(): Dialect | undefined;
  share(dialect: Dialect): void;
  /** A caller's own session; who takes one gives it back. */
  take(key: string): Session | undefined;
  add(key: string, session: Retired): Session;
  give(session: Session): void;
  /** Forgets what an endpoint does not know any more. */
  forget(key: string, dialect: Dialect): void;
  /** Sessions that nobody will use again, each once. */
  retire(): Retired[];
  /** The same of all of them. */
  retireAll(): Retired[];
  era(): Dialect['era'] | undefined;
  count(): number;
};

const SESSIONS_MAX = 256;
const IDLE_MS_MAX = 5 * 60_000;
/** An endpoint may have been replaced by a newer one. */
const SHARED_MS_MAX = 10 * 60_000;

export function createSessions(clock: Clock): Sessions {
  const sessions = new Map<string, Session>();
  let shared: { dialect: Dialect; until: number } | undefined;
  let era: Dialect['era'] | undefined;
  const now = () => clock.now().getTime();
  return {
    shared: () => (shared !== undefined && shared.until > now() ? shared.dialect : undefined),
    share(dialect) {
      shared = { dialect, until: now() + SHARED_MS_MAX };
      era = dialect.era;
    },
    take(key) {
      const session = sessions.get(key);
      if (session === undefined) return undefined;
      // Moved to the end: the first is the one that was used longest ago.
      sessions.delete(key);
      sessions.set(key, session);
      session.uses += 1;
      return session;
    },
    add(key, { dialect, audience }) {
      const session = { dialect, audience, uses: 1, usedAt: now() };
      sessions.set(key, session);
      shared = undefined;
      era = dialect.era;
      return session;
    },
    give(session) {
      session.uses -= 1;
      session.usedAt = now();
    },
    forget(key, dialect) {
      if (sessions.get(key)?.dialect === dialect) sessions.delete(key);
      if (shared?.dialect === dialect) shared = undefined;
    },
    retire() {
      const retired: Retired[] = [];
      let left = sessions.size;
      for (const [key, session] of sessions) {
        const { uses, usedAt } = session;
        if (left <= SESSIONS_MAX && usedAt > now() - IDLE_MS_MAX) break;
        if (uses > 0) continue;
        sessions.delete(key);
        left -= 1;
        retired.push(session);
      }
      return retired;
    },
    retireAll() {
      const retired = [...sessions.values()];
      sessions.clear();
      return retired;
    },
    era: () => era,
    count: () => sessions.size,
  };
}
