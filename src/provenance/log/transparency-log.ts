import type { Tx } from '../../db/index.ts';
import type { Hash } from '../merkle/merkle.ts';

/** The two logs of an installation: what was published, and commitments to what was sold. */
export type LogName = 'versions' | 'receipts';

/** How the tables spell a log. */
export const LOG_IDS = { versions: 1, receipts: 2 } as const satisfies Record<LogName, number>;

/** One moment of a log: how many leaves it has, and the RFC 6962 root over them. */
export type TreeHead = { treeSize: number; root: Hash };

/** A tree head that was signed. */
export type Checkpoint = TreeHead & {
  /** The C2SP signed note: our own signatures, then what was added, by witnesses and by keys that came later. */
  note: string;
  signedAt: Date;
};

export type EntryToAppend = { entry: Buffer; dedupKey: string };

/** What was found when the log was last held against what was signed or anchored. */
export type LogHealth =
  | { kind: 'sound' }
  /** Nobody outside has looked since this process started, so nothing new is signed. */
  | { kind: 'waiting'; detail: string }
  | { kind: 'diverged'; detail: string };

/** That a log is not what it was, and who says so. */
export type Divergence = {
  /** `tree` for the log itself, else for example `chain 8453`. A source says one thing at a time. */
  source: string;
  detail: string;
};

/** One append-only log in Postgres: RFC 6962 hashes in C2SP tiles. Sizes and indexes are counts below 2^53. */
export type TransparencyLog = {
  readonly name: LogName;
  /** The first line of its checkpoints, which is also the name of its key. */
  readonly origin: string;
  /** The current key first (C2SP signed-note vkey), then those that sign beside it during a rotation. */
  readonly vkeys: readonly string[];
  /** The signed note of the empty tree, which every tree begins with: for readers who come before the first leaf. */
  readonly emptyCheckpoint: string;
  /**
   * Appends in the caller's transaction, last in it: the log stays locked until the commit. Answers the leaf
   * indexes; throws `Problem('conflict')` when something with one of the dedup keys is there already.
   */
  append(tx: Tx, entries: readonly EntryToAppend[]): Promise<number[]>;
  /** The same of what `write` puts into the log itself, from this index on; it answers the leaf hashes, joined. */
  appendWritten(
    tx: Tx,
    write: (fromIndex: number) => Promise<Buffer>,
  ): Promise<{ firstIndex: number; count: number }>;
  /** What is committed, signed or not. */
  readHead(): Promise<TreeHead>;
  /**
   * Signs the head when it grew since the last checkpoint, and answers the newest checkpoint; undefined for an empty
   * log. Recomputes the last signed root first: a log that no longer has it is `diverged`, and nothing is signed.
   * Nothing new is signed while anybody says that it diverged, or nobody outside has looked (`waiting`).
   */
  sign(): Promise<Checkpoint | undefined>;
  /** The newest checkpoint; with `treeSize` the one of that size. */
  findCheckpoint(treeSize?: number): Promise<Checkpoint | undefined>;
  /** Keeps a witness's signature line of a checkpoint, once. */
  addCosignature(input: { treeSize: number; witness: string; line: string }): Promise<void>;
  rootAt(treeSize: number): Promise<Hash>;
  /** RFC 9162, section 2.1.3. */
  proveInclusion(input: { leafIndex: number; treeSize: number }): Promise<Hash[]>;
  /** RFC 9162, section 2.1.4; empty from size 0 and between equal sizes. */
  proveConsistency(input: { fromSize: number; toSize: number }): Promise<Hash[]>;
  /** In order, at most 1,000 at a time. */
  readEntries(input: {
    fromIndex: number;
    entriesMax: number;
  }): Promise<{ leafIndex: number; entry: Buffer }[]>;
  /** `width` hashes of a tile (1 to 256); undefined where no checkpoint covers them yet. */
  readTile(input: { level: number; n: number; width: number }): Promise<Buffer | undefined>;
  /** `width` entries, each after its 16-bit length; undefined where no checkpoint covers them yet. */
  readEntryTile(input: { n: number; width: number }): Promise<Buffer | undefined>;
  health(): LogHealth;
  /** Called by who sees that the log is not what it was, for example on a chain: nothing more is signed. */
  reportDivergence(divergence: Divergence): void;
  /** Called by who looked and found nothing, each time: what the same source said before is over. */
  reportSound(source: string): void;
};

export type Logs = Readonly<Record<LogName, TransparencyLog>>;
