import { hash } from 'node:crypto';
import { spellJson } from '../../core/canonical-json.ts';
import { SALT_BYTES } from './commitments/commitment.ts';
import type { Issuer, ReceiptFacts } from './leaves.ts';
import type { VersionDescription } from './receipt.ts';

/** A UTF-16 code unit takes three bytes at most. */
const UTF8_BYTES_MAX = 3;

/** Where payloads are written to be hashed, behind room for a salt. */
type Desk = { bytes: Buffer; end: number; salted: Buffer; prefixed: Buffer };

function setUpDesk(size: number): Desk {
  const bytes = Buffer.alloc(size);
  return { bytes, end: 0, salted: bytes, prefixed: bytes };
}

function writePayload(desk: Desk, payload: string): void {
  const bytesMax = SALT_BYTES + UTF8_BYTES_MAX * payload.length;
  if (desk.bytes.length < bytesMax) Object.assign(desk, setUpDesk(bytesMax));
  const end = SALT_BYTES + desk.bytes.write(payload, SALT_BYTES, 'utf8');
  if (end === desk.end) return;
  desk.end = end;
  desk.salted = desk.bytes.subarray(0, end);
  desk.prefixed = desk.bytes.subarray(SALT_BYTES - 1, end);
}

type PayloadHashes = {
  /** The leaf of a batch's tree (RFC 6962). */
  leaf: string;
  /** That of the receipts log, which `commitTo` makes of the same. */
  commitment: string;
};

/** Of the payload that is on the desk, as binary strings; the salt begins at `start` of `salts`. */
function hashDesk({ bytes, salted, prefixed }: Desk, salts: Buffer, start: number): PayloadHashes {
  salts.copy(bytes, 0, start, start + SALT_BYTES);
  const commitment = hash('sha256', salted, 'binary');
  bytes[SALT_BYTES - 1] = LEAF_PREFIX;
  return { commitment, leaf: hash('sha256', prefixed, 'binary') };
}
const LEAF_PREFIX = 0;

const shared = setUpDesk(4_096);

/** The hashes of a payload that was spelled. */
export function hashPayload(payload: string, salts: Buffer, start: number): PayloadHashes {
  writePayload(shared, payload);
  return hashDesk(shared, salts, start);
}

type Described = { receipt: ReceiptFacts; version: VersionDescription };

/**
 * Hashes receipts that come one after another. What one has like the one before stays on the desk: of the calls of one
 * tool by one key only the ids and the number are written.
 */
export function createReceiptHasher(
  issuer: Issuer,
): (described: Described, salts: Buffer, start: number) => PayloadHashes {
  const desk = setUpDesk(1_024);
  let last: (Described & { spelled: Spelled; places?: Places }) | undefined;
  return ({ receipt, version }, salts, start) => {
    const spelled =
      last && isAlike(last.spelled, receipt, version) ? last.spelled : spellAround(issuer, receipt, version);
    const isLikeLast = last?.spelled === spelled && isOfSameKey(last.receipt, receipt);
    if (last && isLikeLast) last.places ??= findPlaces(spelled, last.receipt);
    if (!last?.places || !isLikeLast || !overwrite(desk, last.places, receipt)) {
      writePayload(desk, joinPayload(spelled, receipt));
      last = { receipt, version, spelled };
    }
    return hashDesk(desk, salts, start);
  };
}

/** Where the bytes of what each receipt of a key has of its own begin on the desk. */
type Places = { idAt: number; paymentRefAt: number; seqAt: number; seqDigits: number };

/** The receipt of a key names its call as the payment. */
function isOfSameKey({ id: idA, draft: a }: ReceiptFacts, { id: idB, draft: b }: ReceiptFacts): boolean {
  return a.payer === b.payer && a.paymentRef === idA && b.paymentRef === idB && idA.length === idB.length;
}

function findPlaces({ beforeId, beforePayer, beforeSeq }: Spelled, { id, draft, seq }: ReceiptFacts): Places {
  const idAt = SALT_BYTES + Buffer.byteLength(beforeId);
  const refAt = idAt + Buffer.byteLength(id + beforePayer + spellJson(draft.payer) + PAYMENT_REF);
  const seqAt = refAt + Buffer.byteLength(spellJson(draft.paymentRef) + beforeSeq);
  // The id is behind a quotation mark there.
  return { idAt, paymentRefAt: refAt + 1, seqAt, seqDigits: `${seq}`.length };
}

/** False, and nothing is written, where the number is longer or shorter than the one before. */
function overwrite({ bytes }: Desk, places: Places, { id, seq }: ReceiptFacts): boolean {
  const digits = `${seq}`;
  if (digits.length !== places.seqDigits) return false;
  bytes.write(id, places.idAt, 'latin1');
  bytes.write(id, places.paymentRefAt, 'latin1');
  bytes.write(digits, places.seqAt, 'latin1');
  return true;
}

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
    return joinPayload(last, receipt);
  };
}

const PAYMENT_REF = ',"payment_ref":';

function joinPayload(
  { beforeId, beforePayer, beforeSeq, afterSeq }: Spelled,
  { id, draft, seq }: ReceiptFacts,
): string {
  const payer = beforePayer + spellJson(draft.payer);
  return beforeId + id + payer + PAYMENT_REF + spellJson(draft.paymentRef) + beforeSeq + seq + afterSeq;
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
