import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Uuid } from '../../../core/ids.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Log } from '../../../core/log.ts';
import { type Sql, withTransaction } from '../../../db/index.ts';
import type { TransparencyLog } from '../../log/transparency-log.ts';
import { HASH_BYTES } from '../../merkle/merkle.ts';
import type { VersionDescription } from '../receipt.ts';
import { isCommitment, SALT_BYTES } from './commitment.ts';
import {
  type Issuer,
  insertCommitments,
  lockLanes,
  lookAtQueue,
  openLanes,
  type QueuedLane,
  spellWaiting,
} from './store.ts';

export type ReceiptLoggerDeps = {
  sql: Sql;
  log: Log;
  /** The receipts log. */
  receiptsLog: Pick<TransparencyLog, 'appendSpelled'>;
  /** Who issues what no sealed batch says the issuer of. */
  issuer: Issuer;
  describeVersion(versionId: Uuid): Promise<VersionDescription>;
};

type Version = VersionDescription & { id: Uuid };

/** What one transaction takes, and how many of them one call makes: the log follows without taking a core. */
const RECEIPTS_MAX = 4_000;
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

  async function takeLanes(): Promise<QueuedLane[]> {
    const { seen, lastId, lanes } = await lookAtQueue(deps.sql, { afterId, rowsMax: RECEIPTS_MAX });
    if (seen === 0 && afterId !== FIRST_ID) {
      afterId = FIRST_ID;
      return takeLanes();
    }
    afterId = seen < RECEIPTS_MAX ? FIRST_ID : (lastId ?? FIRST_ID);
    return lanes;
  }

  return {
    async logReceipts(signal) {
      let logged = 0;
      for (let round = 0; round < ROUNDS_MAX && !signal?.aborted; round++) {
        const lanes = await takeLanes();
        if (lanes.length > 0) logged += await logLanes(deps, lanes).catch(() => logSingly(deps, lanes));
        // Requests go first.
        await setImmediate();
        if (afterId === FIRST_ID) break;
      }
      return logged;
    },
  };
}

/** One lane that cannot be logged must not keep the others waiting; it is tried again next time. */
async function logSingly(deps: ReceiptLoggerDeps, lanes: readonly QueuedLane[]): Promise<number> {
  let [logged, failed] = [0, 0];
  for (const one of lanes) {
    const { toolId, lane } = one;
    try {
      logged += await logLanes(deps, [one]);
    } catch (cause) {
      failed += 1;
      // Where nothing can be logged at all it is not the lane's fault, and said once.
      if (failed === FAILURES_MAX && logged === 0) throw cause;
      deps.log.error({ err: cause, toolId, lane }, 'the receipts of a lane could not be logged');
    }
  }
  return logged;
}

/** Lanes are locked first and the log last, so that nobody waits for what is hashed here. */
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
    const spelled = await spellWaiting(tx, { lanes: own, rowsMax, versions, issuer: deps.issuer, salts });
    if (!spelled) return 0;
    const firstIndex = await deps.receiptsLog.appendSpelled(tx, spelled);
    await insertCommitments(tx, { spelled, salts, firstIndex });
    return spelled.count;
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
