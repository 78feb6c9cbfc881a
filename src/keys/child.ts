import { newUuid, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import { Problem } from '../core/problem.ts';
import type { Tx } from '../db/index.ts';
import { hashKey, parseKey } from './key-text.ts';
import type { Principal } from './principal.ts';
import { hasScope, isScope, type Scope } from './scope.ts';
import { countLiveKeys, insertKey, type LineKeyRow, lockLine } from './store.ts';
import { findBroader } from './tool-list.ts';

/** What a child may do; what is left out is as its parent's. */
export type ChildToIssue = {
  keyText: string;
  label?: string | undefined;
  scopes?: readonly Scope[] | undefined;
  tools?: readonly string[] | undefined;
  expiresAt?: Date | undefined;
  /** It gets caps of its own, entered in the same transaction under its id. */
  hasCaps: boolean;
};

export type IssuedChild = {
  id: Uuid;
  parentId: Uuid;
  scopes: Scope[];
  tools: readonly string[] | undefined;
  expiresAt: Date | undefined;
};

/** Levels below the account's own key. */
export const CHILD_DEPTH_MAX = 3;
const LIVE_KEYS_MAX = 500;

/**
 * Enters a key below another one, never broader than it. The whole line above is locked from the top, so that
 * no revocation of it overlooks the new key, and none that was revoked already gets a child.
 */
export async function issueChild(tx: Tx, parent: Principal, child: ChildToIssue): Promise<IssuedChild> {
  invariant(parseKey(child.keyText), 'a key to issue has the form of a key');
  const line = await lockLine(tx, [...parent.ancestorIds, parent.keyId]);
  const above = line.at(-1);
  invariant(above?.id === parent.keyId, `key ${parent.keyId} is missing`);
  if (line.some((key) => !key.isLive)) throw dead();
  if (line.length > CHILD_DEPTH_MAX) {
    throw forbid(`Keys go ${CHILD_DEPTH_MAX} levels below the first one, and this is at the last of them.`);
  }
  if ((await countLiveKeys(tx, parent.accountId)) >= LIVE_KEYS_MAX) {
    throw new Problem('conflict', {
      detail: `The account has ${LIVE_KEYS_MAX} keys, which is the most. Revoke one that is not needed.`,
    });
  }
  const rights = narrow(above, child);
  const id = newUuid();
  const isPublisher = hasScope(rights, 'publish');
  await insertKey(tx, {
    ...{ id, hash: hashKey(child.keyText), accountId: parent.accountId, label: child.label ?? null },
    publisherId: isPublisher ? above.publisherId : null,
    parentId: parent.keyId,
    ancestorIds: line.map((key) => key.id),
    capIds: child.hasCaps ? [...above.capIds, id] : above.capIds,
    scopes: rights.scopes,
    tools: rights.tools ? [...rights.tools] : null,
    expiresAt: rights.expiresAt ?? null,
  });
  return { id, parentId: parent.keyId, ...rights };
}

/** The rights a child gets; throws where it asks for more than its parent has. */
function narrow(
  parent: LineKeyRow,
  child: ChildToIssue,
): Pick<IssuedChild, 'scopes' | 'tools' | 'expiresAt'> {
  const owned = { scopes: parent.scopes.filter(isScope) };
  const scopes = [...new Set(child.scopes ?? owned.scopes)];
  const missing = scopes.find((scope) => !hasScope(owned, scope));
  if (missing) throw forbid(`A child cannot have the scope "${missing}": its parent does not have it.`);
  const broader = parent.tools && child.tools && findBroader(parent.tools, child.tools);
  if (broader) throw forbid(`A child cannot call "${broader}": its parent may not.`);
  if (parent.expiresAt && child.expiresAt && child.expiresAt > parent.expiresAt) {
    throw forbid(`A child cannot outlive its parent, which expires at ${parent.expiresAt.toISOString()}.`);
  }
  return {
    scopes,
    tools: child.tools ?? parent.tools ?? undefined,
    expiresAt: child.expiresAt ?? parent.expiresAt ?? undefined,
  };
}

function dead(): Problem {
  return new Problem('unauthorized', { detail: 'The key is revoked or expired.', isUncharged: true });
}

function forbid(detail: string): Problem {
  return new Problem('forbidden', { detail, isUncharged: true });
}
