import type { Clock } from '../core/clock.ts';
import { isUuid, newUuid, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { Problem } from '../core/problem.ts';
import { type Sql, type Tx, withTransaction } from '../db/index.ts';
import { type ChildToIssue, type IssuedChild, issueChild } from './child.ts';
import { hashKey, parseKey } from './key-text.ts';
import type { Principal, Reach } from './principal.ts';
import { createPrincipalLookup } from './principal-lookup.ts';
import { isScope, type Scope } from './scope.ts';
import { insertKey, type ListedKeyRow, listKeys, revokeKeys, rotateSecret } from './store.ts';

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
  /** The same without asking the database: undefined also for a valid key that nobody used within the second. */
  recall(keyText: string): Principal | undefined;
  /** Enters a key that spends its parent's account and may do no more than its parent. */
  issueChild(tx: Tx, parent: Principal, child: ChildToIssue): Promise<IssuedChild>;
  /** The keys within reach, newest first. */
  list(reach: Reach): Promise<ListedKey[]>;
  /** Ends a key and all below it. Safe to repeat. A key out of reach is as unknown as one that never was. */
  revoke(input: Reach & { keyId: Uuid }): Promise<void>;
  /** Gives a key another secret: rights, caps and history stay. Answers until when the earlier ones work. */
  rotate(input: Reach & { keyId: Uuid; keyText: string; overlapSeconds: number }): Promise<Date>;
};

const LISTED_KEYS_MAX = 500;

export function createKeys(deps: { sql: Sql; clock: Clock }): Keys {
  const { sql } = deps;
  const lookup = createPrincipalLookup(deps);
  return {
    issue: issueKey,
    resolve: async (keyText) => (parseKey(keyText) ? lookup.find(keyText) : undefined),
    recall: lookup.recall,
    issueChild,
    async list(reach) {
      const rows = await listKeys(sql, { ...reach, rowsMax: LISTED_KEYS_MAX });
      return rows.map((row) => ({ ...row, scopes: row.scopes.filter(isScope) }));
    },
    async revoke(input) {
      const revoked = isUuid(input.keyId) ? await withTransaction(sql, (tx) => revokeKeys(tx, input)) : [];
      if (revoked.length === 0) throw unknownKey();
      lookup.forget(revoked);
    },
    async rotate({ keyText, ...input }) {
      invariant(parseKey(keyText), 'a new secret has the form of a key');
      if (!isUuid(input.keyId)) throw unknownKey();
      const hash = hashKey(keyText);
      const rotation = await withTransaction(sql, (tx) => rotateSecret(tx, { ...input, hash }));
      if (rotation.kind === 'unknown') throw unknownKey();
      if (rotation.kind === 'dead') {
        throw new Problem('conflict', { detail: 'The key is revoked or expired: make a new one.' });
      }
      lookup.forget([input.keyId]);
      return rotation.validUntil;
    },
  };
}

function unknownKey(): Problem {
  return new Problem('not-found', { detail: 'Your account has no key with this id.' });
}

async function issueKey(tx: Tx, key: KeyToIssue): Promise<{ id: Uuid }> {
  invariant(parseKey(key.keyText), 'a key to issue has the form of a key');
  invariant(key.scopes.length > 0 && key.scopes.every(isScope), 'a key to issue has scopes');
  const { id, accountId } = await insertKey(tx, {
    id: newUuid(),
    hash: hashKey(key.keyText),
    accountId: key.accountId,
    publisherId: key.publisherId ?? null,
    ...{ parentId: null, ancestorIds: [], capIds: [], tools: null },
    scopes: [...new Set(key.scopes)],
    label: key.label ?? null,
    expiresAt: key.expiresAt ?? null,
  });
  invariant(accountId === key.accountId, `key ${id} belongs to another account`);
  return { id };
}
