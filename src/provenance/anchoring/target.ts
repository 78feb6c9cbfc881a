import { newUuid } from '../../core/ids.ts';
import { Problem } from '../../core/problem.ts';
import { withTransaction } from '../../db/index.ts';
import { dedupKeyOf, encodeLeaf, type Leaf } from '../log/leaf.ts';
import type { TransparencyLog, TreeHead } from '../log/transparency-log.ts';
import { type AdvanceContext, advance, type Health } from './advance.ts';
import type { HeldAnchor } from './anchor-chain.ts';
import { findLatest, findNewestJob, findOpenJob, insertJob, isKnownSize } from './store.ts';

export type TargetContext = AdvanceContext & {
  /** Where the contract itself is logged. */
  versions: TransparencyLog;
  everyMs: number;
};

/** What a round over a target decided; `isOpen` when a transaction of ours may be under way. */
export type Round = { health: Health; isOpen: boolean };

/** An anchor that was given up is not planned anew before that: each may have cost gas. */
const RETRY_MS = 60_000;

/** Throws in words for the operator when the contract is another log's. */
export async function checkContract(context: TargetContext, signal: AbortSignal): Promise<void> {
  const { contract, source } = context;
  const origin = await contract.readOrigin(signal);
  if (origin !== source.origin) {
    throw new Error(
      `the contract ${contract.address} is of the log "${origin}", and this one is "${source.origin}"`,
    );
  }
}

/** Pins the contract: a leaf of the version log tells auditors where to look. */
export async function pinContract(context: TargetContext): Promise<void> {
  const { sql, clock, contract, target, versions } = context;
  const leaf = {
    ...{ kind: 'anchor-contract', log: target.log, chain: target.chainId, contract: contract.address },
    time: Math.floor(clock.now().getTime() / 1_000),
  } as const satisfies Leaf;
  const entry = { entry: encodeLeaf(leaf), dedupKey: dedupKeyOf(leaf) };
  try {
    await withTransaction(sql, (tx) => versions.append(tx, [entry]));
  } catch (error) {
    if (!(error instanceof Problem && error.type === 'conflict')) throw error;
    // It is in the log since an earlier start.
  }
}

/** Why the log cannot be what was anchored there; undefined when it is. */
export async function findContradiction(
  { source, target }: TargetContext,
  latest: HeldAnchor | undefined,
): Promise<string | undefined> {
  return latest && compare(source, latest, `chain ${target.chainId} holds a root`);
}

/** Why the log cannot be what was signed here; undefined when it is. */
export async function findBrokenPromise({ source }: TargetContext): Promise<string | undefined> {
  const signed = await source.findCheckpoint();
  return signed && compare(source, signed, 'a checkpoint was signed');
}

/** `head` was read before the log's own, which only grows. The sentence stays the same while the log does. */
async function compare(source: TransparencyLog, head: TreeHead, fact: string): Promise<string | undefined> {
  const { treeSize } = await source.readHead();
  if (head.treeSize > treeSize) {
    return `${fact} of size ${head.treeSize}, and the log is shorter: was it restored from an old backup?`;
  }
  const root = await source.rootAt(head.treeSize);
  if (Buffer.compare(root, head.root) === 0) return undefined;
  const [theirs, ours] = [head.root.toString('hex'), root.toString('hex')];
  return `${fact} of size ${head.treeSize} that is ${theirs}, and the root of the log there is ${ours}`;
}

/** Plans what is due and advances what is open; the log is known to be what `latest` says. */
export async function runTarget(
  context: TargetContext,
  latest: HeldAnchor | undefined,
  signal: AbortSignal,
): Promise<Round> {
  const { sql, target } = context;
  const open = await findOpenJob(sql, target);
  const settled = open ? undefined : await findLatest(sql, target);
  if (settled && settled.treeSize > (latest?.treeSize ?? 0)) {
    // What is anchored on what it shows would be refused by the chain, at our cost.
    const detail = `the node does not show the final anchor of size ${settled.treeSize}: it lags behind, or lies`;
    return { health: { kind: 'waiting', detail }, isOpen: false };
  }
  if (!open && !(await plan(context, latest, signal))) return { health: { kind: 'ok' }, isOpen: false };
  const job = open ?? (await findOpenJob(sql, target));
  if (!job) return { health: { kind: 'ok' }, isOpen: false };
  return { health: await advance(context, job, latest, signal), isOpen: true };
}

/** Whether something was planned, here or meanwhile by another gateway. */
async function plan(
  context: TargetContext,
  latest: HeldAnchor | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  return (latest && (await adopt(context, latest, signal))) || planNext(context, latest);
}

/**
 * An anchor that we do not know of, for example since the database was restored to before it, becomes a job of ours:
 * nothing is sent for it, for the contract holds it.
 */
async function adopt(context: TargetContext, latest: HeldAnchor, signal: AbortSignal): Promise<boolean> {
  const { sql, clock, contract, source, target } = context;
  const { anchorIndex, treeSize, root } = latest;
  if (await isKnownSize(sql, target, treeSize)) return false;
  // Without a checkpoint of that size nobody could be shown it.
  if (!(await source.findCheckpoint(treeSize))) return false;
  const before = anchorIndex > 0 ? await contract.readAnchor(anchorIndex - 1, signal) : undefined;
  const prevSize = before?.treeSize ?? 0;
  return insertJob(sql, target, { id: newUuid(), prevSize, treeSize, root, createdAt: clock.now() });
}

/** Only when the signed log grew beyond what the contract holds, and the last anchor is old enough. */
async function planNext(context: TargetContext, latest: HeldAnchor | undefined): Promise<boolean> {
  const { sql, clock, source, target, everyMs } = context;
  const checkpoint = await source.findCheckpoint();
  const prevSize = latest?.treeSize ?? 0;
  if (!checkpoint || checkpoint.treeSize <= prevSize) return false;
  const now = clock.now();
  const last = await findNewestJob(sql, target);
  const pauseMs = last?.state === 'superseded' ? Math.min(everyMs, RETRY_MS) : everyMs;
  const sinceMs = last && now.getTime() - last.createdAt.getTime();
  // What was planned in the future was planned by a clock that was wrong.
  if (sinceMs !== undefined && sinceMs >= 0 && sinceMs < pauseMs) return false;
  const { treeSize, root } = checkpoint;
  return insertJob(sql, target, { id: newUuid(), prevSize, treeSize, root, createdAt: now });
}
