import type { Clock } from '../core/clock.ts';
import type { Uuid } from '../core/ids.ts';
import type { Sql } from '../db/index.ts';
import { nameKey } from './key-text.ts';
import type { Principal } from './principal.ts';
import { createPrincipalCache, type Known } from './principal-cache.ts';
import { isScope } from './scope.ts';
import { findKeyByHash } from './store.ts';

/** Finds who a well-formed key speaks for, mostly without asking the database. */
export type PrincipalLookup = {
  find(keyText: string): Promise<Principal | undefined>;
  /** Who it speaks for, when that is remembered; asks nobody. */
  recall(keyText: string): Principal | undefined;
  /** Keys were revoked or got other secrets: nothing that was read before is used after. */
  forget(keyIds: readonly Uuid[]): void;
};

/** How long another gateway's revocation may go unnoticed here; charging asks the database itself. */
const CACHE_TTL_MS = 1_000;
const CACHE_ENTRIES_MAX = 10_000;

export function createPrincipalLookup(deps: { sql: Sql; clock: Clock }): PrincipalLookup {
  const { sql, clock } = deps;
  const cache = createPrincipalCache({ entriesMax: CACHE_ENTRIES_MAX, ttlMs: CACHE_TTL_MS });
  const running = new Map<string, Promise<Known | undefined>>();

  /** One query for everyone who asks for the same key at the same time. Misses are not remembered. */
  function ask(name: string): Promise<Known | undefined> {
    const asked = running.get(name);
    if (asked) return asked;
    const answer = findKnown(sql, Buffer.from(name, 'hex'))
      .then((known) => {
        // `forget` clears `running`: what was read before it must not be remembered after it.
        if (known && running.get(name) === answer) cache.set(name, known, clock.now().getTime());
        return known;
      })
      .finally(() => {
        if (running.get(name) === answer) running.delete(name);
      });
    running.set(name, answer);
    return answer;
  }

  /** A remembered key may have come to its end meanwhile. */
  function whileValid(known: Known | undefined, now: Date): Principal | undefined {
    const isExpired = known?.expiresAt !== undefined && known.expiresAt <= now;
    return isExpired ? undefined : known?.principal;
  }

  return {
    async find(keyText) {
      const name = nameKey(keyText);
      const known = cache.get(name, clock.now().getTime()) ?? (await ask(name));
      return whileValid(known, clock.now());
    },
    recall(keyText) {
      const now = clock.now();
      return whileValid(cache.get(nameKey(keyText), now.getTime()), now);
    },
    forget(keyIds) {
      cache.forget(keyIds);
      running.clear();
    },
  };
}

async function findKnown(sql: Sql, hash: Buffer): Promise<Known | undefined> {
  const row = await findKeyByHash(sql, hash);
  if (!row || row.revokedAt) return undefined;
  return {
    principal: {
      keyId: row.id,
      accountId: row.accountId,
      publisherId: row.publisherId ?? undefined,
      scopes: row.scopes.filter(isScope),
      ancestorIds: row.ancestorIds,
      capIds: row.capIds,
      tools: row.tools ?? undefined,
    },
    expiresAt: earlier(row.expiresAt, row.validUntil),
  };
}

function earlier(a: Date | null, b: Date | null): Date | undefined {
  if (a && b) return a < b ? a : b;
  return a ?? b ?? undefined;
}
