import { generateKeyPairSync } from 'node:crypto';
import { createWalletClient, type Hex, http, keccak256, publicActions } from 'viem';
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';
import { deployVersionAnchor } from '../../../scripts/anchor/deploy.ts';
import { sha256Hex } from '../../../src/core/bytes.ts';
import { canonicalJson } from '../../../src/core/canonical-json.ts';
import type { Anchor } from '../../../src/provenance/anchoring/anchor.ts';
import { rebuildHeader } from '../../../src/provenance/anchors/evm/header.ts';
import { versionAnchorAbi } from '../../../src/provenance/anchors/evm/version-anchor-abi.ts';
import { anchorSlots } from '../../../src/provenance/bundle/ethereum/version-anchor.ts';
import { type BundleDeps, makeBundle } from '../../../src/provenance/bundle/make.ts';
import {
  type Bundle,
  consistencyProof,
  createNoteSigner,
  encodeCheckpoint,
  encodeLeaf,
  type Hash,
  inclusionPath,
  leafHashOf,
  merkleRoot,
  type NoteSigner,
  signLine,
  signNote,
} from '../../../src/provenance/index.ts';
import type { Anvil } from '../../harness/chain.ts';

export const ORIGIN = 'market.example/log';
const START = 1_763_700_000;

export function newSigner(name: string, type: 1 | 4 = 1): NoteSigner {
  const { privateKey } = generateKeyPairSync('ed25519');
  const privateKeyPem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
  return createNoteSigner({ name, privateKeyPem, type });
}

/** What version `index` of the fixtures is: code, manifest and leaf. */
export function versionAt(index: number) {
  const tool = 'acme/text-stats';
  const version = `1.0.${index}`;
  const code = Buffer.from(`the code of ${version}`);
  const sha256 = sha256Hex(code);
  const manifest = canonicalJson({ v: 1, name: tool, version, code: `sha256:${sha256}`, hosts: [] });
  const leaf = {
    ...{ kind: 'publish' as const, tool, version, sha256, manifest: sha256Hex(manifest) },
    ...{ publisher: 'acme', time: START + index },
  };
  return { tool, version, code, sha256, manifest, entry: encodeLeaf(leaf) };
}

export type MemoryLog = BundleDeps['versionLog'] & {
  entries: Buffer[];
  /** Signs what is there, as the log does of itself. */
  checkpoint(): { treeSize: number; root: Hash };
  rootAt(treeSize: number): Hash;
};

/** A log of entries in memory, which signs when it is told to, or asked to sign. */
export function createMemoryLog(
  signers: readonly NoteSigner[],
  witnesses: readonly NoteSigner[] = [],
): MemoryLog {
  const entries: Buffer[] = [];
  const notes = new Map<number, { treeSize: number; root: Hash; note: string; signedAt: Date }>();
  const hashes = () => entries.map((entry) => leafHashOf(entry));
  const rootAt = (treeSize: number) => merkleRoot(hashes().slice(0, treeSize));
  function checkpoint() {
    const [treeSize, root] = [entries.length, rootAt(entries.length)];
    const text = encodeCheckpoint({ origin: ORIGIN, treeSize, root });
    const cosignatures = witnesses.map((witness) => signLine(text, witness, START));
    const note = signNote(text, signers) + cosignatures.join('');
    notes.set(treeSize, { treeSize, root, note, signedAt: new Date() });
    return { treeSize, root };
  }
  return {
    origin: ORIGIN,
    ...{ entries, checkpoint, rootAt },
    async sign() {
      if (entries.length === 0) return undefined;
      return notes.get(checkpoint().treeSize);
    },
    findCheckpoint: async (treeSize) => notes.get(treeSize ?? Math.max(0, ...notes.keys())),
    readHead: async () => ({ treeSize: entries.length, root: rootAt(entries.length) }),
    proveInclusion: async ({ leafIndex, treeSize }) => inclusionPath(hashes().slice(0, treeSize), leafIndex),
    proveConsistency: async ({ fromSize, toSize }) => prove(hashes(), fromSize, toSize),
    async readEntries({ fromIndex, entriesMax }) {
      return entries
        .slice(fromIndex, fromIndex + entriesMax)
        .map((entry, at) => ({ leafIndex: fromIndex + at, entry }));
    },
  };
}

function prove(hashes: readonly Hash[], fromSize: number, toSize: number): Hash[] {
  const read = (level: number, index: number) =>
    merkleRoot(hashes.slice(index * 2 ** level, (index + 1) * 2 ** level));
  return consistencyProof(read, fromSize, toSize);
}

export type TestChain = {
  contract: Hex;
  anchors: Anchor[];
  /** Anchors the tree of this size, waits for its block and keeps its evidence. */
  anchor(head: { treeSize: number; root: Hash; proof: readonly Hash[] }): Promise<Anchor>;
};

/** A VersionAnchor on anvil, written and proven without the gateway's own adapter. */
export async function createTestChain(anvil: Anvil): Promise<TestChain> {
  const account = privateKeyToAccount(generatePrivateKey());
  await anvil.rpc('anvil_setBalance', [account.address, '0xde0b6b3a7640000']);
  const { address } = await deployVersionAnchor({
    ...{ rpcUrl: anvil.rpcUrl, deployerKey: anvil.gatewayWalletKey, origin: ORIGIN },
    ...{ owner: privateKeyToAddress(anvil.gatewayWalletKey), anchorer: account.address },
  });
  const wallet = createWalletClient({
    account,
    chain: baseSepolia,
    transport: http(anvil.rpcUrl),
    pollingInterval: 20,
  });
  const client = wallet.extend(publicActions);
  const anchors: Anchor[] = [];
  const contract = address.toLowerCase() as Hex;
  return {
    ...{ contract, anchors },
    async anchor({ treeSize, root, proof }) {
      const prevSize = anchors.at(-1)?.treeSize ?? 0;
      const hash = await client.writeContract({
        ...{ address, abi: versionAnchorAbi, functionName: 'anchor' },
        args: [BigInt(prevSize), BigInt(treeSize), toHex(root), proof.map(toHex)],
      });
      const receipt = await client.waitForTransactionReceipt({ hash });
      if (receipt.status !== 'success') throw new Error('the anchor reverted');
      const { timestamp } = await client.getBlock({ blockNumber: receipt.blockNumber });
      const anchor: Anchor = {
        ...{ log: 'versions', chainId: anvil.chainId, contract, state: 'final', prevSize, treeSize, root },
        mined: {
          ...{ anchorIndex: anchors.length, txHash: hash, blockNumber: Number(receipt.blockNumber) },
          ...{ blockHash: receipt.blockHash, blockTime: Number(timestamp) },
        },
        evidence: await capture(anvil, {
          contract,
          anchorIndex: anchors.length,
          blockHash: receipt.blockHash,
        }),
      };
      anchors.push(anchor);
      return anchor;
    },
  };
}

type Answer = { accountProof: Hex[]; storageProof: { key: Hex; value: Hex; proof: Hex[] }[] };

async function capture(
  anvil: Anvil,
  { contract, anchorIndex, blockHash }: { contract: Hex; anchorIndex: number; blockHash: Hex },
): Promise<NonNullable<Anchor['evidence']>> {
  const block = await anvil.rpc('eth_getBlockByHash', [blockHash, false]);
  const number = (block as { number: Hex }).number;
  const keys = anchorSlots(anchorIndex).map((slot) => `0x${slot.toString(16).padStart(64, '0')}`);
  const { accountProof, storageProof } = (await anvil.rpc('eth_getProof', [
    contract,
    keys,
    number,
  ])) as Answer;
  const header = rebuildHeader(block, blockHash);
  if (!header || keccak256(header) !== blockHash) throw new Error('the header does not hash to its block');
  const storage = storageProof.map((slot, at) => ({ ...slot, key: keys[at] ?? '' }));
  return {
    header: Buffer.from(header.slice(2), 'hex'),
    proof: { blockNumber: Number(number), blockHash, account: accountProof, storage },
  };
}

export type Scene = {
  deps: BundleDeps;
  versionLog: MemoryLog;
  chain: TestChain;
  bundle: Bundle;
  signer: NoteSigner;
  witness: NoteSigner;
};

/** Seven versions, cosigned and anchored; five more, and anchored again. `bundle` proves the fifth. */
export async function createScene(anvil: Anvil): Promise<Scene> {
  const [signer, witness] = [newSigner(ORIGIN), newSigner('witness.example', 4)];
  const versionLog = createMemoryLog([signer], [witness]);
  const chain = await createTestChain(anvil);
  for (let index = 0; index < 7; index += 1) versionLog.entries.push(versionAt(index).entry);
  await chain.anchor({ ...versionLog.checkpoint(), proof: [] });
  for (let index = 7; index < 12; index += 1) versionLog.entries.push(versionAt(index).entry);
  const proof = await versionLog.proveConsistency({ fromSize: 7, toSize: 12 });
  await chain.anchor({ ...versionLog.checkpoint(), proof });
  const deps: BundleDeps = {
    ...{ versionLog, signer, witnesses: [witness.vkey] },
    anchors: {
      findCovering: async ({ leafIndex }) =>
        chain.anchors.filter(({ treeSize }) => treeSize > leafIndex).slice(0, 1),
      findLatest: async () => chain.anchors.at(-1),
    },
  };
  const bundle = await proveLeaf(deps, 4);
  return { deps, versionLog, chain, bundle, signer, witness };
}

/** The bundle of one of the fixtures' versions, as a gateway makes it. */
export async function proveLeaf(deps: BundleDeps, leafIndex: number): Promise<Bundle> {
  const made = await makeBundle(deps, { leafIndex, manifest: versionAt(leafIndex).manifest });
  if (made.kind !== 'made' || made.anchorFault !== undefined) throw new Error(JSON.stringify(made));
  return made.bundle;
}

function toHex(hash: Hash): Hex {
  return `0x${hash.toString('hex')}`;
}
