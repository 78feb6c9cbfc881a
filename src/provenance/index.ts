export { decodeLeaf, dedupKeyOf, ENTRY_BYTES_MAX, encodeLeaf, type PublishLeaf } from './leaf.ts';
export { appendLeaf, listPublications, readLog } from './log.ts';
export {
  type Hash,
  type InclusionClaim,
  inclusionPath,
  leafHashOf,
  merkleRoot,
  nodeHashOf,
  verifyInclusion,
} from './merkle.ts';
export {
  type BatchPayload,
  opaquePayer,
  type ReceiptDraft,
  type ReceiptPayload,
  receiptLeafHash,
  type VersionDescription,
} from './receipt.ts';
export { createReceipts, type IssuedReceipt, type Receipts, type ReceiptsDeps } from './receipts.ts';
export { appendReceipt, createReceiptRider, newLane, type ReceiptToAppend } from './rider.ts';
export {
  createReceiptSigner,
  newReceiptKeyPem,
  type ReceiptJwks,
  type ReceiptSigner,
  type SigningKey,
} from './signer.ts';
export { type BatchProof, type Verdict, verifyBatchProof, verifyReceipt } from './verify.ts';
