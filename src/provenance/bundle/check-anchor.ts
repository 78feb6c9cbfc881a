import type { CheckpointBody } from '../log/checkpoint.ts';
import { verifyConsistency } from '../merkle/merkle.ts';
import type { Bundle, BundleAnchor } from './bundle.ts';
import { readAccount, readHeader, readSlot } from './ethereum/state.ts';
import {
  anchorSlots,
  type ChainAnchor,
  unpackAnchor,
  VERSION_ANCHOR_CODE_HASHES,
} from './ethereum/version-anchor.ts';
import { type Findings, tellTime } from './findings.ts';
import { check } from './refuted.ts';
import { latestTime, type Trust } from './trust.ts';

/** That a chain holds the checkpoint's root, and that the log only grew up to the newest root there. */
export function checkAnchors(
  bundle: Bundle,
  checkpoint: CheckpointBody,
  trust: Trust,
  findings: Findings,
): void {
  const { anchor, appendOnly } = bundle;
  if (!anchor) {
    check(!appendOnly, 'the bundle proves growth since an anchor, and names no anchor');
    check(
      !trust.contracts && !trust.blockHashes,
      'a contract or block was given, and the bundle names no anchor',
    );
    findings.notChecked.push(
      'Any chain: the bundle names no anchor. A log that lies about time is not found out.',
    );
    return;
  }
  const isSame = anchor.treeSize === checkpoint.treeSize && anchor.root === toHex(checkpoint.root);
  check(isSame, 'the anchor is of another tree than the checkpoint');
  const kept = checkState(anchor, trust);
  const place = `the contract ${anchor.contract} on chain ${anchor.chainId}`;
  findings.checked.push(
    `In the state of block ${anchor.blockNumber} (${anchor.blockHash}), ${place} holds the checkpoint's root and ` +
      `size as anchor ${anchor.anchorIndex}, written at ${tellTime(kept.time)} in block ${kept.blockNumber}.`,
    'The code of that contract is VersionAnchor, which takes a tree only with proof that it begins with the one before.',
  );
  const isPinned = trust.contracts !== undefined;
  findings.trusted.push(
    isPinned
      ? `That ${place} is the log's, which you gave.`
      : `That ${place} is the log's, as the bundle names it (pin it with --contract).`,
  );
  tellBlock(anchor, trust, findings);
  if (appendOnly) checkAppendOnly({ anchor, appendOnly, kept }, trust, findings);
  else findings.notChecked.push('Growth since that anchor: when the bundle was made it was the newest.');
}

/** That the block's state holds the anchor; answers what it holds. */
function checkState(anchor: BundleAnchor, trust: Trust): ChainAnchor {
  const header = readHeader(toBytes(anchor.header));
  check(header.hash === anchor.blockHash, 'the block header is not that of the block it is said to be');
  check(header.number === BigInt(anchor.blockNumber), 'the block has another number than it is said to have');
  const { contracts } = trust;
  const isGiven = ({ chainId, address }: { chainId: number; address: string }) =>
    chainId === anchor.chainId && address.toLowerCase() === anchor.contract;
  check(
    !contracts || contracts.some(isGiven),
    `it is anchored in ${anchor.contract} on chain ${anchor.chainId}, which is not a contract that you gave`,
  );
  const nodes = anchor.proof.account.map(toBytes);
  const account = readAccount(header.stateRoot, { address: toBytes(anchor.contract), nodes });
  const isKnown = VERSION_ANCHOR_CODE_HASHES.includes(account.codeHash);
  check(isKnown, `the code of the contract is not VersionAnchor: it has the hash ${account.codeHash}`);
  const [root = 0n, facts = 0n] = anchorSlots(anchor.anchorIndex).map((slot, at) => {
    const given = anchor.proof.storage[at];
    check(
      given && BigInt(given.key) === slot,
      'the storage proof is of other slots than those of the anchor',
    );
    const value = readSlot(account.storageRoot, { slot, nodes: given.proof.map(toBytes) });
    check(
      BigInt(given.value) === value,
      'the value of a storage slot is not the one that its proof leads to',
    );
    return value;
  });
  const kept = unpackAnchor(root, facts);
  const isSame = toHex(kept.root) === anchor.root && kept.treeSize === anchor.treeSize;
  check(isSame, 'the chain holds another root or size than the anchor says');
  check(kept.time <= latestTime(trust), `the anchor is of ${tellTime(kept.time)}, which is to come`);
  check(BigInt(kept.time) <= header.time, 'the anchor is younger than the block whose state holds it');
  return kept;
}

function tellBlock(anchor: BundleAnchor, { blockHashes }: Trust, findings: Findings): void {
  const block = `block ${anchor.blockNumber} (${anchor.blockHash})`;
  if (!blockHashes) {
    findings.trusted.push(
      `That ${block} is part of chain ${anchor.chainId} for good, as the bundle says (ask the chain with --rpc, or ` +
        'pin it with --block-hash).',
    );
    return;
  }
  const isGiven = blockHashes.some((hash) => hash.toLowerCase() === anchor.blockHash);
  check(isGiven, `the proof is of ${block}, which is not a block that you gave`);
  findings.trusted.push(`That ${block} is part of chain ${anchor.chainId}, which you gave.`);
}

type Growth = { anchor: BundleAnchor; appendOnly: NonNullable<Bundle['appendOnly']>; kept: ChainAnchor };

function checkAppendOnly({ anchor, appendOnly, kept }: Growth, trust: Trust, findings: Findings): void {
  const { from, to, anchor: latest } = appendOnly;
  check(from === anchor.treeSize && to === latest.treeSize, 'the proof of growth is between other trees');
  const isSamePlace = latest.chainId === anchor.chainId && latest.contract === anchor.contract;
  check(isSamePlace, 'the newest anchor is in another contract');
  check(
    to > from && latest.anchorIndex > anchor.anchorIndex,
    'the newest anchor does not come after the first',
  );
  // A block that was given for the first anchor is no word on the second.
  const keptLatest = checkState(latest, trust);
  const isAfter = keptLatest.time >= kept.time && keptLatest.blockNumber >= kept.blockNumber;
  check(isAfter, 'the newest anchor is older than the first');
  const path = appendOnly.proof.map((hash) => Buffer.from(hash, 'hex'));
  const [fromRoot, toRoot] = [kept.root, keptLatest.root];
  const hasOnlyGrown = verifyConsistency({ fromSize: from, toSize: to, fromRoot, toRoot, path });
  check(hasOnlyGrown, `the tree of ${to} leaves is not proven to begin with the tree of ${from}`);
  findings.checked.push(
    `The log only grew from ${from} to ${to} leaves, which the same contract holds as anchor ${latest.anchorIndex}, ` +
      `written at ${tellTime(keptLatest.time)} (state of block ${latest.blockNumber}).`,
  );
  if (latest.blockHash === anchor.blockHash) return;
  const isGiven = trust.blockHashes?.some((hash) => hash.toLowerCase() === latest.blockHash) ?? false;
  const whose = isGiven ? 'which you gave' : 'as the bundle says';
  findings.trusted.push(
    `That block ${latest.blockNumber} (${latest.blockHash}) is part of chain ${latest.chainId} for good, ${whose}.`,
  );
}

function toBytes(hex: string): Buffer {
  return Buffer.from(hex.slice(2), 'hex');
}

function toHex(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes).toString('hex')}`;
}
