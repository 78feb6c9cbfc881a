import type { Clock } from '../core/clock.ts';
import { isUuid, newUuid, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { Problem } from '../core/problem.ts';
import type { Sql, Tx } from '../db/index.ts';
import { hashKey, parseKey } from './key-text.ts';
import type { Principal } from './principal.ts';
import { createPrincipalLookup } from './principal-lookup.ts';
import { isScope, type Scope } from './scope.ts';
import { insertKey, type ListedKeyRow, listKeys, revokeKey } from './store.ts';

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

const LISTED_KEYS_MAX = 500;

export function createKeys(deps: { sql: Sql; clock: Clock }): Keys {
  const lookup = createPrincipalLookup(deps);
  return {
    issue: issueKey,
    resolve: async (keyText) => (parseKey(keyText) ? lookup.find(keyText) : undefined),
    async list(accountId) {
      const rows = await listKeys(deps.sql, { accountId, rowsMax: LISTED_KEYS_MAX });
      return rows.map((row) => ({ ...row, scopes: row.scopes.filter(isScope) }));
    },
    async revoke(input) {
      const isFound = isUuid(input.keyId) && (await revokeKey(deps.sql, input));
      if (!isFound) throw new Problem('not-found', { detail: 'Your account has no key with this id.' });
      lookup.forget(input.keyId);
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
