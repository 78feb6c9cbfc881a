export type { Anchor, Anchors, AnchorTargetStatus, StateProof } from './anchoring/anchor.ts';
export {
  BUNDLE_BYTES_MAX,
  BUNDLE_FORMAT,
  type Bundle,
  type BundleAnchor,
  bundleSchema,
} from './bundle/bundle.ts';
export { type Bundles, createBundles } from './bundle/bundles.ts';
export {
  ANCHOR_ORIGIN_CALL,
  ANCHORS_COUNT_CALL,
  anchorAtCall,
  anchoredTopics,
  type ChainAnchor,
  decodeAnchorAt,
  decodeAnchorsCount,
  decodeOrigin,
  isVersionAnchorCode,
  VERSION_ANCHOR_CODE_HASHES,
} from './bundle/ethereum/version-anchor.ts';
export { type Findings, newFindings, tellTime } from './bundle/findings.ts';
export type { BundleDeps, BundleInput, MadeBundle } from './bundle/make.ts';
export { check, RefutedError, refute } from './bundle/refuted.ts';
export { createReplay, type Replay } from './bundle/replay.ts';
export type { Trust } from './bundle/trust.ts';
export { type Invalid, tellReason } from './bundle/verdict.ts';
export { type BundleVerdict, verifyBundle } from './bundle/verify.ts';
export { type ReceiptTrust, type ReceiptVerdict, verifyIssuedReceipt } from './bundle/verify-receipt.ts';
export {
  type CheckpointBody,
  encodeCheckpoint,
  parseCheckpoint,
  type VerifiedCheckpoint,
  verifyCheckpoint,
} from './log/checkpoint.ts';
export { LogDivergedError } from './log/divergence.ts';
export { appendLeaf, findPublication, listPublications, readLog } from './log/entries.ts';
export {
  decodeLeaf,
  dedupKeyOf,
  ENTRY_BYTES_MAX,
  encodeLeaf,
  type Leaf,
  type LeafKind,
  type LeafOf,
  type PublishLeaf,
} from './log/leaf.ts';
export { createLog, type LogDeps, readLoggedOrigin } from './log/log.ts';
export { createLogMonitor, type LogMonitor, type LogMonitorDeps } from './log/monitor.ts';
export {
  type Note,
  type NoteSignature,
  parseNote,
  parseSignatureLine,
  signLine,
  signNote,
  type VerifiedNote,
  type VerifiedSignature,
  verifyNote,
  verifyNoteSignature,
} from './log/note.ts';
export { NoteError } from './log/note-error.ts';
export { decodeEntryTile, ENTRY_TILE_BYTES_MAX } from './log/tiles/entry-tile.ts';
export { encodeTilePath, parseTilePath, type TilePath } from './log/tiles/path.ts';
export { encodeTlogProof, parseTlogProof, type TlogProof, verifyTlogProof } from './log/tlog-proof.ts';
export type {
  Checkpoint,
  EntryToAppend,
  LogHealth,
  LogName,
  Logs,
  TransparencyLog,
  TreeHead,
} from './log/transparency-log.ts';
export {
  createNoteSigner,
  encodeVkey,
  KEY_TYPES,
  type KeyType,
  type NoteKey,
  type NoteSigner,
  parseLogVkey,
  parseVkey,
  parseWitnessVkey,
} from './log/vkey.ts';
export {
  type ConsistencyClaim,
  consistencyProof,
  EMPTY_ROOT,
  type Hash,
  type InclusionClaim,
  inclusionPath,
  inclusionProof,
  isHash,
  leafHashOf,
  merkleRoot,
  type NodeReader,
  nodeHashOf,
  rangeHash,
  verifyConsistency,
  verifyInclusion,
} from './merkle/merkle.ts';
export {
  type CommitmentEntry,
  commitTo,
  decodeCommitment,
  encodeCommitment,
  isCommitment,
} from './receipts/commitments/commitment.ts';
export type { LoggedReceipt, ReceiptsLog } from './receipts/commitments/logged-receipt.ts';
export type { SalePosition, SoldReceipt } from './receipts/commitments/sales.ts';
export {
  type BatchPayload,
  opaquePayer,
  type ReceiptDraft,
  type ReceiptPayload,
  receiptLeafHash,
  receiptPayloadSchema,
  type VersionDescription,
} from './receipts/receipt.ts';
export { createReceipts, type IssuedReceipt, type Receipts, type ReceiptsDeps } from './receipts/receipts.ts';
export { appendReceipt, createReceiptRider, newLane, type ReceiptToAppend } from './receipts/rider.ts';
export {
  createReceiptSigner,
  newReceiptKeyPem,
  type ReceiptJwks,
  type ReceiptSigner,
  type SigningKey,
} from './receipts/signer.ts';
export {
  type BatchProof,
  type LogVerdict,
  type Verdict,
  verifyBatchProof,
  verifyLoggedReceipt,
  verifyReceipt,
} from './receipts/verify.ts';
export type {
  ReleaseToJudge,
  ReleaseVerdict,
} from './release-keys/judge-release.ts';
export { type ReleaseKey, signatureNamespaces, spellProofText } from './release-keys/release-key.ts';
export {
  createReleaseKeys,
  type KeyToRegister,
  type ReleaseKeys,
  type ReleaseKeysDeps,
} from './release-keys/release-keys.ts';
export { detectFormat, parsePublicKey, verifySignature } from './signatures/signature.ts';
export type {
  PublicKey,
  SignatureFormat,
  SignatureInput,
  SignatureVerdict,
} from './signatures/verdict.ts';
export type { Alarm, AlarmKind } from './witness/monitor/alarm.ts';
export { type FollowInput, followLog, type Round } from './witness/monitor/follow.ts';
export { serveWitness, type WitnessServer } from './witness/server.ts';
export { openWitnessFolder } from './witness/state-folder.ts';
export { createWitness, type Fork, type Witness, type WitnessDeps } from './witness/witness.ts';
export { createWitnessing, type Witnessing, type WitnessStatus } from './witness/witnessing.ts';
