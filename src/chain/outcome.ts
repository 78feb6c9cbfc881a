import type { Hex, TransactionReceipt } from 'viem';

export type MinedFacts = {
  hash: Hex;
  blockNumber: bigint;
  gasUsed: bigint;
  effectiveGasPrice: bigint;
  /** All that it cost the wallet, wei; a rollup's fee for its parent chain included. */
  feeWei: bigint;
};

export type WriteOutcome =
  | ({ kind: 'mined'; logs: TransactionReceipt['logs'] } & MinedFacts)
  | ({ kind: 'reverted' } & MinedFacts)
  /** It may be mined later, or have been: send the same ref again to learn more. */
  | { kind: 'unknown'; hash: Hex | undefined; cause: unknown };
