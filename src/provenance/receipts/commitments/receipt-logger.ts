import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Uuid } from '../../../core/ids.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Log } from '../../../core/log.ts';
import { type Sql, withTransaction } from '../../../db/index.ts';
import { LOG_IDS, type TransparencyLog } from '../../log/transparency-log.ts';
import { HASH_BYTES } from '../../merkle/merkle.ts';
import type { VersionDescription } from '../receipt.ts';
import type { Issuer } from '../store.ts';
import { isCommitment, SALT_BYTES } from './commitment.ts';
import { type LaneKey, lockLanes, logWaiting, lookAtQueue, openLanes, type QueuedLane } from './store.ts';

export type ReceiptLoggerDeps = {
  sql: Sql;
  log: Log;
  /** The receipts log. */
  receiptsLog: Pick<TransparencyLog, 'appendWritten'>;
  /** Who issues what no sealed batch says the issuer of. */
  issuer: Issuer;
  describeVersion(versionId: Uuid): Promise<VersionDescription>;
};

type Version = VersionDescription & { id: Uuid };

/** What one transaction takes, and what one call looks at: the log follows without taking a core. */
const RECEIPTS_MAX = 4_000;
const SEEN_MAX = 8_000;
const LOOKS_MAX = 8;
const FAILURES_MAX = 5;
const FIRST_LANE: LaneKey = { toolId: '00000000-0000-0000-0000-000000000000', lane: '' };

/**
 * Puts what was sold into the receipts log, off the request path, by whichever gateway. Receipts of one (tool, lane)
 * enter in the order of `seq` and without a gap: one whose predecessor is not sealed yet waits for it. Entry,
 * commitment, lane and queue change in one transaction, so a crash leaves nothing half done.
 */
export function createReceiptLogger(deps: ReceiptLoggerDeps): {
  logReceipts(signal?: AbortSignal): Promise<number>;
} {
  // Moves from lane to lane and begins anew at the end: those that cannot go on keep no other from being seen.
  let after = FIRST_LANE;
  // Whether a look was full since the beginning: of one of those lanes there may be more than was seen.
  let isCut = false;

  async function takeLanes(): Promise<{ lanes: QueuedLane[]; seen: number }> {
    const lanes = await lookAtQueue(deps.sql, { after, rowsMax: RECEIPTS_MAX });
    const seen = lanes.reduce((sum, { queued }) => sum + queued, 0);
    if (seen === 0 && after !== FIRST_LANE) {
      after = FIRST_LANE;
      return takeLanes();
    }
    // Of the last one of a full look there may be more, which is seen next; unless it was the only one.
    const last = lanes.at(lanes.length > 1 ? -2 : -1);
    after = seen < RECEIPTS_MAX || !last ? FIRST_LANE : last;
    return { lanes, seen };
  }

  const logEach = (lanes: readonly QueuedLane[]) =>
    logSingly(deps, lanes, (lane) => {
      after = lane;
    });

  return {
    async logReceipts(signal) {
      let [logged, seen] = [0, 0];
      for (let looks = 0; looks < LOOKS_MAX && seen < SEEN_MAX && !signal?.aborted; looks++) {
        const look = await takeLanes();
        seen += look.seen;
        isCut ||= look.seen === RECEIPTS_MAX;
        if (look.seen > 0) logged += await logLanes(deps, look.lanes).catch(() => logEach(look.lanes));
        // Requests go first.
        await setImmediate();
        if (after !== FIRST_LANE) continue;
        if (!isCut) break;
        isCut = false;
      }
      return logged;
    },
  };
}

/** One lane that cannot be logged must not keep the others waiting; it is tried again next time. */
async function logSingly(
  deps: ReceiptLoggerDeps,
  lanes: readonly QueuedLane[],
  giveUp: (lane: LaneKey) => void,
): Promise<number> {
  let [logged, failed] = [0, 0];
  for (const one of lanes) {
    const { toolId, lane } = one;
    try {
      logged += await logLanes(deps, [one]);
    } catch (cause) {
      failed += 1;
      // Where nothing can be logged at all it is not the lane's fault, and said once. If it was, others are next.
      if (failed === FAILURES_MAX && logged === 0) {
        giveUp(one);
        throw cause;
      }
      deps.log.error({ err: cause, toolId, lane }, 'the receipts of a lane could not be logged');
    }
  }
  return logged;
}

/** Lanes are locked first and the log last. */
async function logLanes(deps: ReceiptLoggerDeps, lanes: readonly QueuedLane[]): Promise<number> {
  const versions = await describeVersions(deps, lanes);
  requireWords(lanes, versions);
  await openLanes(deps.sql, lanes);
  const rowsMax = lanes.reduce((sum, { queued }) => sum + queued, 0);
  const salts = randomBytes(rowsMax * SALT_BYTES);
  return withTransaction(deps.sql, async (tx) => {
    // A lane that another gateway holds is that one's.
    const own = await lockLanes(tx, lanes);
    if (own.length === 0) return 0;
    const { count } = await deps.receiptsLog.appendWritten(tx, (fromIndex) =>
      logWaiting(tx, {
        ...{ log: LOG_IDS.receipts, fromIndex, lanes: own, rowsMax, versions, issuer: deps.issuer, salts },
      }),
    );
    return count;
  });
}

async function describeVersions(deps: ReceiptLoggerDeps, lanes: readonly QueuedLane[]): Promise<Version[]> {
  const versions: Version[] = [];
  for (const id of new Set(lanes.flatMap(({ versionIds }) => versionIds))) {
    versions.push({ ...(await deps.describeVersion(id)), id });
  }
  return versions;
}

/** Whatever the entries say of tools and lanes the log has words for. */
function requireWords(lanes: readonly QueuedLane[], versions: readonly Version[]): void {
  const words = { tool: 'a', lane: 'a', seq: 1, commit: '0'.repeat(2 * HASH_BYTES) };
  for (const { name } of versions) {
    invariant(isCommitment({ ...words, tool: name }), `the receipts log cannot spell the tool "${name}"`);
  }
  for (const { lane } of lanes) {
    invariant(isCommitment({ ...words, lane }), `the receipts log cannot spell the lane "${lane}"`);
  }
}
