import type { Uuid } from '../core/ids.ts';
import type { Scope } from './scope.ts';

/** Who a valid key speaks for. */
export type Principal = {
  keyId: Uuid;
  /** The payer account it spends. */
  accountId: Uuid;
  publisherId: Uuid | undefined;
  scopes: readonly Scope[];
};
