import { z } from 'zod';
import { sha256Hex } from '../../core/bytes.ts';
import { canonicalJson } from '../../core/canonical-json.ts';
import { HEADER_BYTES_MAX } from './ethereum/state.ts';
import { TRIE_NODE_BYTES_MAX, TRIE_NODES_MAX } from './ethereum/trie.ts';

export const BUNDLE_FORMAT = 'mcp-provenance-bundle/v1';

/** More than any bundle takes, which is about 13 kB. */
export const BUNDLE_BYTES_MAX = 1024 * 1024;

const TEXT_LENGTH_MAX = 65_536;
const PATH_LENGTH_MAX = 64;
const WITNESSES_MAX = 32;

const origin = z.string().regex(/^[^\s+]{1,255}$/);
const vkey = z.string().max(512);
const count = z.int().nonnegative();
const hexOf = (bytes: number) => z.string().regex(new RegExp(`^0x[0-9a-f]{${2 * bytes}}$`));
const hexUpTo = (bytesMax: number) =>
  z
    .string()
    .max(2 + 2 * bytesMax)
    .regex(/^0x(?:[0-9a-f]{2})+$/);
const word = hexOf(32);
const trieNodes = z.array(hexUpTo(TRIE_NODE_BYTES_MAX)).max(TRIE_NODES_MAX);

/** One root in one contract, with the state of the chain that proves it. All hex is lower case, words have 32 bytes. */
const anchorSchema = z.strictObject({
  chainId: z.int().positive(),
  contract: hexOf(20),
  anchorIndex: count,
  treeSize: z.int().positive(),
  root: word,
  /** The transaction that wrote it: for who looks it up, because no proof here covers it. */
  txHash: word,
  /** The block whose state is proven, which came after the transaction's or is it. */
  blockNumber: count,
  blockHash: word,
  header: hexUpTo(HEADER_BYTES_MAX),
  proof: z.strictObject({
    account: trieNodes,
    /** The slot of the root, then the slot of size, time and block. */
    storage: z.array(z.strictObject({ key: word, value: word, proof: trieNodes })).length(2),
  }),
});
export type BundleAnchor = z.infer<typeof anchorSchema>;

/** All that it takes to check one leaf of the version log without asking anybody. */
export const bundleSchema = z.strictObject({
  format: z.literal(BUNDLE_FORMAT),
  log: z.strictObject({ origin, vkey, witnesses: z.array(vkey).max(WITNESSES_MAX) }),
  /** The leaf. */
  entry: z.string().max(TEXT_LENGTH_MAX),
  leafIndex: count,
  /** C2SP tlog-proof, with the checkpoint that the anchor holds the root of. */
  tlogProof: z.string().max(TEXT_LENGTH_MAX),
  /** What the leaf's `manifest` is the SHA-256 of; null for other leaves, and for versions from before there was one. */
  manifest: z.string().max(TEXT_LENGTH_MAX).nullable(),
  anchor: anchorSchema.nullable(),
  /** That the log only grew since, up to the newest anchor in the same contract. */
  appendOnly: z
    .strictObject({
      from: z.int().positive(),
      to: z.int().positive(),
      /** RFC 9162, section 2.1.4; hex without 0x. */
      proof: z.array(z.string().regex(/^[0-9a-f]{64}$/)).max(PATH_LENGTH_MAX),
      anchor: anchorSchema,
    })
    .nullable(),
  /** A signed note of `bundleNoteText`. */
  signature: z.string().max(TEXT_LENGTH_MAX),
});
export type Bundle = z.infer<typeof bundleSchema>;

/** What the log signs for a bundle: every member of it, so that none is exchanged for another. */
export function bundleNoteText({ signature: _, ...members }: Bundle): string {
  return `${BUNDLE_FORMAT}\n${members.log.origin}\n${sha256Hex(canonicalJson(members))}\n`;
}
