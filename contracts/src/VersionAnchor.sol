// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVersionAnchor} from "../interfaces/IVersionAnchor.sol";
import {RFC6962} from "./RFC6962.sol";

/// @title Append-only anchors of a transparency log, checked by the chain
/// @dev `_anchors` comes first, because its slot is part of the interface.
contract VersionAnchor is IVersionAnchor {
    Anchor[] private _anchors;

    /// @inheritdoc IVersionAnchor
    string public origin;
    /// @inheritdoc IVersionAnchor
    address public owner;
    /// @inheritdoc IVersionAnchor
    address public pendingOwner;
    /// @inheritdoc IVersionAnchor
    mapping(address anchorer => bool) public isAnchorer;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner();
        _;
    }

    /// @param origin_ the log's origin, which never changes
    /// @param owner_ who may name anchorers; the zero address fixes them for good
    /// @param anchorer_ the first anchorer; none when it is the zero address
    constructor(string memory origin_, address owner_, address anchorer_) {
        origin = origin_;
        owner = owner_;
        emit OwnershipTransferred(address(0), owner_);
        if (anchorer_ != address(0)) _setAnchorer(anchorer_, true);
    }

    /// @inheritdoc IVersionAnchor
    function anchor(uint64 prevSize, uint64 treeSize, bytes32 root, bytes32[] calldata proof)
        external
        returns (uint256 index)
    {
        if (!isAnchorer[msg.sender]) revert NotAnchorer();
        index = _anchors.length;
        if (index == 0) {
            if (treeSize == 0) revert NotLarger(0);
            if (prevSize != 0) revert StaleBase(0);
            if (proof.length != 0) revert Inconsistent();
        } else {
            Anchor storage last = _anchors[index - 1];
            uint64 size = last.treeSize;
            bytes32 lastRoot = last.root;
            if (treeSize < size) revert NotLarger(size);
            if (treeSize == size) {
                if (root != lastRoot) revert ForkDetected(size, lastRoot, root);
                return index - 1;
            }
            if (prevSize != size) revert StaleBase(size);
            if (!RFC6962.verifyConsistency(size, treeSize, lastRoot, root, proof)) revert Inconsistent();
        }
        _anchors.push(Anchor(root, treeSize, uint64(block.timestamp), uint64(block.number)));
        emit Anchored(index, treeSize, root, prevSize);
    }

    /// @inheritdoc IVersionAnchor
    function count() external view returns (uint256) {
        return _anchors.length;
    }

    /// @inheritdoc IVersionAnchor
    function latest() external view returns (uint256 index, Anchor memory a) {
        if (_anchors.length == 0) revert NoSuchAnchor();
        index = _anchors.length - 1;
        a = _anchors[index];
    }

    /// @inheritdoc IVersionAnchor
    function anchorAt(uint256 index) public view returns (Anchor memory a) {
        if (index >= _anchors.length) revert NoSuchAnchor();
        a = _anchors[index];
    }

    /// @inheritdoc IVersionAnchor
    function firstCovering(uint64 leafIndex) external view returns (uint256 index) {
        uint256 end = _anchors.length;
        if (end == 0 || _anchors[end - 1].treeSize <= leafIndex) revert NoSuchAnchor();
        // Sizes only grow: everything below `index` is too small, the anchor at `end` covers the leaf.
        end -= 1;
        while (index < end) {
            uint256 middle = (index + end) / 2;
            if (_anchors[middle].treeSize > leafIndex) end = middle;
            else index = middle + 1;
        }
    }

    /// @inheritdoc IVersionAnchor
    function verifyInclusion(uint256 anchorIndex, uint64 leafIndex, bytes32 leafHash, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        Anchor memory a = anchorAt(anchorIndex);
        return RFC6962.verifyInclusion(leafIndex, a.treeSize, leafHash, proof, a.root);
    }

    /// @inheritdoc IVersionAnchor
    function verifyEntry(uint256 anchorIndex, uint64 leafIndex, bytes calldata entry, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        Anchor memory a = anchorAt(anchorIndex);
        return RFC6962.verifyInclusion(leafIndex, a.treeSize, RFC6962.leafHash(entry), proof, a.root);
    }

    /// @inheritdoc IVersionAnchor
    function verifyConsistency(
        uint64 fromSize,
        uint64 toSize,
        bytes32 fromRoot,
        bytes32 toRoot,
        bytes32[] calldata proof
    ) external view returns (bool) {
        return RFC6962.verifyConsistency(fromSize, toSize, fromRoot, toRoot, proof);
    }

    /// @inheritdoc IVersionAnchor
    function setAnchorer(address anchorer, bool allowed) external onlyOwner {
        _setAnchorer(anchorer, allowed);
    }

    /// @inheritdoc IVersionAnchor
    function transferOwnership(address to) external onlyOwner {
        pendingOwner = to;
        emit OwnershipTransferStarted(msg.sender, to);
    }

    /// @inheritdoc IVersionAnchor
    function acceptOwnership() external {
        if (msg.sender != pendingOwner) revert NotPendingOwner();
        emit OwnershipTransferred(owner, msg.sender);
        owner = msg.sender;
        pendingOwner = address(0);
    }

    function _setAnchorer(address anchorer, bool allowed) private {
        isAnchorer[anchorer] = allowed;
        emit AnchorerSet(anchorer, allowed);
    }
}
