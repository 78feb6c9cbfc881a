import { BaseError } from 'viem';

/**
 * Whether a failed call was run and refused by the contract. viem also takes a node's internal error for a
 * revert, which would make an outage look like a definite answer.
 */
export function isRevert(error: unknown): boolean {
  if (!(error instanceof BaseError)) return false;
  const found = error.walk(
    (inner) =>
      inner instanceof BaseError &&
      (('code' in inner && inner.code === REVERT_CODE) || /\breverted\b/i.test(inner.details)),
  );
  return found !== null;
}

/** JSON-RPC's code for "execution reverted". */
const REVERT_CODE = 3;
