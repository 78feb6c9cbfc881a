import { setImmediate } from 'node:timers/promises';
import type { Uuid } from '../../../core/ids.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Log } from '../../../core/log.ts';
import { type Sql, withTransaction } from '../../../db/index.ts';
import type { TransparencyLog } from '../../log/transparency-log.ts';
import { HASH_BYTES } from '../../merkle/merkle.ts';
import type { VersionDescription } from '../receipt.ts';
import { readBatchPayload } from '../verify.ts';
import { commitmentKeyOf, encodeCommitment, newSalt } from './commitment.ts';
import {
  type CommitmentRow,
  type Issuer,
  insertCommitments,
  type LaneKey,
  listQueuedLanes,
  listSeals,
  listWaiting,
  lockLanes,
  openLanes,
  readCommits,
  type WaitingRow,
} from './store.ts';

export type ReceiptLoggerDeps = {
  sql: Sql;
  log: Log;
  /** The receipts log. */
  receiptsLog: Pick<TransparencyLog, 'append'>;
  /** Who issues what no sealed batch says the issuer of. */
  issuer: Issuer;
  describeVersion(versionId: Uuid): Promise<VersionDescription>;
};

/** A receipt with its commitment, ready to be appended. */
type Prepared = Omit<CommitmentRow, 'leafIndex'> & { loggedSeq: bigint; entry: Buffer };

/** What one transaction takes, and how many of them one call makes: the log follows without taking a core. */
const RECEIPTS_MAX = 1_000;
const ROUNDS_MAX = 2;
const FAILURES_MAX = 5;
const FIRST_ID: Uuid = '00000000-0000-0000-0000-000000000000';

/**
 * Puts what was sold into the receipts log, off the request path, by whichever gateway. Receipts of one (tool, lane)
 * enter in the order of `seq` and without a gap: one whose predecessor is not sealed yet waits for it. Entry,
 * commitment, lane and queue change in one transaction, so a crash leaves nothing half done.
 */
export function createReceiptLogger(deps: ReceiptLoggerDeps): {
  logReceipts(signal?: AbortSignal): Promise<number>;
} {
  // Moves through the queue and begins anew at its end: lanes that cannot go on keep no other from being seen.
  let afterId = FIRST_ID;

  async function takeLanes(): Promise<LaneKey[]> {
    const lanes = await listQueuedLanes(deps.sql, { afterId, rowsMax: RECEIPTS_MAX });
    const seen = lanes.reduce((sum, { queued }) => sum + queued, 0);
    const lastId = lanes.reduce((last, lane) => (lane.lastId > last ? lane.lastId : last), FIRST_ID);
    if (lanes.length === 0 && afterId !== FIRST_ID) {
      afterId = FIRST_ID;
      return takeLanes();
    }
    afterId = seen < RECEIPTS_MAX ? FIRST_ID : lastId;
    return lanes;
  }

  return {
    async logReceipts(signal) {
      let logged = 0;
      for (let round = 0; round < ROUNDS_MAX && !signal?.aborted; round++) {
        const lanes = await takeLanes();
        if (lanes.length === 0) break;
        logged += await logLanes(deps, lanes).catch(() => logSingly(deps, lanes));
        // Requests go first.
        await setImmediate();
        if (afterId === FIRST_ID) break;
      }
      return logged;
    },
  };
}

/** One lane that cannot be logged must not keep the others waiting; it is tried again next time. */
async function logSingly(deps: ReceiptLoggerDeps, lanes: readonly LaneKey[]): Promise<number> {
  let [logged, failed] = [0, 0];
  for (const { toolId, lane } of lanes) {
    try {
      logged += await logLanes(deps, [{ toolId, lane }]);
    } catch (cause) {
      failed += 1;
      // Where nothing can be logged at all it is not the lane's fault, and said once.
      if (failed === FAILURES_MAX && logged === 0) throw cause;
      deps.log.error({ err: cause, toolId, lane }, 'the receipts of a lane could not be logged');
    }
  }
  return logged;
}

async function logLanes(deps: ReceiptLoggerDeps, lanes: readonly LaneKey[]): Promise<number> {
  await openLanes(deps.sql, lanes);
  const prepared = await prepare(deps, await listWaiting(deps.sql, { lanes, rowsMax: RECEIPTS_MAX }));
  if (prepared.length === 0) return 0;
  return withTransaction(deps.sql, async (tx) => {
    const locked = new Map((await lockLanes(tx, lanes)).map((lane) => [keyOf(lane), lane.loggedSeq]));
    // A lane that another gateway holds, or has moved on since it was read, is that one's.
    const own = prepared.filter((one) => locked.get(keyOf(one)) === one.loggedSeq);
    if (own.length === 0) return 0;
    const indexes = await deps.receiptsLog.append(
      tx,
      own.map((one) => ({ entry: one.entry, dedupKey: commitmentKeyOf(one) })),
    );
    invariant(indexes.length === own.length, 'the log answers an index for each entry');
    await insertCommitments(
      tx,
      own.map((one, at) => ({ ...one, leafIndex: BigInt(indexes[at] ?? -1) })),
    );
    return own.length;
  });
}

/** Receipts never change, so all that is slow happens before the transaction. */
async function prepare(deps: ReceiptLoggerDeps, waiting: readonly WaitingRow[]): Promise<Prepared[]> {
  const rows = toContiguous(waiting);
  if (rows.length === 0) return [];
  const issuers = await readIssuers(deps, rows);
  const versions = new Map<Uuid, VersionDescription>();
  for (const { versionId } of rows) {
    if (!versions.has(versionId)) versions.set(versionId, await deps.describeVersion(versionId));
  }
  const salted = rows.map((row) => ({
    ...row,
    salt: newSalt(),
    issuer: (row.batchId === null ? undefined : issuers.get(row.batchId)) ?? deps.issuer,
  }));
  const commits = await readCommits(deps.sql, {
    receipts: salted,
    versions: [...versions].map(([id, version]) => ({ ...version, id })),
  });
  invariant(commits.length === salted.length * HASH_BYTES, 'every receipt has its commitment');
  return salted.map((row, at) => {
    const tool = versions.get(row.versionId)?.name ?? '';
    const commit = commits.toString('hex', at * HASH_BYTES, (at + 1) * HASH_BYTES);
    const seq = Number(row.seq);
    const entry = encodeCommitment({ tool, lane: row.lane, seq, commit });
    return { ...row, entry };
  });
}

/** Of each lane what follows without a gap on what is logged of it, in order. */
function toContiguous(waiting: readonly WaitingRow[]): WaitingRow[] {
  const nextSeq = new Map<string, bigint>();
  const inOrder = [...waiting].sort((a, b) => (a.seq < b.seq ? -1 : 1));
  return inOrder.filter((row) => {
    const key = keyOf(row);
    const next = nextSeq.get(key) ?? row.loggedSeq + 1n;
    if (row.seq !== next) return false;
    nextSeq.set(key, next + 1n);
    return true;
  });
}

/** A sealed receipt keeps the issuer it was sealed under. */
async function readIssuers(deps: ReceiptLoggerDeps, rows: readonly WaitingRow[]): Promise<Map<Uuid, Issuer>> {
  const batchIds = new Set(rows.flatMap(({ batchId }) => batchId ?? []));
  const seals = await listSeals(deps.sql, [...batchIds]);
  return new Map(
    seals.map(({ id, jws }) => {
      const { iss, log } = readBatchPayload(jws);
      return [id, { iss, log }];
    }),
  );
}

function keyOf({ toolId, lane }: LaneKey): string {
  return `${toolId} ${lane}`;
}
