import type { Clock } from '../../core/clock.ts';
import { isUuid, type Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import type { Log } from '../../core/log.ts';
import type { Queryable, Sql, Tx } from '../../db/index.ts';
import type { Rider } from '../../ledger/index.ts';
import { inclusionPath, splitHashes } from '../merkle/merkle.ts';
import { type LoggedReceipt, proveLogged, type ReceiptsLog } from './commitments/logged-receipt.ts';
import { createReceiptLogger } from './commitments/receipt-logger.ts';
import { readSales, type SalePosition, type SoldReceipt } from './commitments/sales.ts';
import { findOpening, type LaneCount, listLanes } from './commitments/store.ts';
import { createFreshBatches } from './fresh.ts';
import type { Issuer } from './leaves.ts';
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
  /** Its place in the receipts log; none before a checkpoint covers it. */
  log: LoggedReceipt | undefined;
};

/** The receipts of one gateway process. */
export type Receipts = {
  /** Writes the receipts of key-paid calls in the statement that charges them. */
  readonly rider: Rider<ReceiptDraft | null>;
  /** Writes the receipt of one credential-paid call; see `appendReceipt`. */
  append(tx: Tx, receipt: Omit<ReceiptToAppend, 'lane' | 'isCut'>): Promise<{ seq: bigint; issuedAt: Date }>;
  /** Signs one batch; safe to repeat, and the first seal stays. */
  sealBatch(batchId: Uuid): Promise<void>;
  /** Signs what is committed and not yet sealed, by whichever gateway; answers how many batches. For a job. */
  sealOpenBatches(): Promise<number>;
  /** How many receipts a tool has, over all lanes. */
  countSold(toolId: Uuid): Promise<bigint>;
  /**
   * Puts sealed receipts into the receipts log, by whichever gateway; answers how many. For a job: one call is
   * bounded, and the next goes on.
   */
  logReceipts(signal?: AbortSignal): Promise<number>;
  /** A page of what a tool sold, by lane and number, for its publisher alone. */
  listSales(input: { toolId: Uuid; after: SalePosition; salesMax: number }): Promise<SoldReceipt[]>;
  /** How many receipts each lane of these tools has. */
  listLanes(queryable: Queryable, toolIds: readonly Uuid[]): Promise<LaneCount[]>;
  /** The receipt, signed; with its place in batch and log as soon as it has one. Undefined when there is none. */
  getReceipt(id: Uuid): Promise<IssuedReceipt | undefined>;
};

export type ReceiptsDeps = {
  sql: Sql;
  clock: Clock;
  log: Log;
  signer: ReceiptSigner;
  /** `newLane()`, one for each process. */
  lane: string;
  /** Whether charges are cut by shard: then each shard has a lane of its own. */
  isCut?: boolean;
  /** How long a batch is left to the gateway that wrote it before another seals it. */
  leftOpenMs?: number;
  /** The origin of the version log that receipts point into. */
  logOrigin: string;
  /** The log of commitments to receipts. */
  receiptsLog: ReceiptsLog;
  /** What the catalog knows of a version. Asked once per version: a version never changes. */
  describeVersion(versionId: Uuid): Promise<VersionDescription | undefined>;
};

const VERSIONS_MAX = 10_000;
/** Longer than a gateway that works takes to seal what it wrote. */
const LEFT_OPEN_MS = 10_000;

/** Receipts for one signature per commit batch (MONEY.md, rule 9). */
export function createReceipts(deps: ReceiptsDeps): Receipts {
  const { sql, signer, receiptsLog } = deps;
  const describeVersion = rememberVersions(deps.describeVersion);
  const current: Issuer = { iss: signer.issuer, log: deps.logOrigin };
  const fresh = createFreshBatches({ issuer: current, describeVersion });
  const leftOpenMs = deps.leftOpenMs ?? LEFT_OPEN_MS;

  return {
    rider: createReceiptRider({ lane: deps.lane, fresh }),
    append: (tx, receipt) => appendReceipt(tx, { ...receipt, lane: deps.lane, isCut: deps.isCut ?? false }),
    ...createSealer({ ...deps, describeVersion, issuer: current, fresh, leftOpenMs }),
    ...createReceiptLogger({ ...deps, describeVersion, issuer: current }),
    countSold: (toolId) => sumLanes(sql, toolId),
    listSales: (input) => readSales({ sql, current, describeVersion }, input),
    listLanes,
    async getReceipt(id) {
      const receipt = isUuid(id) ? await findReceipt(sql, id) : undefined;
      if (!receipt) return undefined;
      const { batchId, versionId } = receipt;
      const batch = batchId === null ? undefined : await findSealedBatch(sql, { batchId, receiptId: id });
      const opening = await findOpening(sql, receipt);
      // What was sealed or logged keeps the issuer it was sealed under, whatever the configuration says today.
      const sealed = batch && readBatchPayload(batch.jws);
      const issuer = opening ? { iss: opening.iss, log: opening.logOrigin } : (sealed ?? current);
      const payload = toReceiptPayload(receipt, await describeVersion(versionId), issuer);
      return {
        payload,
        jws: signer.sign(payload),
        batch: batch && toProof(batch, payload),
        log: opening && (await proveLogged(receiptsLog, payload, opening)),
      };
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
