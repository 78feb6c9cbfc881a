import type { TreeHead } from '../log/transparency-log.ts';
import type { Hash } from '../merkle/merkle.ts';
import type { StateProof } from './anchor.ts';

/** A tree head as a contract holds it. */
export type HeldAnchor = TreeHead & {
  anchorIndex: number;
  /** Unix seconds of the block that took it. */
  blockTime: number;
};

/** The transaction that put an anchor into its contract. */
export type MinedAnchor = {
  txHash: string;
  blockNumber: number;
  blockHash: string;
  gasUsed: bigint | undefined;
};

/** A tree head on its way to a contract, with the proof that it appends to the one before. */
export type AnchorRequest = TreeHead & {
  prevSize: number;
  /** RFC 9162, section 2.1.4; empty from size 0. */
  proof: readonly Hash[];
};

/** What became of a request. Only what the contract holds says that it is anchored. */
export type Submission =
  /** Nothing is signed: `detail` says what it waits for. */
  | { kind: 'waiting'; detail: string }
  /** Signed and stored: it may be mined at any time from now on. */
  | { kind: 'sent'; detail: string }
  /** Mined, and it did nothing. */
  | { kind: 'reverted'; detail: string };

/** Whether a block is on the chain: for good, for now, or no more. */
export type BlockStanding = 'final' | 'open' | 'gone';

/** RLP of a header, and what is proven against its state root. */
export type Evidence = { header: Buffer; proof: StateProof };

/** One contract that takes the roots of one log (`contracts/interfaces/IVersionAnchor.sol`). All of it may throw. */
export type AnchorContract = {
  /** Lower case hex. */
  readonly address: string;
  /** The origin of the log it was made for. Throws when the chain or the code is not the one that is expected. */
  readOrigin(signal: AbortSignal): Promise<string>;
  /** The anchor of the largest tree; undefined while there is none. */
  readLatest(signal: AbortSignal): Promise<HeldAnchor | undefined>;
  readAnchor(anchorIndex: number, signal: AbortSignal): Promise<HeldAnchor | undefined>;
  /** The anchor of a tree of exactly this size. */
  findBySize(treeSize: number, signal: AbortSignal): Promise<HeldAnchor | undefined>;
  /** Sends the request under a ref, which gets one transaction however often and from wherever it is sent. */
  submit(ref: string, request: AnchorRequest, signal: AbortSignal): Promise<Submission>;
  /** What became of a ref's transaction, without waiting; undefined when there is none. */
  follow(ref: string, signal: AbortSignal): Promise<Submission | undefined>;
  /**
   * The transaction that put an anchor there, ours or another's. A receipt alone is not believed: the block is to be
   * on the chain, to have the anchor's time, and to have the anchor in its state where the node still knows that.
   * Undefined while no transaction stands up to this.
   */
  findMined(ref: string, held: HeldAnchor, signal: AbortSignal): Promise<MinedAnchor | undefined>;
  readStanding(
    block: { blockNumber: number; blockHash: string },
    signal: AbortSignal,
  ): Promise<BlockStanding>;
  /** The state of the two slots of an anchor at the given block, or else at the newest. Throws when there is none. */
  capture(held: HeldAnchor, block: { blockHash: string }, signal: AbortSignal): Promise<Evidence>;
};

/** One chain with the contracts of the logs that are anchored there, and the one wallet that pays for it. */
export type AnchorChain = {
  readonly chainId: number;
  readonly contracts: { readonly versions?: AnchorContract; readonly receipts?: AnchorContract };
  /** Broadcasts again what is signed and not mined, with higher fees where those are why. */
  resume(signal: AbortSignal): Promise<void>;
};
