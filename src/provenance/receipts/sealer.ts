import { setImmediate } from 'node:timers/promises';
import { type Clock, toUnixSeconds } from '../../core/clock.ts';
import type { Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import type { Log } from '../../core/log.ts';
import type { Sql } from '../../db/index.ts';
import { HASH_BYTES, merkleRootOf } from '../merkle/merkle.ts';
import type { FreshBatches } from './fresh.ts';
import { describeVersions, type HashedBatch, hashBatch, type Issuer, toFacts } from './leaves.ts';
import { toDigest, type VersionDescription } from './receipt.ts';
import type { ReceiptSigner } from './signer.ts';
import {
  type BatchReceiptRow,
  type BatchSeal,
  findOpenBatch,
  listOpenBatches,
  type OpenBatchRow,
  readBatchReceipts,
  sealBatchRows,
} from './store.ts';

/** Signs batches of receipts after they are committed, off the request path. */
export type Sealer = {
  sealBatch(batchId: Uuid): Promise<void>;
  sealOpenBatches(): Promise<number>;
};

export type SealerDeps = {
  sql: Sql;
  clock: Clock;
  log: Log;
  signer: ReceiptSigner;
  issuer: Issuer;
  fresh: Pick<FreshBatches, 'take'>;
  /** How long a batch is left to the gateway that wrote it. */
  leftOpenMs: number;
  describeVersion(versionId: Uuid): Promise<VersionDescription>;
};

/** One pass seals at most this many batches that were left, in groups of about this many receipts. */
const BATCHES_MAX = 2_000;
const LEFT_GROUP = 1_000;
/** What this process charged is sent in texts that die young: larger ones are V8's large objects, and outlive that. */
const FRESH_GROUP = 500;

/**
 * The queue of what is to be signed is the open batch rows that commit with the receipts: no crash loses it, and any
 * gateway can work it off. The one that wrote a batch has it hashed already and seals it first; what it left, for it
 * was killed or lost an answer, is read from the rows.
 */
export function createSealer(deps: SealerDeps): Sealer {
  return {
    async sealBatch(batchId) {
      const batch = await findOpenBatch(deps.sql, batchId);
      if (batch) await sealLeft(deps, [batch]);
    },
    async sealOpenBatches() {
      let sealed = 0;
      const fresh = await deps.fresh.take();
      for (const group of toGroups(fresh, FRESH_GROUP)) {
        sealed += await sealHashed(deps, group).catch((cause: unknown) => {
          // Whoever finds them left reads them from the rows.
          deps.log.error(
            { err: cause, batches: group.length },
            'batches of receipts are left to be sealed later',
          );
          return 0;
        });
      }
      const left = await listOpenBatches(deps.sql, { openForMs: deps.leftOpenMs, rowsMax: BATCHES_MAX });
      for (const group of toGroups(left, LEFT_GROUP)) {
        sealed += await sealLeft(deps, group).catch(() => sealSingly(deps, group));
      }
      return sealed;
    },
  };
}

async function sealHashed(deps: SealerDeps, batches: readonly HashedBatch[]): Promise<number> {
  const seals: BatchSeal[] = [];
  for (const batch of batches) {
    seals.push(toSeal(deps, batch));
    // Requests go first: a root and a signature hold the event loop for one batch at a time.
    await setImmediate();
  }
  return sealBatchRows(deps.sql, seals, deps.issuer);
}

async function sealLeft(deps: SealerDeps, batches: readonly OpenBatchRow[]): Promise<number> {
  const receipts = new Map<Uuid, BatchReceiptRow[]>(batches.map(({ id }) => [id, []]));
  for (const row of await readBatchReceipts(deps.sql, [...receipts.keys()])) {
    receipts.get(row.inBatch)?.push(row);
  }
  const hashed: HashedBatch[] = [];
  for (const batch of batches) {
    hashed.push(await hashRows(deps, batch, receipts.get(batch.id) ?? []));
    await setImmediate();
  }
  return sealHashed(deps, hashed);
}

async function hashRows(
  deps: SealerDeps,
  batch: OpenBatchRow,
  rows: readonly BatchReceiptRow[],
): Promise<HashedBatch> {
  invariant(rows.length === batch.leafCount, `batch ${batch.id} lacks receipts`);
  const versionIds = rows.map(({ versionId }) => versionId);
  const versions = await describeVersions(versionIds, deps.describeVersion);
  return hashBatch(batch.id, rows.map(toFacts), { versions, issuer: deps.issuer });
}

/** One batch that cannot be sealed must not keep its group open; it is tried again next time. */
async function sealSingly(deps: SealerDeps, batches: readonly OpenBatchRow[]): Promise<number> {
  let sealed = 0;
  for (const batch of batches) {
    sealed += await sealLeft(deps, [batch]).catch((cause: unknown) => {
      deps.log.error({ err: cause, batchId: batch.id }, 'a batch of receipts could not be sealed');
      return 0;
    });
  }
  return sealed;
}

function toSeal(deps: SealerDeps, batch: HashedBatch): BatchSeal {
  const root = merkleRootOf(batch.leafHashes);
  const signedAt = deps.clock.now();
  const jws = deps.signer.signBatch({
    v: 1,
    iss: deps.issuer.iss,
    batch: batch.id,
    root: toDigest(root),
    leaf_count: leafCountOf(batch),
    log: deps.issuer.log,
    iat: toUnixSeconds(signedAt),
  });
  return { ...batch, root, jws, signedAt };
}

function leafCountOf(batch: HashedBatch | OpenBatchRow): number {
  return 'leafHashes' in batch ? batch.leafHashes.length / HASH_BYTES : batch.leafCount;
}

/** Groups of whole batches, each as large as one query should be. */
function toGroups<Batch extends HashedBatch | OpenBatchRow>(
  batches: readonly Batch[],
  receiptsMax: number,
): Batch[][] {
  const groups: Batch[][] = [];
  let receipts = receiptsMax;
  for (const batch of batches) {
    if (receipts >= receiptsMax) {
      groups.push([]);
      receipts = 0;
    }
    groups.at(-1)?.push(batch);
    receipts += leafCountOf(batch);
  }
  return groups;
}
