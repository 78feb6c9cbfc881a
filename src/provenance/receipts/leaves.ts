import { takeRandomBytes } from '../../core/bytes.ts';
import { toUnixSeconds } from '../../core/clock.ts';
import type { Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import { HASH_BYTES } from '../merkle/merkle.ts';
import { SALT_BYTES } from './commitments/commitment.ts';
import { createReceiptHasher } from './payload-bytes.ts';
import type { Receipt, ReceiptDraft, VersionDescription } from './receipt.ts';

/** What a gateway's receipts name besides the sale: the issuer and the origin of the version log. */
export type Issuer = { iss: string; log: string };

/** What is hashed of a receipt. */
export type ReceiptFacts = {
  id: Uuid;
  draft: ReceiptDraft;
  lane: string;
  seq: bigint;
  price: bigint;
  fee: bigint;
  issuedAtSeconds: number;
};

/**
 * Receipts of one version of one tool with following numbers on one lane, in their order: as such they enter the
 * receipts log.
 */
export type ReceiptRun = {
  toolId: Uuid;
  versionId: Uuid;
  lane: string;
  firstSeq: bigint;
  count: number;
  /** One after another, 16 and 32 bytes each. */
  salts: Buffer;
  commitments: Buffer;
};

/** A batch's receipts, hashed: the leaves one after another in leaf order, and what the receipts log will say. */
export type HashedBatch = { id: Uuid; leafHashes: Buffer; runs: ReceiptRun[] };

/** A row as what is hashed of it. */
export function toFacts(row: Receipt): ReceiptFacts {
  const { id, lane, seq, price, fee, issuedAt, ...draft } = row;
  return { id, draft, lane, seq, price, fee, issuedAtSeconds: toUnixSeconds(issuedAt) };
}

export type Versions = ReadonlyMap<Uuid, VersionDescription>;

/** Asks for each version once; throws when one of them cannot be described. */
export async function describeVersions(
  versionIds: Iterable<Uuid>,
  describeVersion: (versionId: Uuid) => Promise<VersionDescription>,
): Promise<Versions> {
  const versions = new Map<Uuid, VersionDescription>();
  for (const id of versionIds) if (!versions.has(id)) versions.set(id, await describeVersion(id));
  return versions;
}

/** Hashes receipts in leaf order; a tool's come with following numbers. `versions` has all that they name. */
export function hashBatch(
  id: Uuid,
  receipts: readonly ReceiptFacts[],
  { versions, issuer }: { versions: Versions; issuer: Issuer },
): HashedBatch {
  const hashReceipt = createReceiptHasher(issuer);
  const salts = takeRandomBytes(receipts.length * SALT_BYTES);
  // Binary strings, which become bytes at once: a write for each hash takes three times as long.
  let leaves = '';
  let committed = '';
  const runs = createRuns();
  receipts.forEach((receipt, at) => {
    const version = versions.get(receipt.draft.versionId);
    invariant(version, 'the version of every receipt was described');
    const { leaf, commitment } = hashReceipt({ receipt, version }, salts, at * SALT_BYTES);
    leaves += leaf;
    committed += commitment;
    runs.add(receipt, at);
  });
  const commitments = Buffer.from(committed, 'latin1');
  return { id, leafHashes: Buffer.from(leaves, 'latin1'), runs: runs.list({ salts, commitments }) };
}

type OpenRun = Pick<ReceiptRun, 'toolId' | 'versionId' | 'lane' | 'firstSeq'> & {
  nextSeq: bigint;
  /** The places of its receipts in the batch. */
  places: number[];
};

/** Collects runs: of each tool and lane one is open, which ends where a number or the version does not follow. */
function createRuns() {
  const open = new Map<Uuid, OpenRun>();
  const all: OpenRun[] = [];
  return {
    add({ draft: { toolId, versionId }, lane, seq }: ReceiptFacts, place: number) {
      let run = open.get(toolId);
      if (run?.nextSeq !== seq || run.versionId !== versionId || run.lane !== lane) {
        run = { toolId, versionId, lane, firstSeq: seq, nextSeq: seq, places: [] };
        open.set(toolId, run);
        all.push(run);
      }
      run.nextSeq += 1n;
      run.places.push(place);
    },
    list: (ofBatch: Pick<ReceiptRun, 'salts' | 'commitments'>): ReceiptRun[] =>
      all.map(({ toolId, versionId, lane, firstSeq, places }) => ({
        ...{ toolId, versionId, lane, firstSeq, count: places.length },
        salts: pick(ofBatch.salts, places, SALT_BYTES),
        commitments: pick(ofBatch.commitments, places, HASH_BYTES),
      })),
  };
}

/** What is at these places, in `bytes` of a width each. */
function pick(bytes: Buffer, places: readonly number[], width: number): Buffer {
  // No place is there twice: these are all of them, in their order.
  if (places.length * width === bytes.length) return bytes;
  return Buffer.concat(places.map((place) => bytes.subarray(place * width, (place + 1) * width)));
}
