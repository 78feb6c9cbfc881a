import { sha256 } from '../../core/bytes.ts';
import { decodeCommitment, decodeLeaf, dedupKeyOf, type Leaf } from '../../provenance/index.ts';

/** What is found wrong; `leafIndex` of an earlier leaf is told to who can fetch it again. */
export type Fault =
  | { kind: 'wrong'; leafIndex: number; text: string }
  | { kind: 'twice'; leafIndex: number; earlierIndex: number; key: string };

/** Reads the leaves of one log in order, and says of each what is wrong with it. */
export type Audit = {
  take(entry: Buffer, leafIndex: number): Fault | undefined;
  /** What the version log says of the contracts that anchor a log. */
  contracts(): readonly { log: string; chainId: number; address: string }[];
};

type ContractLeaf = Extract<Leaf, { kind: 'anchor-contract' }>;

/** That every leaf is spelled right, and that nothing is there twice: a version has one code for good. */
export function createVersionsAudit(): Audit {
  const keys = createKeys();
  const contracts: ContractLeaf[] = [];
  return {
    take(entry, leafIndex) {
      const leaf = decodeLeaf(entry);
      if (!leaf) return { kind: 'wrong', leafIndex, text: 'it is not spelled as the log spells leaves' };
      if (leaf.kind === 'anchor-contract') contracts.push(leaf);
      const key = dedupKeyOf(leaf);
      const earlierIndex = keys.take(key, leafIndex);
      return earlierIndex === undefined ? undefined : { kind: 'twice', leafIndex, earlierIndex, key };
    },
    contracts: () =>
      contracts.map(({ log, chain, contract }) => ({ log, chainId: chain, address: contract })),
  };
}

/** That every entry is spelled right, and that the receipts of each tool and lane follow one another without a gap. */
export function createReceiptsAudit(): Audit {
  const lanes = new Map<string, number>();
  return {
    take(entry, leafIndex) {
      const said = decodeCommitment(entry);
      if (!said) return { kind: 'wrong', leafIndex, text: 'it is not spelled as the log spells receipts' };
      const lane = `${said.tool} ${said.lane}`;
      const expected = (lanes.get(lane) ?? 0) + 1;
      lanes.set(lane, said.seq);
      if (said.seq === expected) return undefined;
      const text = `it is sale ${said.seq} of ${said.tool} on the lane ${said.lane}, where ${expected} was next`;
      return { kind: 'wrong', leafIndex, text };
    },
    contracts: () => [],
  };
}

const DIGEST_BYTES = 16;

/** Where each key was seen first. A digest of 16 bytes stands for a key: a million take about 100 MB. */
function createKeys(): { take(key: string, leafIndex: number): number | undefined } {
  const seen = new Map<string, number>();
  return {
    take(key, leafIndex) {
      const digest = sha256(key).toString('latin1', 0, DIGEST_BYTES);
      const earlier = seen.get(digest);
      if (earlier === undefined) seen.set(digest, leafIndex);
      return earlier;
    },
  };
}
