// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Merkle proofs of RFC 6962 and RFC 9162 over SHA-256
/// @dev No input makes these revert: a wrong claim is false. A proof is read for at most 64 levels, whatever its
/// length.
library RFC6962 {
    /// @notice SHA-256(0x00 || entry), the hash of a leaf (RFC 6962, section 2.1).
    function leafHash(bytes calldata entry) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), entry));
    }

    /// @notice SHA-256(0x01 || left || right), the hash of an inner node (RFC 6962, section 2.1).
    /// @dev Written past the free memory pointer, which is not moved: proofs of any length use the same 65 bytes.
    /// A call of the precompile fails only without gas, and then no answer must pass for a hash.
    function nodeHash(bytes32 left, bytes32 right) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore8(input, 0x01)
            mstore(add(input, 1), left)
            mstore(add(input, 33), right)
            if iszero(staticcall(gas(), 0x02, input, 65, 0x00, 0x20)) { revert(0x00, 0x00) }
            if iszero(eq(returndatasize(), 0x20)) { revert(0x00, 0x00) }
            hash := mload(0x00)
        }
    }

    /// @notice Whether the leaf is at `index` of the tree (RFC 9162, section 2.1.3.2).
    function verifyInclusion(uint64 index, uint64 treeSize, bytes32 leaf, bytes32[] calldata proof, bytes32 root)
        internal
        view
        returns (bool)
    {
        if (index >= treeSize) return false;
        uint256 fn = index;
        uint256 sn = uint256(treeSize) - 1;
        bytes32 hash = leaf;
        // Nothing here can overflow: `i` stays below the proof's length.
        unchecked {
            for (uint256 i; i < proof.length; ++i) {
                if (sn == 0) return false;
                if (fn & 1 == 1 || fn == sn) {
                    hash = nodeHash(proof[i], hash);
                    // At the right edge, levels on which the node has no sibling are skipped.
                    while (fn & 1 == 0 && fn != 0) {
                        fn >>= 1;
                        sn >>= 1;
                    }
                } else {
                    hash = nodeHash(hash, proof[i]);
                }
                fn >>= 1;
                sn >>= 1;
            }
        }
        return sn == 0 && hash == root;
    }

    /// @notice Whether the newer tree appends to the older one (RFC 9162, section 2.1.4.2).
    /// @dev A proof from size 0 proves nothing and is refused.
    function verifyConsistency(
        uint64 fromSize,
        uint64 toSize,
        bytes32 fromRoot,
        bytes32 toRoot,
        bytes32[] calldata proof
    ) internal view returns (bool) {
        if (fromSize == 0 || fromSize > toSize) return false;
        if (fromSize == toSize) return proof.length == 0 && fromRoot == toRoot;
        if (proof.length == 0) return false;
        uint256 fn = uint256(fromSize) - 1;
        uint256 sn = uint256(toSize) - 1;
        while (fn & 1 == 1) {
            fn >>= 1;
            sn >>= 1;
        }
        // A tree of a power of two is a node of the newer one, so its own root is where the path starts.
        bool isNode = fn == 0;
        bytes32 older = isNode ? fromRoot : proof[0];
        bytes32 newer = older;
        // Nothing here can overflow: `i` stays below the proof's length.
        unchecked {
            for (uint256 i = isNode ? 0 : 1; i < proof.length; ++i) {
                if (sn == 0) return false;
                if (fn & 1 == 1 || fn == sn) {
                    older = nodeHash(proof[i], older);
                    newer = nodeHash(proof[i], newer);
                    while (fn & 1 == 0 && fn != 0) {
                        fn >>= 1;
                        sn >>= 1;
                    }
                } else {
                    newer = nodeHash(newer, proof[i]);
                }
                fn >>= 1;
                sn >>= 1;
            }
        }
        return sn == 0 && older == fromRoot && newer == toRoot;
    }
}
