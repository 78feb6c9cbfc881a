export { EMPTY_ROOT, HASH_BYTES, type Hash, isHash, leafHashOf, nodeHashOf, splitHashes } from './hash.ts';
export { consistencyProof, inclusionProof, type NodeReader, rangeHash } from './proofs.ts';
export { inclusionPath, merkleRoot, merkleRootOf } from './tree.ts';
export { type ConsistencyClaim, type InclusionClaim, verifyConsistency, verifyInclusion } from './verify.ts';
