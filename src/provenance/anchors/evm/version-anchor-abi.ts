import { parseAbi } from 'viem';

/**
 * What this program uses of `contracts/interfaces/IVersionAnchor.sol`, which says what each part means: all but
 * the changing of owners.
 */
export const versionAnchorAbi = parseAbi([
  'struct Anchor { bytes32 root; uint64 treeSize; uint64 time; uint64 blockNumber; }',
  'constructor(string origin_, address owner_, address anchorer_)',
  'function anchor(uint64 prevSize, uint64 treeSize, bytes32 root, bytes32[] proof) returns (uint256 index)',
  'function count() view returns (uint256)',
  'function latest() view returns (uint256 index, Anchor a)',
  'function anchorAt(uint256 index) view returns (Anchor a)',
  'function firstCovering(uint64 leafIndex) view returns (uint256 index)',
  'function verifyInclusion(uint256 anchorIndex, uint64 leafIndex, bytes32 leafHash, bytes32[] proof) view returns (bool)',
  'function verifyEntry(uint256 anchorIndex, uint64 leafIndex, bytes entry, bytes32[] proof) view returns (bool)',
  'function verifyConsistency(uint64 fromSize, uint64 toSize, bytes32 fromRoot, bytes32 toRoot, bytes32[] proof) view returns (bool)',
  'function origin() view returns (string)',
  'function owner() view returns (address)',
  'function isAnchorer(address anchorer) view returns (bool)',
  'function setAnchorer(address anchorer, bool allowed)',
  'event Anchored(uint256 indexed index, uint64 indexed treeSize, bytes32 indexed root, uint64 prevSize)',
  'error NotOwner()',
  'error NotAnchorer()',
  'error StaleBase(uint64 latestSize)',
  'error NotLarger(uint64 latestSize)',
  'error Inconsistent()',
  'error ForkDetected(uint64 treeSize, bytes32 have, bytes32 got)',
  'error NoSuchAnchor()',
]);

/** The keccak256 of the code on chain. It has no parameters in it: it is the same for every origin and owner. */
export const VERSION_ANCHOR_CODE_HASH = '0xcbde6eb3ff203f97bf06ec1e908892fc6056db47ebf62b4ffbd2b8775de4fc58';

/**
 * The slot that holds the number of anchors. Anchor i takes the slots keccak256(this slot, as 32 bytes) + 2i, its
 * root, and + 2i + 1, which holds `treeSize`, `time` and `blockNumber`, 64 bits each, from the lowest bits up.
 */
export const ANCHORS_SLOT = 0n;
