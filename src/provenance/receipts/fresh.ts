import { setImmediate } from 'node:timers/promises';
import type { Uuid } from '../../core/ids.ts';
import { describeVersions, type HashedBatch, hashBatch, type Issuer, type ReceiptFacts } from './leaves.ts';
import type { VersionDescription } from './receipt.ts';

/** Batches of this process whose receipts need not be read again to be sealed. */
export type FreshBatches = {
  /** Right after the commit; returns at once. What is not kept is sealed from its rows, by whichever gateway. */
  add(batchId: Uuid, receipts: readonly ReceiptFacts[]): void;
  /** What was added until now, hashed, and forgets it. */
  take(): Promise<HashedBatch[]>;
};

/** About a hundred bytes each. */
const RECEIPTS_MAX = 200_000;

export function createFreshBatches(deps: {
  issuer: Issuer;
  describeVersion(versionId: Uuid): Promise<VersionDescription>;
}): FreshBatches {
  let hashed: HashedBatch[] = [];
  let kept = 0;
  const hashing = new Set<Promise<void>>();

  async function hash(batchId: Uuid, receipts: readonly ReceiptFacts[]): Promise<void> {
    // Two turns of the event loop: the calls are answered first, and the next batch is sent.
    await setImmediate();
    await setImmediate();
    const versionIds = receipts.map(({ draft }) => draft.versionId);
    const versions = await describeVersions(versionIds, deps.describeVersion);
    hashed.push(hashBatch(batchId, receipts, { versions, issuer: deps.issuer }));
  }

  return {
    add(batchId, receipts) {
      if (kept + receipts.length > RECEIPTS_MAX) return;
      kept += receipts.length;
      const done = hash(batchId, receipts)
        // Whoever seals it from its rows meets the same, and says so.
        .catch(() => {
          kept -= receipts.length;
        })
        .finally(() => hashing.delete(done));
      hashing.add(done);
    },
    async take() {
      await Promise.all(hashing);
      const taken = hashed;
      hashed = [];
      for (const { runs } of taken) for (const { count } of runs) kept -= count;
      return taken;
    },
  };
}
