import type { Uuid } from '../core/ids.ts';
import type { Scope } from './scope.ts';

/** Who a valid key speaks for. */
export type Principal = {
  keyId: Uuid;
  /** The payer account it spends. */
  accountId: Uuid;
  publisherId: Uuid | undefined;
  scopes: readonly Scope[];
  /** The keys above it, the first of the account first; none for that one itself. */
  ancestorIds: readonly Uuid[];
  /** The caps its calls count against: its own and those above it. */
  capIds: readonly Uuid[];
  /** The servers and tools it may call; undefined for all. */
  tools: readonly string[] | undefined;
};

/** Which keys someone may see and change: those of the account, or one key and what is below it. */
export type Reach = { accountId: Uuid; belowKeyId?: Uuid | undefined };

/** A child reaches neither its parent nor its siblings. */
export function reachOf(principal: Pick<Principal, 'keyId' | 'accountId' | 'ancestorIds'>): Reach {
  const { accountId, keyId, ancestorIds } = principal;
  return { accountId, belowKeyId: ancestorIds.length > 0 ? keyId : undefined };
}
