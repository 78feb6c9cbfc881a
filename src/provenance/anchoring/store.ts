import { z } from 'zod';
import type { Queryable, Sql } from '../../db/index.ts';
import { LOG_IDS, type LogName } from '../log/transparency-log.ts';
import type { Hash } from '../merkle/merkle.ts';
import type { Anchor, StateProof } from './anchor.ts';
import type { Evidence, HeldAnchor, MinedAnchor } from './anchor-chain.ts';

/** One log in one contract. */
export type Target = { log: LogName; chainId: number; contract: string };

export type AnchorJob = {
  id: string;
  state: 'planned' | 'sent' | 'mined' | 'final' | 'superseded';
  prevSize: number;
  treeSize: number;
  root: Hash;
  mined: Anchor['mined'];
  evidence: Evidence | undefined;
  createdAt: Date;
};

const hex = z.string().regex(/^0x[0-9a-f]*$/);
const proofSchema = z.object({
  blockNumber: z.int().nonnegative(),
  blockHash: hex,
  account: z.array(hex),
  storage: z.array(z.object({ key: hex, value: hex, proof: z.array(hex) })),
}) satisfies z.ZodType<StateProof>;

type JobRow = {
  id: string;
  log: number;
  chainId: bigint;
  contract: string;
  prevSize: bigint;
  treeSize: bigint;
  root: Buffer;
  state: AnchorJob['state'];
  txHash: string | null;
  blockNumber: bigint | null;
  blockHash: string | null;
  blockTime: bigint | null;
  anchorIndex: bigint | null;
  header: Buffer | null;
  proof: unknown;
  createdAt: Date;
};

/**
 * Puts a root on its way. False when another is on its way already, or this size or a larger one was: whoever read
 * the chain before that plans nothing.
 */
export async function insertJob(
  sql: Sql,
  target: Target,
  job: Pick<AnchorJob, 'id' | 'prevSize' | 'treeSize' | 'root' | 'createdAt'>,
): Promise<boolean> {
  const { log, chainId, contract } = target;
  const rows = await sql`
    INSERT INTO anchor_job (id, log, chain_id, contract, prev_size, tree_size, root, state, created_at)
    SELECT ${job.id}::uuid, ${LOG_IDS[log]}::smallint, ${chainId}::bigint, ${contract}::text,
      ${job.prevSize}::bigint, ${job.treeSize}::bigint, ${job.root}::bytea, 'planned', ${job.createdAt}::timestamptz
    WHERE NOT EXISTS (
      SELECT 1 FROM anchor_job
      WHERE log = ${LOG_IDS[log]} AND chain_id = ${chainId} AND contract = ${contract}
        AND state <> 'superseded' AND tree_size >= ${job.treeSize})
    ON CONFLICT DO NOTHING RETURNING 1`;
  return rows.length === 1;
}

/** What is on its way. */
export async function findOpenJob(sql: Queryable, target: Target): Promise<AnchorJob | undefined> {
  const [row] = await sql<JobRow[]>`
    SELECT * FROM anchor_job
    WHERE log = ${LOG_IDS[target.log]} AND chain_id = ${target.chainId} AND contract = ${target.contract}
      AND state IN ('planned', 'sent', 'mined')`;
  return row && toJob(row);
}

/** What was planned last, whatever became of it: by size, for a clock may have been wrong. */
export async function findNewestJob(sql: Queryable, target: Target): Promise<AnchorJob | undefined> {
  const [row] = await sql<JobRow[]>`
    SELECT * FROM anchor_job
    WHERE log = ${LOG_IDS[target.log]} AND chain_id = ${target.chainId} AND contract = ${target.contract}
    ORDER BY tree_size DESC, created_at DESC LIMIT 1`;
  return row && toJob(row);
}

/** Whether there is a job for exactly this size that was not given up. */
export async function isKnownSize(sql: Queryable, target: Target, treeSize: number): Promise<boolean> {
  const rows = await sql`
    SELECT 1 FROM anchor_job
    WHERE log = ${LOG_IDS[target.log]} AND chain_id = ${target.chainId} AND contract = ${target.contract}
      AND state <> 'superseded' AND tree_size = ${treeSize} LIMIT 1`;
  return rows.length > 0;
}

/** There is a transaction for it, or again only that: a reorganisation took it out of its block. */
export async function markSent(
  sql: Queryable,
  id: string,
  from: readonly AnchorJob['state'][],
): Promise<void> {
  await sql`
    UPDATE anchor_job SET state = 'sent', header = NULL, proof = NULL, updated_at = now()
    WHERE id = ${id} AND state = ANY(${[...from]})`;
}

/** The contract holds it. */
export async function markMined(
  sql: Queryable,
  id: string,
  input: { held: HeldAnchor; mined: MinedAnchor },
): Promise<void> {
  const { held, mined } = input;
  await sql`
    UPDATE anchor_job SET state = 'mined', tx_hash = ${mined.txHash}, block_number = ${mined.blockNumber},
      block_hash = ${mined.blockHash}, block_time = ${held.blockTime}, anchor_index = ${held.anchorIndex},
      gas_used = ${mined.gasUsed ?? null}, header = NULL, proof = NULL, updated_at = now()
    WHERE id = ${id} AND state IN ('planned', 'sent')`;
}

/** Keeps what proves a mined anchor offline, for when its block is final. */
export async function keepEvidence(
  sql: Queryable,
  id: string,
  input: { blockHash: string; evidence: Evidence },
): Promise<void> {
  const { header, proof } = input.evidence;
  await sql`
    UPDATE anchor_job SET header = ${header}, proof = ${JSON.stringify(proof)}::text::json, updated_at = now()
    WHERE id = ${id} AND state = 'mined' AND block_hash = ${input.blockHash}`;
}

/** Nothing takes it back any more. True for who was first to see it. */
export async function markFinal(sql: Queryable, id: string, blockHash: string): Promise<boolean> {
  const rows = await sql`
    UPDATE anchor_job SET state = 'final', updated_at = now()
    WHERE id = ${id} AND state = 'mined' AND block_hash = ${blockHash} RETURNING 1`;
  return rows.length === 1;
}

/** It can never be anchored. True for who was first to see it. */
export async function markSuperseded(sql: Queryable, id: string): Promise<boolean> {
  const rows = await sql`
    UPDATE anchor_job SET state = 'superseded', updated_at = now()
    WHERE id = ${id} AND state IN ('planned', 'sent') RETURNING 1`;
  return rows.length === 1;
}

export async function listAnchors(
  sql: Queryable,
  input: { log: LogName | undefined; rowsMax: number },
): Promise<Anchor[]> {
  const rows = await sql<JobRow[]>`
    SELECT * FROM anchor_job
    WHERE state <> 'superseded'
      AND (${input.log === undefined} OR log = ${input.log === undefined ? 0 : LOG_IDS[input.log]})
    ORDER BY created_at DESC, id DESC LIMIT ${input.rowsMax}`;
  return rows.flatMap((row) => toAnchor(row) ?? []);
}

/** On each chain the first final anchor whose tree holds the leaf. */
export async function findCovering(
  sql: Queryable,
  input: { log: LogName; leafIndex: number },
): Promise<Anchor[]> {
  const rows = await sql<JobRow[]>`
    SELECT DISTINCT ON (chain_id) * FROM anchor_job
    WHERE log = ${LOG_IDS[input.log]} AND state = 'final' AND tree_size > ${input.leafIndex}
    ORDER BY chain_id, tree_size, block_time`;
  return rows.flatMap((row) => toAnchor(row) ?? []);
}

/** The newest final anchor on a chain; in one contract only, where that is named. */
export async function findLatest(
  sql: Queryable,
  input: { log: LogName; chainId: number; contract?: string },
): Promise<Anchor | undefined> {
  const { log, chainId, contract } = input;
  const [row] = await sql<JobRow[]>`
    SELECT * FROM anchor_job
    WHERE log = ${LOG_IDS[log]} AND state = 'final' AND chain_id = ${chainId}
      AND (${contract === undefined} OR contract = ${contract ?? ''})
    ORDER BY tree_size DESC LIMIT 1`;
  return row && toAnchor(row);
}

function toJob(row: JobRow): AnchorJob {
  const { id, state, root, createdAt } = row;
  const isMined = state === 'mined' || state === 'final';
  return {
    ...{ id, state, root, createdAt, prevSize: Number(row.prevSize), treeSize: Number(row.treeSize) },
    mined: isMined ? toMined(row) : undefined,
    evidence:
      row.header === null || row.proof === null
        ? undefined
        : { header: row.header, proof: proofSchema.parse(row.proof) },
  };
}

function toMined(row: JobRow): Anchor['mined'] {
  const { txHash, blockHash } = row;
  if (txHash === null || blockHash === null) return undefined;
  return {
    ...{ txHash, blockHash, anchorIndex: Number(row.anchorIndex) },
    ...{ blockNumber: Number(row.blockNumber), blockTime: Number(row.blockTime) },
  };
}

function toAnchor(row: JobRow): Anchor | undefined {
  const { id: _, createdAt: __, state, evidence, ...facts } = toJob(row);
  if (state === 'superseded') return undefined;
  return {
    ...{ log: nameOf(row.log), chainId: Number(row.chainId), contract: row.contract, state, ...facts },
    // What is not final may still be taken back, and its proofs with it.
    evidence: state === 'final' ? evidence : undefined,
  };
}

function nameOf(id: number): LogName {
  return id === LOG_IDS.versions ? 'versions' : 'receipts';
}
