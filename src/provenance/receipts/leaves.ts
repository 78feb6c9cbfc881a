import { hash, randomBytes } from 'node:crypto';
import { spellJson } from '../../core/canonical-json.ts';
import { toUnixSeconds } from '../../core/clock.ts';
import type { Uuid } from '../../core/ids.ts';
import { invariant } from '../../core/invariant.ts';
import { SALT_BYTES } from './commitments/commitment.ts';
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
  const spell = spellPayloads(issuer);
  const salts = randomBytes(receipts.length * SALT_BYTES);
  const runs = createRuns(salts);
  let leaves = '';
  for (const [at, receipt] of receipts.entries()) {
    const version = versions.get(receipt.draft.versionId);
    invariant(version, `version ${receipt.draft.versionId} of receipt ${receipt.id} was described`);
    const { leaf, commitment } = hashPayload(spell(receipt, version), salts, at * SALT_BYTES);
    leaves += leaf;
    runs.add(receipt, at, commitment);
  }
  return { id, leafHashes: Buffer.from(leaves, 'binary'), runs: runs.list() };
}

type Views = { end: number; salted: Buffer; prefixed: Buffer };

let scratch = Buffer.alloc(4_096);
let last: Views | undefined;

/** What is hashed of the bytes up to here. The payloads of a batch are about as long as each other. */
function viewUpTo(end: number): Views {
  if (last?.end !== end || last.salted.buffer !== scratch.buffer) {
    last = { end, salted: scratch.subarray(0, end), prefixed: scratch.subarray(SALT_BYTES - 1, end) };
  }
  return last;
}

/**
 * The leaf of a batch's tree (RFC 6962) and the commitment of the receipts log, which `commitTo` makes of the same, as
 * binary strings. The salt begins at `start` of `salts`.
 */
export function hashPayload(
  payload: string,
  salts: Buffer,
  start: number,
): { leaf: string; commitment: string } {
  const bytesMax = SALT_BYTES + UTF8_BYTES_MAX * payload.length;
  if (scratch.length < bytesMax) scratch = Buffer.alloc(bytesMax);
  salts.copy(scratch, 0, start, start + SALT_BYTES);
  const end = SALT_BYTES + scratch.write(payload, SALT_BYTES, 'utf8');
  const { salted, prefixed } = viewUpTo(end);
  const commitment = hash('sha256', salted, 'binary');
  scratch[SALT_BYTES - 1] = 0;
  return { commitment, leaf: hash('sha256', prefixed, 'binary') };
}

/** A UTF-16 code unit takes three bytes at most. */
const UTF8_BYTES_MAX = 3;

/**
 * The canonical JSON of `toReceiptPayload`, which a test compares it with: members in the order of RFC 8785. Spelled
 * at once, because making an object and sorting its members for every receipt costs as much as the call; and what
 * the receipts of one sale say alike is spelled once for those that come one after another.
 */
export function spellPayloads(
  issuer: Issuer,
): (receipt: ReceiptFacts, version: VersionDescription) => string {
  let last: Spelled | undefined;
  return (receipt, version) => {
    if (!last || !isAlike(last, receipt, version)) last = spellAround(issuer, receipt, version);
    const { beforeId, beforePayer, beforeSeq, afterSeq } = last;
    const { payer, paymentRef } = receipt.draft;
    return (
      beforeId +
      receipt.id +
      beforePayer +
      spellJson(payer) +
      ',"payment_ref":' +
      spellJson(paymentRef) +
      beforeSeq +
      receipt.seq +
      afterSeq
    );
  };
}

/** A payload around what each receipt of a sale has of its own, and whose it is. */
type Spelled = {
  receipt: ReceiptFacts;
  version: VersionDescription;
  beforeId: string;
  beforePayer: string;
  beforeSeq: string;
  afterSeq: string;
};

function isAlike({ receipt: a, version }: Spelled, b: ReceiptFacts, described: VersionDescription): boolean {
  const [ofA, ofB] = [a.draft, b.draft];
  return (
    version === described &&
    ofA.toolId === ofB.toolId &&
    ofA.toolName === ofB.toolName &&
    // One and the same buffer: a sale that is alike for all its callers is hashed once.
    ofA.requestHash === ofB.requestHash &&
    ofA.responseHash === ofB.responseHash &&
    ofA.rail === ofB.rail &&
    a.lane === b.lane &&
    a.price === b.price &&
    a.fee === b.fee &&
    a.issuedAtSeconds === b.issuedAtSeconds
  );
}

function spellAround(issuer: Issuer, receipt: ReceiptFacts, version: VersionDescription): Spelled {
  const { draft, lane, price, fee, issuedAtSeconds } = receipt;
  const { name, codeSha256, logIndex } = version;
  return {
    ...{ receipt, version },
    beforeId: `{"code":"sha256:${codeSha256}","fee_mcents":"${fee}","iat":${issuedAtSeconds},"iss":${spellJson(issuer.iss)},"jti":"`,
    beforePayer: `","lane":${spellJson(lane)},"log":{"index":${logIndex},"origin":${spellJson(issuer.log)}},"payer":`,
    beforeSeq:
      `,"price_mcents":"${price}","rail":${spellJson(draft.rail)},"req":"sha256:${draft.requestHash.toString('hex')}",` +
      `"res":"sha256:${draft.responseHash.toString('hex')}","seq":`,
    afterSeq:
      `,"server":${spellJson(name)},"tool":${spellJson(draft.toolName)},"tool_id":"${draft.toolId}",` +
      `"v":1,"version":${spellJson(version.version)}}`,
  };
}

type OpenRun = Pick<ReceiptRun, 'toolId' | 'versionId' | 'lane' | 'firstSeq'> & {
  nextSeq: bigint;
  /** The places of its receipts in the batch. */
  places: number[];
  commitments: string;
};

/** Collects runs: of each tool and lane one is open, which ends where a number or the version does not follow. */
function createRuns(salts: Buffer) {
  const open = new Map<Uuid, OpenRun>();
  const all: OpenRun[] = [];
  return {
    add({ draft: { toolId, versionId }, lane, seq }: ReceiptFacts, place: number, commitment: string) {
      let run = open.get(toolId);
      if (run?.nextSeq !== seq || run.versionId !== versionId || run.lane !== lane) {
        run = { toolId, versionId, lane, firstSeq: seq, nextSeq: seq, places: [], commitments: '' };
        open.set(toolId, run);
        all.push(run);
      }
      run.nextSeq += 1n;
      run.places.push(place);
      run.commitments += commitment;
    },
    list: (): ReceiptRun[] =>
      all.map(({ toolId, versionId, lane, firstSeq, places, commitments }) => ({
        ...{ toolId, versionId, lane, firstSeq, count: places.length },
        salts: pickSalts(salts, places),
        commitments: Buffer.from(commitments, 'binary'),
      })),
  };
}

function pickSalts(salts: Buffer, places: readonly number[]): Buffer {
  const picked = Buffer.alloc(places.length * SALT_BYTES);
  for (const [at, place] of places.entries()) {
    salts.copy(picked, at * SALT_BYTES, place * SALT_BYTES, (place + 1) * SALT_BYTES);
  }
  return picked;
}
