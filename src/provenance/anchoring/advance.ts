import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import type { Sql } from '../../db/index.ts';
import type { TransparencyLog } from '../log/transparency-log.ts';
import type { AnchorTargetStatus } from './anchor.ts';
import type { AnchorContract, Evidence, HeldAnchor, Submission } from './anchor-chain.ts';
import { checkEvidence } from './evidence.ts';
import {
  type AnchorJob,
  keepEvidence,
  markFinal,
  markMined,
  markSent,
  markSuperseded,
  type Target,
} from './store.ts';

/** What a job is advanced with. */
export type AdvanceContext = {
  sql: Sql;
  clock: Clock;
  log: Log;
  target: Target;
  source: TransparencyLog;
  contract: AnchorContract;
};

export type Health = AnchorTargetStatus['health'];

const OK: Health = { kind: 'ok' };
/** How long after its block an anchor waits for state proofs that the node does not give. */
const EVIDENCE_WAIT_MS = 120_000;

/**
 * Takes a job one step further, from wherever it was left and by whomever. Each step is decided by what the contract
 * holds, so repeating one does no harm, and the contract itself refuses what was overtaken.
 */
export async function advance(
  context: AdvanceContext,
  job: AnchorJob,
  latest: HeldAnchor | undefined,
  signal: AbortSignal,
): Promise<Health> {
  switch (job.state) {
    case 'planned':
    case 'sent':
      return bringOn(context, job, latest, signal);
    case 'mined':
      return confirm(context, job, signal);
    case 'final':
    case 'superseded':
      return OK;
    default:
      return job.state satisfies never;
  }
}

/** Planned or sent: until the contract holds the root, or never will. */
async function bringOn(
  context: AdvanceContext,
  job: AnchorJob,
  latest: HeldAnchor | undefined,
  signal: AbortSignal,
): Promise<Health> {
  const { sql, contract, log } = context;
  const latestSize = latest?.treeSize ?? 0;
  if (latestSize >= job.treeSize) {
    const held = await findHeld(contract, job, signal);
    if (!held) return giveUp(context, job, 'the contract went on without it');
    const mined = await contract.findMined(job.id, held, signal);
    if (!mined)
      return waiting(
        'the contract holds the root, and no transaction in a block of the chain explains it yet',
      );
    await markMined(sql, job.id, { held, mined });
    log.info({ ...context.target, treeSize: job.treeSize, txHash: mined.txHash }, 'a root is anchored');
    return OK;
  }
  const earlier = await contract.follow(job.id, signal);
  if (!earlier && latestSize !== job.prevSize)
    return giveUp(context, job, 'it was made for another anchor before it');
  const submission = earlier ?? (await submit(context, job, signal));
  return note(context, job, submission);
}

async function submit(context: AdvanceContext, job: AnchorJob, signal: AbortSignal): Promise<Submission> {
  const { prevSize, treeSize, root } = job;
  const proof = await context.source.proveConsistency({ fromSize: prevSize, toSize: treeSize });
  return context.contract.submit(job.id, { prevSize, treeSize, root, proof }, signal);
}

async function note(context: AdvanceContext, job: AnchorJob, submission: Submission): Promise<Health> {
  switch (submission.kind) {
    case 'waiting':
      return waiting(submission.detail);
    case 'sent':
      await markSent(context.sql, job.id, ['planned']);
      return waiting(submission.detail);
    case 'reverted':
      return giveUp(context, job, submission.detail);
    default:
      return submission satisfies never;
  }
}

async function giveUp(context: AdvanceContext, job: AnchorJob, detail: string): Promise<Health> {
  const { sql, log, target } = context;
  if (await markSuperseded(sql, job.id)) {
    log.warn({ ...target, treeSize: job.treeSize, detail }, 'an anchor was given up, and is planned anew');
  }
  return waiting(`the anchor of size ${job.treeSize} was given up: ${detail}`);
}

/** Mined: until its block is final, or is gone. */
async function confirm(context: AdvanceContext, job: AnchorJob, signal: AbortSignal): Promise<Health> {
  const { sql, contract, log, target } = context;
  const { mined } = job;
  if (!mined) return OK;
  const standing = await contract.readStanding(mined, signal);
  const held = standing === 'gone' ? undefined : await findHeld(contract, job, signal);
  // A node that showed more than there is must never make an anchor final: the state is read again each time.
  if (!held || held.anchorIndex !== mined.anchorIndex) {
    await markSent(sql, job.id, ['mined']);
    log.warn(
      { ...target, treeSize: job.treeSize, txHash: mined.txHash },
      'an anchor lost its block, and is sent again',
    );
    return waiting('a reorganisation took the anchor out of its block');
  }
  const evidence = await gather(context, job, held, signal);
  if (standing !== 'final' || evidence.kind === 'young') return OK;
  if (evidence.kind === 'none' && context.clock.now().getTime() - held.blockTime * 1_000 < EVIDENCE_WAIT_MS) {
    return waiting(`the node gives no state proofs: ${describeError(evidence.cause)}`);
  }
  if (!(await markFinal(sql, job.id, mined.blockHash))) return OK;
  const fields = { ...target, treeSize: job.treeSize, txHash: mined.txHash };
  if (evidence.kind === 'none')
    log.warn({ ...fields, cause: evidence.cause }, 'an anchor is final, without state proofs');
  else log.info(fields, 'an anchor is final');
  return OK;
}

type Gathered = { kind: 'kept' } | { kind: 'young' } | { kind: 'none'; cause: unknown };

/**
 * Nodes keep the state of old blocks for minutes only, and on a rollup a block is older than that when it is final:
 * so the proofs are captured at once, and count when the block that they are of is final.
 */
async function gather(
  context: AdvanceContext,
  job: AnchorJob,
  held: HeldAnchor,
  signal: AbortSignal,
): Promise<Gathered> {
  const { sql, contract } = context;
  const { mined } = job;
  if (!mined) return { kind: 'young' };
  try {
    const standing = job.evidence ? await contract.readStanding(job.evidence.proof, signal) : 'gone';
    if (standing !== 'gone') return { kind: standing === 'final' ? 'kept' : 'young' };
    const evidence: Evidence = await contract.capture(held, mined, signal);
    checkEvidence(evidence, { contract: contract.address, held });
    await keepEvidence(sql, job.id, { blockHash: mined.blockHash, evidence });
    const isFinal = (await contract.readStanding(evidence.proof, signal)) === 'final';
    return { kind: isFinal ? 'kept' : 'young' };
  } catch (cause) {
    return { kind: 'none', cause };
  }
}

/** What the contract holds of exactly this root. */
async function findHeld(
  contract: AnchorContract,
  job: AnchorJob,
  signal: AbortSignal,
): Promise<HeldAnchor | undefined> {
  const held = await contract.findBySize(job.treeSize, signal);
  return held && Buffer.compare(held.root, job.root) === 0 ? held : undefined;
}

/** The first line of what was thrown: the rest is for the log. */
export function describeError(cause: unknown): string {
  const [line = ''] = (cause instanceof Error ? cause.message : String(cause)).split('\n');
  return line.slice(0, DETAIL_CHARS_MAX);
}

const DETAIL_CHARS_MAX = 200;

function waiting(detail: string): Health {
  return { kind: 'waiting', detail };
}
