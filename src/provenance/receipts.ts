import { setImmediate } from 'node:timers/promises';
import { type Clock, toUnixSeconds } from '../core/clock.ts';
import { isUuid, type Uuid } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import type { Log } from '../core/log.ts';
import type { Sql, Tx } from '../db/index.ts';
import type { Rider } from '../ledger/index.ts';
import { type Hash, inclusionPath, merkleRoot } from './merkle.ts';
import {
  type Receipt,
  type ReceiptDraft,
  type ReceiptPayload,
  receiptLeafHash,
  toDigest,
  toReceiptPayload,
  type VersionDescription,
} from './receipt.ts';
import { appendReceipt, createReceiptRider, type ReceiptToAppend } from './rider.ts';
import type { ReceiptSigner } from './signer.ts';
import {
  type BatchSeal,
  findOpenBatch,
  findReceipt,
  findSealedBatch,
  listOpenBatches,
  type OpenBatchRow,
  readBatchReceipts,
  type SealedBatchRow,
  sealBatchRows,
} from './store.ts';
import { type BatchProof, readBatchPayload } from './verify.ts';

export type IssuedReceipt = {
  payload: ReceiptPayload;
  /** The receipt signed by itself. */
  jws: string;
  /** Its place in the signed batch; none while the batch is open, or when a credential paid. */
  batch: BatchProof | undefined;
};

/** The receipts of one gateway process. */
export type Receipts = {
  /** Writes the receipts of key-paid calls in the statement that charges them. */
  readonly rider: Rider<ReceiptDraft | null>;
  /** Writes the receipt of one credential-paid call; see `appendReceipt`. */
  append(tx: Tx, receipt: Omit<ReceiptToAppend, 'lane'>): Promise<{ seq: bigint; issuedAt: Date }>;
  /** Signs one batch; safe to repeat, and the first seal stays. */
  sealBatch(batchId: Uuid): Promise<void>;
  /** Signs what is committed and not yet sealed, by whichever gateway; answers how many batches. For a job. */
  sealOpenBatches(): Promise<number>;
  /** The receipt, signed; with its place in the batch once that is sealed. Undefined when there is none. */
  getReceipt(id: Uuid): Promise<IssuedReceipt | undefined>;
};

export type ReceiptsDeps = {
  sql: Sql;
  clock: Clock;
  log: Log;
  signer: ReceiptSigner;
  /** `newLane()`, one for each process. */
  lane: string;
  /** The origin of the version log that receipts point into. */
  logOrigin: string;
  /** What the catalog knows of a version. Asked once per version: a version never changes. */
  describeVersion(versionId: Uuid): Promise<VersionDescription | undefined>;
};

/** One pass seals at most this many batches, in groups of about this many receipts. */
const BATCHES_MAX = 2_000;
const GROUP_RECEIPTS = 500;
const VERSIONS_MAX = 10_000;
const HASH_BYTES = 32;

/**
 * Receipts for one signature per commit batch (MONEY.md, rule 9), off the request path. The queue of what
 * is to be signed is the open batch rows that commit with the receipts: no crash loses it, and it takes no
 * memory.
 */
export function createReceipts(deps: ReceiptsDeps): Receipts {
  const describe = rememberVersions(deps.describeVersion);
  const current = { iss: deps.signer.issuer, log: deps.logOrigin };

  async function seal(batches: readonly OpenBatchRow[]): Promise<number> {
    const ids = batches.map((batch) => batch.id);
    const receipts = groupByBatch(await readBatchReceipts(deps.sql, ids));
    const seals: BatchSeal[] = [];
    for (const batch of batches) {
      seals.push(await toSeal(batch, receipts.get(batch.id) ?? []));
      // Requests go first: hashing and signing hold the event loop for one batch at a time.
      await setImmediate();
    }
    return sealBatchRows(deps.sql, seals);
  }

  async function toSeal(batch: OpenBatchRow, receipts: readonly Receipt[]): Promise<BatchSeal> {
    invariant(receipts.length === batch.leafCount, `batch ${batch.id} lacks receipts`);
    const leafHashes: Hash[] = [];
    for (const receipt of receipts) {
      leafHashes.push(receiptLeafHash(toReceiptPayload(receipt, await describe(receipt.versionId), current)));
    }
    const root = merkleRoot(leafHashes);
    const signedAt = deps.clock.now();
    const jws = deps.signer.signBatch({
      v: 1,
      iss: current.iss,
      batch: batch.id,
      root: toDigest(root),
      leaf_count: batch.leafCount,
      log: current.log,
      iat: toUnixSeconds(signedAt),
    });
    return { id: batch.id, leafHashes: Buffer.concat(leafHashes), root, jws, signedAt };
  }

  return {
    rider: createReceiptRider({ lane: deps.lane }),
    append: (tx, receipt) => appendReceipt(tx, { ...receipt, lane: deps.lane }),
    async sealBatch(batchId) {
      const batch = await findOpenBatch(deps.sql, batchId);
      if (batch) await seal([batch]);
    },
    async sealOpenBatches() {
      let sealed = 0;
      for (const group of toGroups(await listOpenBatches(deps.sql, BATCHES_MAX))) {
        // One group that cannot be sealed must not keep the others open; it is tried again next time.
        sealed += await seal(group).catch((cause: unknown) => {
          deps.log.error({ err: cause, batches: group.length }, 'receipt batches could not be sealed');
          return 0;
        });
      }
      return sealed;
    },
    async getReceipt(id) {
      const receipt = isUuid(id) ? await findReceipt(deps.sql, id) : undefined;
      if (!receipt) return undefined;
      const batch =
        receipt.batchId === null
          ? undefined
          : await findSealedBatch(deps.sql, { batchId: receipt.batchId, receiptId: id });
      // A sealed receipt keeps the issuer it was sealed under, whatever the configuration says today.
      const issuer = batch ? readBatchPayload(batch.jws) : current;
      const payload = toReceiptPayload(receipt, await describe(receipt.versionId), issuer);
      return { payload, jws: deps.signer.sign(payload), batch: batch && toProof(batch, payload) };
    },
  };
}

function toProof(batch: SealedBatchRow, payload: ReceiptPayload): BatchProof {
  const leafHashes = Array.from({ length: batch.leafCount }, (_, at) =>
    batch.leafHashes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
  );
  const isSame = leafHashes[batch.index]?.equals(receiptLeafHash(payload)) ?? false;
  invariant(isSame, `receipt ${payload.jti} is not what its batch was sealed over`);
  return {
    jws: batch.jws,
    index: batch.index,
    leaf_count: batch.leafCount,
    path: inclusionPath(leafHashes, batch.index).map((hash) => hash.toString('hex')),
  };
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

function groupByBatch<Row extends { batchId: Uuid }>(rows: readonly Row[]): Map<Uuid, Row[]> {
  const groups = new Map<Uuid, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.batchId);
    if (group) group.push(row);
    else groups.set(row.batchId, [row]);
  }
  return groups;
}

/** Remembers descriptions, which never change; the one known longest leaves first. */
function rememberVersions(
  describeVersion: ReceiptsDeps['describeVersion'],
): (versionId: Uuid) => Promise<VersionDescription> {
  const known = new Map<Uuid, VersionDescription>();
  return async (versionId) => {
    const remembered = known.get(versionId);
    if (remembered) return remembered;
    const version = await describeVersion(versionId);
    invariant(version, `a receipt names version ${versionId}, which is not in the catalog`);
    known.set(versionId, version);
    for (const oldest of known.keys()) {
      if (known.size <= VERSIONS_MAX) break;
      known.delete(oldest);
    }
    return version;
  };
}
