import type { JSONWebKeySet } from 'jose';
import { z } from 'zod';
import { canonicalJson } from '../../core/canonical-json.ts';
import { nameSigners, parseNote } from '../log/note.ts';
import { parseTlogProof } from '../log/tlog-proof.ts';
import { parseVkey } from '../log/vkey.ts';
import { commitTo, decodeCommitment, SALT_BYTES } from '../receipts/commitments/commitment.ts';
import type { ReceiptPayload } from '../receipts/receipt.ts';
import { verifyBatchProof, verifyReceipt } from '../receipts/verify.ts';
import { checkLog } from './check-log.ts';
import { type Findings, newFindings, tellTime } from './findings.ts';
import { check, RefutedError, refute } from './refuted.ts';
import { latestTime, type Trust } from './trust.ts';
import { type Invalid, tellReason } from './verdict.ts';

const TEXT_LENGTH_MAX = 65_536;
const count = z.int().nonnegative();
const hash = z.string().regex(/^[0-9a-f]{64}$/);

/** The answer of `GET /receipts/{id}`. */
const issuedSchema = z.strictObject({
  ok: z.literal(true),
  receipt: z.unknown(),
  jws: z.string().max(TEXT_LENGTH_MAX),
  batch: z
    .strictObject({
      jws: z.string().max(TEXT_LENGTH_MAX),
      index: count,
      leaf_count: count,
      path: z.array(hash).max(64),
    })
    .optional(),
  log: z
    .strictObject({
      origin: z.string().max(255),
      index: count,
      entry: z.string().max(TEXT_LENGTH_MAX),
      salt: z.string().regex(new RegExp(`^[0-9a-f]{${2 * SALT_BYTES}}$`)),
      proof: z.string().max(TEXT_LENGTH_MAX),
    })
    .optional(),
});
type Issued = z.infer<typeof issuedSchema>;

/** The keys of the gateway that issued it; `jwksFrom` ends the sentence that says who told them. */
export type ReceiptTrust = Pick<Trust, 'vkeys' | 'vkeysFrom' | 'now'> & {
  jwks: JSONWebKeySet;
  jwksFrom?: string | undefined;
};

export type ReceiptVerdict = ({ kind: 'valid'; receipt: ReceiptPayload } & Findings) | Invalid;

/** Whether a receipt holds, with its place in its batch and in the receipts log. Asks nobody and never throws. */
export async function verifyIssuedReceipt(given: unknown, trust: ReceiptTrust): Promise<ReceiptVerdict> {
  try {
    const parsed = issuedSchema.safeParse(given);
    if (!parsed.success) return { kind: 'invalid', reason: 'it is not what GET /receipts/{id} answers' };
    const findings = newFindings();
    const receipt = await checkJws(parsed.data, trust, findings);
    await checkBatch(parsed.data, receipt, trust, findings);
    checkCommitment(parsed.data, receipt, trust, findings);
    findings.notChecked.push(
      `That ${receipt.server} ${receipt.version} is the code ${receipt.code}: leaf ${receipt.log.index} of the log ` +
        `${receipt.log.origin} says so (millicent verify ${receipt.server}@${receipt.version}).`,
    );
    return { kind: 'valid', receipt, ...findings };
  } catch (cause) {
    return { kind: 'invalid', reason: tellReason(cause) };
  }
}

async function checkJws(issued: Issued, trust: ReceiptTrust, findings: Findings): Promise<ReceiptPayload> {
  const verdict = await verifyReceipt(issued.jws, trust.jwks);
  if (verdict.kind === 'invalid') return refute(`the receipt: ${verdict.reason}`);
  const { payload, kid } = verdict;
  check(
    canonicalJson(issued.receipt) === canonicalJson(payload),
    'the receipt is not the one that was signed',
  );
  check(payload.iat <= latestTime(trust), `the receipt is of ${tellTime(payload.iat)}, which is to come`);
  findings.checked.push(
    `${payload.iss} signed that ${payload.payer} bought ${payload.tool} of ${payload.server} ${payload.version} for ` +
      `${payload.price_mcents} mcents at ${tellTime(payload.iat)} (sale ${payload.seq} of the lane ${payload.lane}).`,
  );
  findings.trusted.push(`The key ${kid} of ${payload.iss}, ${trust.jwksFrom ?? 'which you gave'}.`);
  return payload;
}

async function checkBatch(
  { batch }: Issued,
  receipt: ReceiptPayload,
  { jwks }: ReceiptTrust,
  findings: Findings,
): Promise<void> {
  if (!batch) return;
  const verdict = await verifyBatchProof(receipt, batch, jwks);
  if (verdict.kind === 'invalid') throw new RefutedError(`the batch: ${verdict.reason}`);
  findings.checked.push(`It is number ${batch.index} of the ${batch.leaf_count} receipts of a signed batch.`);
}

function checkCommitment(
  { log }: Issued,
  receipt: ReceiptPayload,
  trust: ReceiptTrust,
  findings: Findings,
): void {
  if (!log) {
    findings.notChecked.push(
      'The receipts log: the receipt says nothing of its place there. Fetch it again later.',
    );
    return;
  }
  const entry = Buffer.from(log.entry, 'utf8');
  const said = decodeCommitment(entry);
  check(said, 'the entry is not spelled as the receipts log spells entries (mcp-receipt/v1)');
  const expected = commitTo(receipt, Buffer.from(log.salt, 'hex'));
  const isSame = canonicalJson(said) === canonicalJson(expected);
  check(isSame, 'the entry in the receipts log is not a commitment to this receipt');
  const { origin, index: leafIndex, proof: tlogProof } = log;
  check(
    origin === `${receipt.log.origin}/receipts`,
    `the receipts log of ${receipt.log.origin} is not ${origin}`,
  );
  const vkey = findSigner(tlogProof, trust);
  const claim = { origin, vkey, witnesses: [], entry, leafIndex, tlogProof };
  checkLog(claim, { vkeys: trust.vkeys, vkeysFrom: trust.vkeysFrom, now: trust.now }, findings);
  findings.checked.push('Its entry in the receipts log is a commitment to exactly this receipt.');
}

/** The one of the given keys that signed the checkpoint. */
function findSigner(tlogProof: string, { vkeys }: ReceiptTrust): string {
  const { signatures } = parseNote(parseTlogProof(tlogProof).checkpoint);
  const found = vkeys?.find((vkey) => {
    const { name, keyId } = parseVkey(vkey);
    return signatures.some((signature) => signature.name === name && signature.keyId === keyId);
  });
  return (
    found ??
    refute(
      `the checkpoint of the receipts log is signed by no key that was given (--vkey), only by ${nameSigners(signatures)}`,
    )
  );
}
