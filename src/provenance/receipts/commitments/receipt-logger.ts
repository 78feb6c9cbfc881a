import { setImmediate } from 'node:timers/promises';
import { takeRandomBytes } from '../../../core/bytes.ts';
import type { Uuid } from '../../../core/ids.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Log } from '../../../core/log.ts';
import { type Sql, withTransaction } from '../../../db/index.ts';
import { LOG_IDS, type TransparencyLog } from '../../log/transparency-log.ts';
import { HASH_BYTES } from '../../merkle/merkle.ts';
import { describeVersions, type Issuer, toFacts, type Versions } from '../leaves.ts';
import { hashPayload, spellPayloads } from '../payload-bytes.ts';
import type { VersionDescription } from '../receipt.ts';
import { readBatchPayload } from '../verify.ts';
import { isCommitment, SALT_BYTES } from './commitment.ts';
import {
  type FixedReceipt,
  fixWaiting,
  type LaneKey,
  listUnfixed,
  lockLanes,
  logWaiting,
  lookAtQueue,
  openLanes,
  type QueuedLane,
  type UnfixedRow,
} from './store.ts';

export type ReceiptLoggerDeps = {
  sql: Sql;
  log: Log;
  /** The receipts log. */
  receiptsLog: Pick<TransparencyLog, 'appendWritten'>;
  /** Who issues what no seal says the issuer of. */
  issuer: Issuer;
  describeVersion(versionId: Uuid): Promise<VersionDescription>;
};

/** What one transaction takes, and what one call looks at: the log follows without taking a core. */
const RECEIPTS_MAX = 4_000;
const SEEN_MAX = 8_000;
const LOOKS_MAX = 8;
/** Spelled and hashed in about a millisecond. */
const FIXED_AT_ONCE = 100;
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
        isCut ||= look.seen >= RECEIPTS_MAX;
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
  const versionIds = lanes.flatMap((lane) => lane.versionIds);
  const versions = await describeVersions(versionIds, deps.describeVersion);
  requireWords(lanes, versions);
  await openLanes(deps.sql, lanes);
  await fixLanes(deps, lanes, versions);
  const rowsMax = lanes.reduce((sum, { queued }) => sum + queued, 0);
  const servers = [...versions].map(([versionId, { name }]) => ({ versionId, name }));
  return withTransaction(deps.sql, async (tx) => {
    // A lane that another gateway holds is that one's.
    const own = await lockLanes(tx, lanes);
    if (own.length === 0) return 0;
    const { count } = await deps.receiptsLog.appendWritten(tx, (fromIndex) =>
      logWaiting(tx, {
        ...{ log: LOG_IDS.receipts, fromIndex, lanes: own, rowsMax, servers },
      }),
    );
    return count;
  });
}

/**
 * Fixes what the log will say of receipts that no seal fixed: a credential paid them, or they wait from before seals
 * did. What was sealed keeps the issuer that the seal of its batch names.
 */
async function fixLanes(
  deps: ReceiptLoggerDeps,
  lanes: readonly QueuedLane[],
  versions: Versions,
): Promise<void> {
  const unfixed = lanes.filter((lane) => lane.unfixed > 0);
  if (unfixed.length === 0) return;
  const rows = await listUnfixed(deps.sql, { lanes: unfixed, rowsMax: RECEIPTS_MAX });
  const fix = createFixer(deps.issuer);
  const fixed: FixedReceipt[] = [];
  for (const [at, row] of rows.entries()) {
    const version = versions.get(row.versionId);
    // One whose version is not described yet waits: the next look asks for that.
    if (version) fixed.push(fix(row, version));
    // Requests go first.
    if (at % FIXED_AT_ONCE === 0) await setImmediate();
  }
  if (fixed.length > 0) await fixWaiting(deps.sql, fixed);
}

/** Receipts of one batch have one issuer, whose spelling is kept for the next. */
function createFixer(current: Issuer): (row: UnfixedRow, version: VersionDescription) => FixedReceipt {
  const spellers = new Map<string | null, { issuer: Issuer; spell: ReturnType<typeof spellPayloads> }>();
  return ({ jws, ...row }, version) => {
    let speller = spellers.get(jws);
    if (!speller) {
      const issuer = jws === null ? current : readBatchPayload(jws);
      speller = { issuer, spell: spellPayloads(issuer) };
      spellers.set(jws, speller);
    }
    const { toolId, lane, seq } = row;
    const { iss, log } = speller.issuer;
    const salt = takeRandomBytes(SALT_BYTES);
    const { commitment } = hashPayload(speller.spell(toFacts(row), version), salt, 0);
    return { toolId, lane, seq, iss, log, salt, commitment: Buffer.from(commitment, 'binary') };
  };
}

/** Whatever the entries say of tools and lanes the log has words for. */
function requireWords(lanes: readonly QueuedLane[], versions: Versions): void {
  const words = { tool: 'a', lane: 'a', seq: 1, commit: '0'.repeat(2 * HASH_BYTES) };
  for (const { name } of versions.values()) {
    invariant(isCommitment({ ...words, tool: name }), `the receipts log cannot spell the tool "${name}"`);
  }
  for (const { lane } of lanes) {
    invariant(isCommitment({ ...words, lane }), `the receipts log cannot spell the lane "${lane}"`);
  }
}
