import type { LogName } from '../log/transparency-log.ts';
import type { Hash } from '../merkle/merkle.ts';

/** State of the chain at one block, proven against its state root (EIP-1186); all values are 0x hex. */
export type StateProof = {
  blockNumber: number;
  blockHash: string;
  /** Nodes of the account trie that lead to the contract. */
  account: readonly string[];
  /** The two slots of the anchor. */
  storage: readonly { key: string; value: string; proof: readonly string[] }[];
};

/** One root in one contract. */
export type Anchor = {
  log: LogName;
  chainId: number;
  /** Lower case hex. */
  contract: string;
  state: 'planned' | 'sent' | 'mined' | 'final';
  prevSize: number;
  treeSize: number;
  root: Hash;
  /** Known once mined. */
  mined:
    | {
        anchorIndex: number;
        txHash: string;
        blockNumber: number;
        blockHash: string;
        /** Unix seconds, as the contract recorded them. */
        blockTime: number;
      }
    | undefined;
  /** Known once final: RLP of the header of `proof.blockNumber`, and what it proves. */
  evidence: { header: Buffer; proof: StateProof } | undefined;
};

/** How anchoring on one chain stands, for `/ready`, metrics and `GET /anchors`. */
export type AnchorTargetStatus = {
  log: LogName;
  chainId: number;
  contract: string;
  /** What is final there. */
  anchoredSize: number;
  anchoredAt: Date | undefined;
  health: { kind: 'ok' } | { kind: 'waiting'; detail: string } | { kind: 'diverged'; detail: string };
};

/** What the gateway knows of its anchors. */
export type Anchors = {
  /** The newest first. */
  list(input: { log?: LogName; rowsMax: number }): Promise<Anchor[]>;
  /** The first final anchor on each chain whose tree holds the leaf: the earliest time that a chain vouches for. */
  findCovering(input: { log: LogName; leafIndex: number }): Promise<Anchor[]>;
  /** The newest final anchor on that chain. */
  findLatest(input: { log: LogName; chainId: number }): Promise<Anchor | undefined>;
  status(): Promise<AnchorTargetStatus[]>;
};
