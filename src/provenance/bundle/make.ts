import type { Anchor, Anchors } from '../anchoring/anchor.ts';
import { encodeCheckpoint } from '../log/checkpoint.ts';
import { parseNote, signNote } from '../log/note.ts';
import { encodeTlogProof } from '../log/tlog-proof.ts';
import type { Checkpoint, TransparencyLog } from '../log/transparency-log.ts';
import { type NoteSigner, parseVkey } from '../log/vkey.ts';
import { BUNDLE_FORMAT, type Bundle, type BundleAnchor, bundleNoteText } from './bundle.ts';
import { verifyBundle } from './verify.ts';

export type BundleDeps = {
  versionLog: Pick<
    TransparencyLog,
    'origin' | 'sign' | 'findCheckpoint' | 'proveInclusion' | 'proveConsistency' | 'readEntries' | 'readHead'
  >;
  anchors: Pick<Anchors, 'findCovering' | 'findLatest'>;
  /** The log's current key. */
  signer: NoteSigner;
  /** Vkeys of the witnesses that cosign. */
  witnesses: readonly string[];
};

/** Which leaf, and what its `manifest` is the hash of; null for other leaves. */
export type BundleInput = { leafIndex: number; manifest: string | null };

export type MadeBundle =
  | {
      kind: 'made';
      bundle: Bundle;
      /** Why an anchor that is there was left out: what its chain's node told does not prove it. */
      anchorFault: string | undefined;
    }
  | { kind: 'absent' }
  /** It is in the log, and no checkpoint holds it yet. */
  | { kind: 'unsigned' };

type Anchored = Anchor & {
  mined: NonNullable<Anchor['mined']>;
  evidence: NonNullable<Anchor['evidence']>;
};

/** Proves a leaf by the first anchor that holds it, or by the newest checkpoint where no chain does yet. */
export async function makeBundle(deps: BundleDeps, input: BundleInput): Promise<MadeBundle> {
  const { versionLog } = deps;
  const [found] = await versionLog.readEntries({ fromIndex: input.leafIndex, entriesMax: 1 });
  if (found?.leafIndex !== input.leafIndex) return { kind: 'absent' };
  const parts = { ...input, entry: found.entry };
  const anchored = await findAnchored(deps, input.leafIndex);
  if (!anchored) return makeUnanchored(deps, parts);
  const bundle = await assemble(deps, parts, anchored);
  const verdict = verifyBundle(bundle);
  if (verdict.kind === 'valid') return { kind: 'made', bundle, anchorFault: undefined };
  const made = await makeUnanchored(deps, parts);
  return made.kind === 'made' ? { ...made, anchorFault: verdict.reason } : made;
}

async function makeUnanchored(deps: BundleDeps, parts: BundleParts): Promise<MadeBundle> {
  const { versionLog } = deps;
  const holdsLeaf = (checkpoint: Checkpoint | undefined) =>
    checkpoint && checkpoint.treeSize > parts.leafIndex ? checkpoint : undefined;
  const checkpoint = holdsLeaf(await versionLog.findCheckpoint()) ?? holdsLeaf(await versionLog.sign());
  if (!checkpoint) return { kind: 'unsigned' };
  const bundle = await assemble(deps, parts, { checkpoint });
  const verdict = verifyBundle(bundle);
  // Nobody is handed a proof that does not hold: it would be taken for tampering.
  if (verdict.kind === 'invalid')
    throw new Error(`a bundle of leaf ${parts.leafIndex} is bad: ${verdict.reason}`);
  return { kind: 'made', bundle, anchorFault: undefined };
}

type Covering = { checkpoint: Checkpoint; anchor?: Anchored; latest?: Anchored };

/** The earliest anchor on any chain that holds the leaf and whose checkpoint is kept. */
async function findAnchored(
  { versionLog, anchors }: BundleDeps,
  leafIndex: number,
): Promise<Covering | undefined> {
  const covering = (await anchors.findCovering({ log: 'versions', leafIndex })).filter(isAnchored);
  covering.sort((a, b) => a.mined.blockTime - b.mined.blockTime);
  for (const anchor of covering) {
    const checkpoint = await versionLog.findCheckpoint(anchor.treeSize);
    if (!checkpoint) continue;
    const latest = await anchors.findLatest({ log: 'versions', chainId: anchor.chainId });
    const hasGrown = latest?.contract === anchor.contract && latest.treeSize > anchor.treeSize;
    return { checkpoint, anchor, ...(hasGrown && isAnchored(latest) ? { latest } : {}) };
  }
  return undefined;
}

type BundleParts = BundleInput & { entry: Buffer };

async function assemble(deps: BundleDeps, parts: BundleParts, covering: Covering): Promise<Bundle> {
  const { versionLog, signer } = deps;
  const { leafIndex, manifest, entry } = parts;
  const { checkpoint, anchor, latest } = covering;
  const note = signAgain(deps, checkpoint);
  const path = await versionLog.proveInclusion({ leafIndex, treeSize: checkpoint.treeSize });
  const bundle: Bundle = {
    format: BUNDLE_FORMAT,
    log: { origin: versionLog.origin, vkey: signer.vkey, witnesses: findWitnesses(deps, note) },
    entry: entry.toString('utf8'),
    ...{ leafIndex, manifest },
    tlogProof: encodeTlogProof({ index: leafIndex, path, checkpoint: note }),
    anchor: anchor ? toBundleAnchor(anchor) : null,
    appendOnly: anchor && latest ? await proveGrowth(deps, anchor, latest) : null,
    signature: '',
  };
  return { ...bundle, signature: signNote(bundleNoteText(bundle), [signer]) };
}

async function proveGrowth(
  { versionLog }: BundleDeps,
  anchor: Anchored,
  latest: Anchored,
): Promise<NonNullable<Bundle['appendOnly']>> {
  const [from, to] = [anchor.treeSize, latest.treeSize];
  const path = await versionLog.proveConsistency({ fromSize: from, toSize: to });
  return { from, to, proof: path.map((hash) => hash.toString('hex')), anchor: toBundleAnchor(latest) };
}

/** The checkpoint under today's key: an old one may be signed by a key that was since replaced. */
function signAgain({ versionLog, signer }: BundleDeps, { treeSize, root, note }: Checkpoint): string {
  const text = encodeCheckpoint({ origin: versionLog.origin, treeSize, root });
  const others = parseNote(note).signatures.filter(
    ({ name, keyId }) => name !== signer.name || keyId !== signer.keyId,
  );
  return signNote(text, [signer]) + others.map(({ line }) => line).join('');
}

function findWitnesses({ witnesses }: BundleDeps, note: string): string[] {
  const { signatures } = parseNote(note);
  return witnesses.filter((vkey) => {
    const { name, keyId } = parseVkey(vkey);
    return signatures.some((signature) => signature.name === name && signature.keyId === keyId);
  });
}

function isAnchored(anchor: Anchor | undefined): anchor is Anchored {
  return anchor?.state === 'final' && anchor.mined !== undefined && anchor.evidence !== undefined;
}

function toBundleAnchor({ chainId, contract, treeSize, root, mined, evidence }: Anchored): BundleAnchor {
  const { header, proof } = evidence;
  return {
    ...{ chainId, contract: contract.toLowerCase(), anchorIndex: mined.anchorIndex, treeSize },
    root: `0x${root.toString('hex')}`,
    txHash: mined.txHash.toLowerCase(),
    ...{ blockNumber: proof.blockNumber, blockHash: proof.blockHash.toLowerCase() },
    header: `0x${header.toString('hex')}`,
    proof: {
      account: proof.account.map((node) => node.toLowerCase()),
      storage: proof.storage.map(({ key, value, proof: nodes }) => ({
        ...{ key: toWordHex(key), value: toWordHex(value) },
        proof: nodes.map((node) => node.toLowerCase()),
      })),
    },
  };
}

/** Nodes spell numbers as short as they can; a bundle spells each in one way. */
function toWordHex(quantity: string): string {
  return `0x${BigInt(quantity).toString(16).padStart(64, '0')}`;
}
