import type { Clock } from '../../core/clock.ts';
import { isUuid, type Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import type { Log } from '../../core/log.ts';
import type { Sql, Tx } from '../../db/index.ts';
import type { Rider } from '../../ledger/index.ts';
import { inclusionPath, splitHashes } from '../merkle/merkle.ts';
import {
  type ReceiptDraft,
  type ReceiptPayload,
  receiptLeafHash,
  toReceiptPayload,
  type VersionDescription,
} from './receipt.ts';
import { appendReceipt, createReceiptRider, type ReceiptToAppend } from './rider.ts';
import { createSealer } from './sealer.ts';
import type { ReceiptSigner } from './signer.ts';
import { findReceipt, findSealedBatch, type SealedBatchRow, sumLanes } from './store.ts';
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
  /** How many receipts a tool has, over all lanes. */
  countSold(toolId: Uuid): Promise<bigint>;
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

const VERSIONS_MAX = 10_000;

/** Receipts for one signature per commit batch (MONEY.md, rule 9). */
export function createReceipts(deps: ReceiptsDeps): Receipts {
  const describe = rememberVersions(deps.describeVersion);
  const current = { iss: deps.signer.issuer, log: deps.logOrigin };

  return {
    rider: createReceiptRider({ lane: deps.lane }),
    append: (tx, receipt) => appendReceipt(tx, { ...receipt, lane: deps.lane }),
    ...createSealer({ ...deps, describeVersion: describe }),
    countSold: (toolId) => sumLanes(deps.sql, toolId),
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
  const leafHashes = splitHashes(batch.leafHashes);
  const isSame = leafHashes[batch.index]?.equals(receiptLeafHash(payload)) ?? false;
  invariant(isSame, `receipt ${payload.jti} is not what its batch was sealed over`);
  return {
    jws: batch.jws,
    index: batch.index,
    leaf_count: batch.leafCount,
    path: inclusionPath(leafHashes, batch.index).map((hash) => hash.toString('hex')),
  };
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
