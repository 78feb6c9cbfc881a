import {
  type CheckpointBody,
  createReplay,
  decodeLeaf,
  type Findings,
  NoteError,
  newFindings,
  parseCheckpoint,
  parseLogVkey,
  RefutedError,
  tellReason,
  verifyNote,
} from '../provenance/index.ts';
import { type Command, type CommandInput, textOf, UsageError } from './command.ts';
import { type AnchoredLog, fetchContracts, readAnchored } from './log-fsck/anchors.ts';
import { type Audit, createReceiptsAudit, createVersionsAudit, type Fault } from './log-fsck/audit.ts';
import { readEntries, readTile, TILE_WIDTH, TileError } from './log-fsck/tiles.ts';
import { toOneLine } from './printable.ts';
import { readContracts } from './verify/contracts.ts';
import { createRpc, download } from './verify/http.ts';
import { readVkeys } from './verify/keys.ts';
import { report } from './verify/report.ts';
import { fetchVkeys } from './verify/subject.ts';

const ROUTES = { versions: '/log', receipts: '/log/receipts' } as const;
const CHECKPOINT_BYTES_MAX = 1024 * 1024;
const FAULTS_SHOWN = 100;

export const logFsckCommand: Command = {
  options: {
    log: { type: 'string', default: 'versions' },
    vkey: { type: 'string', multiple: true },
    rpc: { type: 'string' },
    contract: { type: 'string', multiple: true },
    json: { type: 'boolean', default: false },
  },
  optionTexts: [
    ['--log versions|receipts', 'which log; versions when left out'],
    ['--vkey <vkey>', "the log's key from elsewhere; the gateway is asked when left out"],
    ['--rpc <url>', 'a node of a chain, whose every anchor of the log is compared too'],
    ['--contract <chain>:<address>', 'the contract of the anchors; the gateway is asked when left out'],
    ['--json', 'the verdict as JSON'],
  ],
  async run(input) {
    const log = textOf(input, 'log');
    if (log !== 'versions' && log !== 'receipts') throw new UsageError('--log is versions or receipts.');
    const output = { isJson: input.values.json === true, print: input.print };
    try {
      const findings = newFindings();
      const what = await checkLog(input, log, findings);
      return report({ kind: 'valid', what, ...findings }, output);
    } catch (cause) {
      if (cause instanceof TileError) return report({ kind: 'invalid', reason: cause.message }, output);
      if (!(cause instanceof RefutedError || cause instanceof NoteError)) throw cause;
      return report({ kind: 'invalid', reason: tellReason(cause) }, output);
    }
  },
};

/** Throws what it refutes; else answers which log held. */
async function checkLog(input: CommandInput, log: keyof typeof ROUTES, findings: Findings): Promise<string> {
  const source = { url: `${input.url}${ROUTES[log]}`, signal: input.signal };
  // The chain first: what is anchored meanwhile is no part of the checkpoint that is fetched after it.
  const anchored = await readChains(input, log, findings);
  const checkpoint = await fetchCheckpoint(input, source, findings);
  const audit = log === 'versions' ? createVersionsAudit() : createReceiptsAudit();
  const faults = await replay(source, { checkpoint, anchored, audit });
  faults.push(...compareContracts(log, anchored, audit));
  for (const fault of faults.slice(0, FAULTS_SHOWN)) input.complain(toOneLine(fault));
  if (faults.length > 0) {
    const others = faults.length === 1 ? '' : ` (and ${faults.length - 1} more)`;
    throw new RefutedError(`${faults[0]}${others}`);
  }
  const { treeSize, origin, root } = checkpoint;
  const held = anchored.flatMap(({ anchors }) => anchors).length;
  findings.checked.push(
    `merkletreejs comes to the signed root ${root.toString('base64')} from all ${treeSize} entries.`,
    log === 'versions'
      ? 'Every leaf is spelled right, and nothing is in the log twice: every version has one code.'
      : 'Every entry is spelled right, and the sales of each tool and lane follow one another without a gap.',
    ...(held > 0 ? [`All ${held} anchors on the chain are roots of this log, each at its size.`] : []),
  );
  return `${origin}: ${treeSize} leaves`;
}

type Replayed = { checkpoint: CheckpointBody; anchored: readonly AnchoredLog[]; audit: Audit };

/** Builds the log anew; answers what is wrong with it, in words. */
async function replay(
  source: { url: string; signal: AbortSignal },
  { checkpoint, anchored, audit }: Replayed,
): Promise<string[]> {
  const { treeSize, root } = checkpoint;
  const faults: string[] = [];
  const rebuilt = createReplay();
  const compare = compareAnchors(anchored, treeSize, faults);
  for await (const entries of readEntries(source, treeSize)) {
    for (const entry of entries) {
      const fault = audit.take(entry, rebuilt.treeSize());
      if (fault) faults.push(await tellFault(source, fault, { entry, treeSize }));
      // Whoever serves that many wrong entries may serve them without an end.
      if (faults.length > FAULTS_SHOWN) return faults;
      rebuilt.append(entry);
      compare(rebuilt.treeSize(), () => rebuilt.root());
    }
  }
  if (!rebuilt.root().equals(root)) {
    const found = rebuilt.root().toString('base64');
    faults.unshift(`the entries come to the root ${found}, and ${root.toString('base64')} was signed`);
  }
  return faults;
}

/** What holds the root of each size that a chain holds against the chain's. */
function compareAnchors(
  anchored: readonly AnchoredLog[],
  treeSize: number,
  faults: string[],
): (size: number, rootOf: () => Buffer) => void {
  const bySize = new Map<number, { root: Buffer; place: string }[]>();
  for (const { chainId, address, anchors } of anchored) {
    for (const [index, anchor] of anchors.entries()) {
      const place = `anchor ${index} of ${address} on chain ${chainId}`;
      bySize.set(anchor.treeSize, [...(bySize.get(anchor.treeSize) ?? []), { root: anchor.root, place }]);
      if (anchor.treeSize <= treeSize) continue;
      faults.push(`${place} is of ${anchor.treeSize} leaves, and the log has ${treeSize}: it was cut`);
    }
  }
  return (size, rootOf) => {
    for (const { root, place } of bySize.get(size) ?? []) {
      if (!rootOf().equals(root))
        faults.push(`${place} is another root than that of the first ${size} leaves`);
    }
  };
}

/** The contracts that were read are among those that the log itself names, where it names any of that chain. */
function compareContracts(log: string, anchored: readonly AnchoredLog[], audit: Audit): string[] {
  const named = audit.contracts().filter((contract) => contract.log === log);
  return anchored.flatMap(({ chainId, address }) => {
    const here = named.filter((contract) => contract.chainId === chainId);
    const isNamed = here.length === 0 || here.some((contract) => contract.address === address);
    return isNamed ? [] : [`the log does not name ${address} as its contract on chain ${chainId}`];
  });
}

async function tellFault(
  source: { url: string; signal: AbortSignal },
  fault: Fault,
  { entry, treeSize }: { entry: Buffer; treeSize: number },
): Promise<string> {
  if (fault.kind === 'wrong') return `leaf ${fault.leafIndex}: ${fault.text}`;
  const { leafIndex, earlierIndex, key } = fault;
  const tile = await readTile(source, { n: Math.floor(earlierIndex / TILE_WIDTH), treeSize });
  const [before, now] = [tile[earlierIndex % TILE_WIDTH] ?? Buffer.alloc(0), entry].map((one) => {
    const leaf = decodeLeaf(one);
    return leaf?.kind === 'publish' ? leaf.sha256 : undefined;
  });
  const isOtherCode = before !== undefined && now !== undefined && before !== now;
  const codes = isOtherCode ? `, with other code: ${before} and then ${now}` : '';
  return `leaf ${leafIndex} says again what leaf ${earlierIndex} says (${key})${codes}`;
}

async function readChains(input: CommandInput, log: string, findings: Findings): Promise<AnchoredLog[]> {
  const rpcUrl = textOf(input, 'rpc');
  const given = readContracts(input);
  if (rpcUrl === undefined) {
    if (given) throw new UsageError('--contract needs --rpc, a node of its chain.');
    findings.notChecked.push('The anchors of the log on a chain: name a node with --rpc.');
    return [];
  }
  const contracts = given ?? (await fetchContracts(input, log));
  const whose = given ? 'which you gave' : `which ${input.url} names`;
  const anchored = await readAnchored(createRpc(rpcUrl, input.signal), contracts);
  if (anchored.length === 0) throw new RefutedError('the log has no contract on the chain of that node');
  for (const { address, chainId } of anchored) {
    findings.trusted.push(`That ${address} on chain ${chainId} is the contract of the log, ${whose}.`);
  }
  findings.trusted.push('The node that was asked about the chain.');
  return anchored;
}

async function fetchCheckpoint(
  input: CommandInput,
  source: { url: string; signal: AbortSignal },
  findings: Findings,
): Promise<CheckpointBody> {
  const given = readVkeys(input, 'vkey');
  const vkeys = given ?? (await fetchVkeys(input, source.url.slice(input.url.length)));
  const bytes = await download(`${source.url}/checkpoint`, {
    bytesMax: CHECKPOINT_BYTES_MAX,
    signal: source.signal,
  });
  const { text, signatures } = verifyNote(bytes.toString('utf8'), vkeys.map(parseLogVkey));
  const checkpoint = parseCheckpoint(text);
  const key = signatures.find((signature) => signature.key.name === checkpoint.origin)?.key;
  if (!key) throw new RefutedError(`the checkpoint is of ${checkpoint.origin}, whose key did not sign it`);
  findings.checked.push(
    `The checkpoint of ${checkpoint.treeSize} leaves is signed by ${key.name} (${key.keyId}).`,
  );
  findings.trusted.push(
    `The log's key, ${given ? 'which you gave' : `which ${input.url} served`}: ${key.vkey}.`,
  );
  findings.notChecked.push('That everybody is shown this same log: compare checkpoints (millicent monitor).');
  return checkpoint;
}
