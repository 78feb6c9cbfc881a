import { z } from 'zod';
import {
  ANCHOR_ORIGIN_CALL,
  anchorAtCall,
  anchoredTopics,
  type Bundle,
  type BundleAnchor,
  check,
  decodeAnchorAt,
  decodeOrigin,
  type Findings,
  isVersionAnchorCode,
  refute,
} from '../../provenance/index.ts';
import { hex, quantity, type Rpc } from './http.ts';

const blockSchema = z.object({ number: quantity, hash: hex }).nullable();
const receiptSchema = z
  .object({
    status: hex,
    blockNumber: quantity,
    blockHash: hex,
    logs: z.array(z.object({ address: hex, topics: z.array(hex) })).max(10_000),
  })
  .nullable();

/** Asks the chain itself about the anchors of a bundle that verified. Throws what it refutes. */
export async function checkChain(bundle: Bundle, rpc: Rpc, findings: Findings): Promise<void> {
  const { anchor, appendOnly } = bundle;
  if (!anchor) return refute('the chain was to be asked, and the bundle names no anchor');
  const chainId = await rpc.call('eth_chainId', [], quantity);
  check(
    chainId === anchor.chainId,
    `the node is of chain ${chainId}, and the anchor is on chain ${anchor.chainId}`,
  );
  await checkContract(bundle.log.origin, anchor, rpc, findings);
  for (const one of appendOnly ? [anchor, appendOnly.anchor] : [anchor]) {
    await checkBlock(one, rpc, findings);
    await checkAnchor(one, rpc, findings);
  }
  findings.trusted.push(`The node that was asked about chain ${chainId}.`);
}

async function checkContract(
  origin: string,
  { contract }: BundleAnchor,
  rpc: Rpc,
  findings: Findings,
): Promise<void> {
  const code = await rpc.call('eth_getCode', [contract, 'latest'], hex);
  check(isVersionAnchorCode(code), `the chain has other code than VersionAnchor at ${contract}`);
  const said = decodeOrigin(
    await rpc.call('eth_call', [{ to: contract, data: ANCHOR_ORIGIN_CALL }, 'latest'], hex),
  );
  check(said === origin, `the contract is for another log: ${JSON.stringify(said ?? 'none')}`);
  findings.checked.push(`The chain has VersionAnchor at ${contract}, made for the log ${origin}.`);
}

async function checkBlock(
  { blockNumber, blockHash }: BundleAnchor,
  rpc: Rpc,
  findings: Findings,
): Promise<void> {
  const block = await rpc.call('eth_getBlockByNumber', [toQuantity(blockNumber), false], blockSchema);
  const isThere = block?.hash === blockHash;
  check(isThere, `block ${blockNumber} of the chain is not ${blockHash} but ${block?.hash ?? 'not there'}`);
  findings.checked.push(`The chain has ${blockHash} as its block ${blockNumber}.`);
  const final = await readFinal(rpc);
  if (final === undefined) {
    findings.notChecked.push('Whether that block is final: the node does not tell.');
    return;
  }
  if (final >= blockNumber) findings.checked.push(`Block ${blockNumber} is final.`);
  else
    findings.notChecked.push(`Whether block ${blockNumber} stays: the chain is final up to ${final} so far.`);
}

/** What the chain is final up to; undefined when the node has no word for it. */
async function readFinal(rpc: Rpc): Promise<number | undefined> {
  try {
    return (await rpc.call('eth_getBlockByNumber', ['finalized', false], blockSchema))?.number;
  } catch {
    // Some chains know no finality, and their nodes refuse the question: the report says that it is open.
    return undefined;
  }
}

async function checkAnchor(anchor: BundleAnchor, rpc: Rpc, findings: Findings): Promise<void> {
  const { contract, anchorIndex, treeSize, txHash } = anchor;
  const root = Buffer.from(anchor.root.slice(2), 'hex');
  const data = anchorAtCall(anchorIndex);
  const held = decodeAnchorAt(await rpc.call('eth_call', [{ to: contract, data }, 'latest'], hex));
  const isSame = held.root.equals(root) && held.treeSize === treeSize;
  check(isSame, `the contract holds another root or size as anchor ${anchorIndex}`);
  const receipt = await rpc.call('eth_getTransactionReceipt', [txHash], receiptSchema);
  check(receipt, `the chain knows no transaction ${txHash}`);
  check(receipt.status === '0x1', `the transaction ${txHash} failed`);
  check(
    receipt.blockNumber <= anchor.blockNumber,
    `the transaction ${txHash} came after the block that is proven`,
  );
  const topics = anchoredTopics({ anchorIndex, treeSize, root });
  const isAnchored = receipt.logs.some(
    (log) =>
      log.address === contract &&
      log.topics.length === topics.length &&
      topics.every((topic, at) => log.topics[at] === topic),
  );
  check(isAnchored, `the transaction ${txHash} is not the one that wrote the anchor`);
  const block = await rpc.call('eth_getBlockByNumber', [toQuantity(receipt.blockNumber), false], blockSchema);
  check(
    block?.hash === receipt.blockHash,
    `the transaction ${txHash} is in a block that the chain left behind`,
  );
  findings.checked.push(
    `The contract answers the same root and size as anchor ${anchorIndex}, written by ${txHash} in block ` +
      `${receipt.blockNumber}.`,
  );
}

function toQuantity(value: number): string {
  return `0x${value.toString(16)}`;
}
