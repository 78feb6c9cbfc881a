import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { type Clock, toUnixSeconds } from '../../core/clock.ts';
import type { Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import type { Log } from '../../core/log.ts';
import type { Sql } from '../../db/index.ts';
import { HASH_BYTES, merkleRootOf } from '../merkle/merkle.ts';
import { SALT_BYTES } from './commitments/commitment.ts';
import { toDigest, type VersionDescription } from './receipt.ts';
import type { ReceiptSigner } from './signer.ts';
import {
  type BatchLeavesRow,
  type BatchSeal,
  findOpenBatch,
  listBatchVersions,
  listOpenBatches,
  type OpenBatchRow,
  readBatchLeaves,
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
  logOrigin: string;
  describeVersion(versionId: Uuid): Promise<VersionDescription>;
};

/** One pass seals at most this many batches, in groups of about this many receipts. */
const BATCHES_MAX = 2_000;
const GROUP_RECEIPTS = 4_000;

/**
 * The queue of what is to be signed is the open batch rows that commit with the receipts: no crash loses it,
 * it takes no memory, and any gateway can work it off.
 */
export function createSealer(deps: SealerDeps): Sealer {
  return {
    async sealBatch(batchId) {
      const batch = await findOpenBatch(deps.sql, batchId);
      if (batch) await sealTogether(deps, [batch]);
    },
    async sealOpenBatches() {
      let sealed = 0;
      for (const group of toGroups(await listOpenBatches(deps.sql, BATCHES_MAX))) {
        sealed += await sealTogether(deps, group).catch(() => sealSingly(deps, group));
      }
      return sealed;
    },
  };
}

async function sealTogether(deps: SealerDeps, batches: readonly OpenBatchRow[]): Promise<number> {
  const versions: (VersionDescription & { id: Uuid })[] = [];
  for (const id of await listVersions(deps.sql, batches)) {
    versions.push({ ...(await deps.describeVersion(id)), id });
  }
  const issuer = { iss: deps.signer.issuer, log: deps.logOrigin };
  const salts = randomBytes(batches.reduce((sum, { leafCount }) => sum + leafCount, 0) * SALT_BYTES);
  const rows = await readBatchLeaves(deps.sql, { batches, versions, issuer, salts });
  const leaves = new Map(rows.map((row) => [row.id, row]));
  const seals: BatchSeal[] = [];
  let used = 0;
  for (const batch of batches) {
    const saltBytes = batch.leafCount * SALT_BYTES;
    seals.push(
      toSeal(deps, batch, { leaves: leaves.get(batch.id), salts: salts.subarray(used, used + saltBytes) }),
    );
    used += saltBytes;
    // Requests go first: a root and a signature hold the event loop for one batch at a time.
    await setImmediate();
  }
  return sealBatchRows(deps.sql, seals, issuer);
}

async function listVersions(sql: Sql, batches: readonly OpenBatchRow[]): Promise<Iterable<Uuid>> {
  const silent = batches.filter(({ versionIds }) => versionIds === null).map(({ id }) => id);
  const found = silent.length === 0 ? [] : await listBatchVersions(sql, silent);
  return new Set([...found, ...batches.flatMap(({ versionIds }) => versionIds ?? [])]);
}

/** One batch that cannot be sealed must not keep its group open; it is tried again next time. */
async function sealSingly(deps: SealerDeps, batches: readonly OpenBatchRow[]): Promise<number> {
  let sealed = 0;
  for (const batch of batches) {
    sealed += await sealTogether(deps, [batch]).catch((cause: unknown) => {
      deps.log.error({ err: cause, batchId: batch.id }, 'a batch of receipts could not be sealed');
      return 0;
    });
  }
  return sealed;
}

function toSeal(
  deps: SealerDeps,
  batch: OpenBatchRow,
  { leaves, salts }: { leaves: BatchLeavesRow | undefined; salts: Buffer },
): BatchSeal {
  const isWhole = leaves?.leafHashes.length === batch.leafCount * HASH_BYTES;
  invariant(leaves && isWhole, `batch ${batch.id} lacks receipts`);
  const root = merkleRootOf(leaves.leafHashes);
  const signedAt = deps.clock.now();
  const jws = deps.signer.signBatch({
    v: 1,
    iss: deps.signer.issuer,
    batch: batch.id,
    root: toDigest(root),
    leaf_count: batch.leafCount,
    log: deps.logOrigin,
    iat: toUnixSeconds(signedAt),
  });
  return { ...leaves, salts, root, jws, signedAt };
}

/** Groups of whole batches, each as large as one query should be. */
function toGroups(batches: readonly OpenBatchRow[]): OpenBatchRow[][] {
  const groups: OpenBatchRow[][] = [];
  let receipts = GROUP_RECEIPTS;
  for (const batch of batches) {
    if (receipts >= GROUP_RECEIPTS) {
      groups.push([]);
      receipts = 0;
    }
    groups.at(-1)?.push(batch);
    receipts += batch.leafCount;
  }
  return groups;
}
