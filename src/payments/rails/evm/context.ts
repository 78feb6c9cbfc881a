import type { Hex } from 'viem';
import type { ChainClient } from '../../../chain/index.ts';
import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import type { Millicents } from '../../../core/money.ts';
import type { SignatureCheck } from './key-signature.ts';
import type { Mover } from './mover.ts';
import type { PayerReader } from './payer-reader.ts';
import type { LogSearch } from './standing.ts';
import type { Token } from './token.ts';

/** How long an authorization must stay valid beyond the run: time to settle it (MONEY.md, rule 5). */
export const SETTLE_MARGIN_MS = 60_000;

export type EvmRailTimeouts = {
  /** The longest `verify` and `lookup` may take. */
  lookMs: number;
  /** The longest `settle` may take; longer than a mover waits for a receipt. */
  settleMs: number;
};

/** One token on one network. */
export type EvmPartDeps = {
  client: ChainClient;
  token: Token;
  /** Who is paid. It need not be the wallet that sends the transactions. */
  payTo: Hex;
  /** The least it takes: what is below does not pay for the gas that moves it. */
  amountMin: Millicents;
  /** Who brings the authorizations to the token. */
  mover: Mover;
  /** How many blocks, its own included, a payment must have on it to count. */
  confirmations: number;
  search: LogSearch;
  clock: Clock;
  log: Log;
  timeouts: EvmRailTimeouts;
};

/** What the steps of one part share; addresses are lower case, as in forms. */
export type EvmPartContext = EvmPartDeps & {
  network: string;
  asset: Hex;
  payTo: Hex;
  signatures: SignatureCheck;
  readPayer: PayerReader;
};
