import type { Clock } from '../core/clock.ts';
import { isUuid, newUuid, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { Problem } from '../core/problem.ts';
import type { Sql, Tx } from '../db/index.ts';
import { hashKey, parseKey } from './key-text.ts';
import { createPrincipalCache, type Known } from './principal-cache.ts';
import { isScope, type Scope } from './scope.ts';
import { findKeyByHash, insertKey, type ListedKeyRow, listKeys, revokeKey } from './store.ts';

/** Who a valid key speaks for. */
export type Principal = {
  keyId: Uuid;
  /** The payer account it spends. */
  accountId: Uuid;
  publisherId: Uuid | undefined;
  scopes: readonly Scope[];
};

export type KeyToIssue = {
  keyText: string;
  accountId: Uuid;
  publisherId?: Uuid | undefined;
  scopes: readonly Scope[];
  label?: string | undefined;
  expiresAt?: Date | undefined;
};

/** A key as its owner sees it: neither text nor hash. */
export type ListedKey = Omit<ListedKeyRow, 'scopes'> & { scopes: Scope[] };

export type Keys = {
  /** Enters the key; the same text again is the same key, so that a lost answer can be given twice. */
  issue(tx: Tx, key: KeyToIssue): Promise<{ id: Uuid }>;
  /** Undefined for whatever is not a valid key: unknown, malformed, revoked or expired. */
  resolve(keyText: string): Promise<Principal | undefined>;
  /** The account's keys, newest first. */
  list(accountId: Uuid): Promise<ListedKey[]>;
  /** Safe to repeat. Someone else's key is as unknown as one that never was. */
  revoke(input: { accountId: Uuid; keyId: Uuid }): Promise<void>;
};

/** How long another gateway's revocation may go unnoticed here; charging asks the database itself. */
const CACHE_TTL_MS = 1_000;
const CACHE_ENTRIES_MAX = 10_000;
const LISTED_KEYS_MAX = 500;

export function createKeys(deps: { sql: Sql; clock: Clock }): Keys {
  const { sql, clock } = deps;
  const cache = createPrincipalCache({ entriesMax: CACHE_ENTRIES_MAX, ttlMs: CACHE_TTL_MS });
  const lookups = new Map<string, Promise<Known | undefined>>();

  /** One query for everyone who asks for the same key at the same time. Misses are not remembered. */
  function lookUp(hash: Buffer, name: string): Promise<Known | undefined> {
    const running = lookups.get(name);
    if (running) return running;
    const lookup = find(hash)
      .then((known) => {
        // A revocation clears `lookups`: what was read before it must not be remembered after it.
        if (known && lookups.get(name) === lookup) cache.set(name, known, clock.now().getTime());
        return known;
      })
      .finally(() => {
        if (lookups.get(name) === lookup) lookups.delete(name);
      });
    lookups.set(name, lookup);
    return lookup;
  }

  async function find(hash: Buffer): Promise<Known | undefined> {
    const row = await findKeyByHash(sql, hash);
    if (!row || row.revokedAt) return undefined;
    return {
      principal: {
        keyId: row.id,
        accountId: row.accountId,
        publisherId: row.publisherId ?? undefined,
        scopes: row.scopes.filter(isScope),
      },
      expiresAt: row.expiresAt ?? undefined,
    };
  }

  return {
    issue: issueKey,
    async resolve(keyText) {
      if (!parseKey(keyText)) return undefined;
      const hash = hashKey(keyText);
      const name = hash.toString('hex');
      const known = cache.get(name, clock.now().getTime()) ?? (await lookUp(hash, name));
      const isExpired = known?.expiresAt !== undefined && known.expiresAt <= clock.now();
      return isExpired ? undefined : known?.principal;
    },
    async list(accountId) {
      const rows = await listKeys(sql, { accountId, rowsMax: LISTED_KEYS_MAX });
      return rows.map((row) => ({ ...row, scopes: row.scopes.filter(isScope) }));
    },
    async revoke(input) {
      const isFound = isUuid(input.keyId) && (await revokeKey(sql, input));
      if (!isFound) throw new Problem('not-found', { detail: 'Your account has no key with this id.' });
      cache.forget(input.keyId);
      lookups.clear();
    },
  };
}

async function issueKey(tx: Tx, key: KeyToIssue): Promise<{ id: Uuid }> {
  invariant(parseKey(key.keyText), 'a key to issue has the form of a key');
  invariant(key.scopes.length > 0 && key.scopes.every(isScope), 'a key to issue has scopes');
  const { id, accountId } = await insertKey(tx, {
    id: newUuid(),
    hash: hashKey(key.keyText),
    accountId: key.accountId,
    publisherId: key.publisherId ?? null,
    scopes: [...new Set(key.scopes)],
    label: key.label ?? null,
    expiresAt: key.expiresAt ?? null,
  });
  invariant(accountId === key.accountId, `key ${id} belongs to another account`);
  return { id };
}
