// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Append-only anchors of a transparency log
/// @notice Each anchor is a tree head (size and root) of one RFC 6962 log of SHA-256 leaves. A tree head is
/// accepted only with a consistency proof from the one before, so no one, the owner included, can make the log
/// forget, change or reorder a leaf that an anchor covers. The code is immutable and deletes nothing.
/// @dev Sizes and indexes count leaves: a tree of size n covers leaves 0 to n - 1. Roots, leaf hashes and proof
/// hashes are SHA-256; proofs are ordered from the leaf up, as RFC 6962 and RFC 9162 write them.
///
/// For storage proofs, the layout is part of this interface. Slot 0 holds the number of anchors. Anchor i takes
/// the slots keccak256(bytes32(0)) + 2i (its root) and keccak256(bytes32(0)) + 2i + 1, which holds, from the
/// lowest bits up: `treeSize` (64 bits), `time` (64 bits), `blockNumber` (64 bits), zero (64 bits).
interface IVersionAnchor {
    /// @notice One tree head, and when the chain took it.
    /// @param root the Merkle tree hash of the first `treeSize` leaves (RFC 6962, section 2.1)
    /// @param treeSize how many leaves the tree has, at least 1
    /// @param time the block's timestamp, in seconds since the epoch
    /// @param blockNumber the block's number, as the chain's NUMBER instruction tells it
    struct Anchor {
        bytes32 root;
        uint64 treeSize;
        uint64 time;
        uint64 blockNumber;
    }

    /// @notice A tree head was anchored.
    /// @param index the new anchor's index: 0, 1, 2, ... without gaps
    /// @param treeSize its tree size, in leaves
    /// @param root its root
    /// @param prevSize the tree size of the anchor before it, 0 for the first
    event Anchored(uint256 indexed index, uint64 indexed treeSize, bytes32 indexed root, uint64 prevSize);

    /// @notice `anchorer` may anchor from now on, or no longer may.
    event AnchorerSet(address indexed anchorer, bool allowed);

    /// @notice `to` may take ownership; the zero address calls an offer back.
    event OwnershipTransferStarted(address indexed from, address indexed to);

    /// @notice `to` is the owner now.
    event OwnershipTransferred(address indexed from, address indexed to);

    /// @notice Only the owner may do this.
    error NotOwner();

    /// @notice Only the address that ownership was offered to may do this.
    error NotPendingOwner();

    /// @notice Only an anchorer may do this.
    error NotAnchorer();

    /// @notice The proof starts from a size that is not the latest anchored one.
    /// @param latestSize the size to start from, 0 when nothing is anchored
    error StaleBase(uint64 latestSize);

    /// @notice The tree is smaller than what is anchored, or empty.
    /// @param latestSize the latest anchored size, 0 when nothing is anchored
    error NotLarger(uint64 latestSize);

    /// @notice The proof does not show that the new tree only appends to the anchored one.
    error Inconsistent();

    /// @notice The latest anchor has the same size and another root: the log showed two histories.
    /// @param treeSize the size, in leaves
    /// @param have the root that is anchored
    /// @param got the root that was sent
    error ForkDetected(uint64 treeSize, bytes32 have, bytes32 got);

    /// @notice No anchor has this index, none covers this leaf, or there is none at all.
    error NoSuchAnchor();

    /// @notice Anchors a tree head that appends to the latest one. Sending the latest one again changes nothing,
    /// whatever `prevSize` and `proof` are, so a transaction may be repeated after a crash.
    /// @dev Reverts with NotAnchorer, NotLarger, ForkDetected, StaleBase or Inconsistent, looked at in this order.
    /// @param prevSize the latest anchored size, 0 when nothing is anchored
    /// @param treeSize the size of the new tree, in leaves
    /// @param root the root of the new tree
    /// @param proof the consistency proof from `prevSize` to `treeSize` (RFC 9162, section 2.1.4.1); empty for the
    /// first anchor, for every tree appends to the empty one
    /// @return index the index of the anchor that holds this tree head
    function anchor(uint64 prevSize, uint64 treeSize, bytes32 root, bytes32[] calldata proof)
        external
        returns (uint256 index);

    /// @notice How many anchors there are. Their indexes are 0 to `count() - 1`.
    function count() external view returns (uint256);

    /// @notice The anchor of the largest tree. Reverts with NoSuchAnchor while there is none.
    /// @return index its index
    /// @return a the anchor
    function latest() external view returns (uint256 index, Anchor memory a);

    /// @notice The anchor at `index`. Reverts with NoSuchAnchor when there is none.
    function anchorAt(uint256 index) external view returns (Anchor memory a);

    /// @notice The first anchor whose tree covers a leaf: its `time` bounds when the leaf was in the log at the
    /// latest. Reverts with NoSuchAnchor when no anchor covers it yet.
    /// @param leafIndex the leaf's index in the log
    /// @return index the index of the anchor
    function firstCovering(uint64 leafIndex) external view returns (uint256 index);

    /// @notice Whether `proof` shows a leaf in an anchored tree (RFC 9162, section 2.1.3.2). Reverts with
    /// NoSuchAnchor when there is no such anchor, and answers false to every other wrong claim.
    /// @param anchorIndex the index of the anchor
    /// @param leafIndex the leaf's index in the log
    /// @param leafHash SHA-256(0x00 || entry)
    /// @param proof the inclusion proof, the leaf's sibling first
    function verifyInclusion(uint256 anchorIndex, uint64 leafIndex, bytes32 leafHash, bytes32[] calldata proof)
        external
        view
        returns (bool);

    /// @notice `verifyInclusion` for the bytes of the entry, which are hashed here.
    /// @param anchorIndex the index of the anchor
    /// @param leafIndex the leaf's index in the log
    /// @param entry the entry as it stands in the log, to the byte
    /// @param proof the inclusion proof, the leaf's sibling first
    function verifyEntry(uint256 anchorIndex, uint64 leafIndex, bytes calldata entry, bytes32[] calldata proof)
        external
        view
        returns (bool);

    /// @notice Whether `proof` shows that a tree appends to another (RFC 9162, section 2.1.4.2). Both roots are the
    /// caller's: compare one with an anchor to prove anything about this log.
    /// @dev Equal sizes are consistent when the roots are equal and the proof is empty. From size 0 there is nothing
    /// to prove, so the answer is false.
    /// @param fromSize the size of the older tree, in leaves
    /// @param toSize the size of the newer tree, in leaves
    /// @param fromRoot the root of the older tree
    /// @param toRoot the root of the newer tree
    /// @param proof the consistency proof
    function verifyConsistency(
        uint64 fromSize,
        uint64 toSize,
        bytes32 fromRoot,
        bytes32 toRoot,
        bytes32[] calldata proof
    ) external view returns (bool);

    /// @notice The log's origin: the first line of its checkpoints (C2SP tlog-checkpoint).
    function origin() external view returns (string memory);

    /// @notice Who may name anchorers; the zero address when nobody ever may again.
    function owner() external view returns (address);

    /// @notice Who was offered ownership and has not taken it; the zero address when there is no offer.
    function pendingOwner() external view returns (address);

    /// @notice Whether this address may anchor.
    function isAnchorer(address anchorer) external view returns (bool);

    /// @notice Lets an address anchor, or no longer. For the owner only, else NotOwner.
    function setAnchorer(address anchorer, bool allowed) external;

    /// @notice Offers ownership to an address, which has it once it accepts; the zero address calls the offer back.
    /// For the owner only, else NotOwner.
    function transferOwnership(address to) external;

    /// @notice Takes the ownership that was offered. For the pending owner only, else NotPendingOwner.
    function acceptOwnership() external;
}
