// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @dev A log's trees of every size, by the recursive definitions of RFC 6962, section 2.1, which have nothing in
/// common with the verifiers that are tested: those walk up, these walk down.
abstract contract Trees {
    /// @dev MTH(D[start:end]); `start` is a multiple of the largest power of two below the width.
    function rangeRoot(uint256 start, uint256 end) internal view virtual returns (bytes32);

    function root(uint256 size) external view returns (bytes32) {
        return size == 0 ? sha256("") : rangeRoot(0, size);
    }

    /// @dev PATH(m, D[n]) (RFC 6962, section 2.1.1)
    function inclusion(uint256 index, uint256 size) external view returns (bytes32[] memory) {
        return path(index, 0, size, 0);
    }

    /// @dev PROOF(m, D[n]) (RFC 6962, section 2.1.2)
    function consistency(uint256 from, uint256 to) external view returns (bytes32[] memory) {
        return subproof(from, 0, to, true, 0);
    }

    function path(uint256 m, uint256 start, uint256 end, uint256 depth) private view returns (bytes32[] memory list) {
        if (end - start == 1) return new bytes32[](depth);
        uint256 k = split(end - start);
        if (m < k) {
            list = path(m, start, start + k, depth + 1);
            list[list.length - 1 - depth] = rangeRoot(start + k, end);
        } else {
            list = path(m - k, start + k, end, depth + 1);
            list[list.length - 1 - depth] = rangeRoot(start, start + k);
        }
    }

    function subproof(uint256 m, uint256 start, uint256 end, bool whole, uint256 depth)
        private
        view
        returns (bytes32[] memory list)
    {
        if (m == end - start) {
            list = new bytes32[](whole ? depth : depth + 1);
            if (!whole) list[0] = rangeRoot(start, end);
            return list;
        }
        uint256 k = split(end - start);
        if (m <= k) {
            list = subproof(m, start, start + k, whole, depth + 1);
            list[list.length - 1 - depth] = rangeRoot(start + k, end);
        } else {
            list = subproof(m - k, start + k, end, false, depth + 1);
            list[list.length - 1 - depth] = rangeRoot(start, start + k);
        }
    }

    /// @dev The largest power of two below `width`.
    function split(uint256 width) internal pure returns (uint256 k) {
        k = 1;
        while (k * 2 < width) k *= 2;
    }

    function node(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }
}

/// @dev The trees of given leaf hashes.
contract ListedTrees is Trees {
    bytes32[] public leaves;

    constructor(bytes32[] memory leaves_) {
        leaves = leaves_;
    }

    function rangeRoot(uint256 start, uint256 end) internal view override returns (bytes32) {
        if (end - start == 1) return leaves[start];
        uint256 k = split(end - start);
        return node(rangeRoot(start, start + k), rangeRoot(start + k, end));
    }
}

/// @dev The trees of a log whose leaves are all different, and different again for another seed.
contract SeededTrees is Trees {
    uint256 private immutable seed;

    constructor(uint256 seed_) {
        seed = seed_;
    }

    function entry(uint256 index) public view returns (bytes memory) {
        return abi.encode(seed, index);
    }

    function leaf(uint256 index) public view returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), entry(index)));
    }

    function rangeRoot(uint256 start, uint256 end) internal view override returns (bytes32) {
        if (end - start == 1) return leaf(start);
        uint256 k = split(end - start);
        return node(rangeRoot(start, start + k), rangeRoot(start + k, end));
    }
}

/// @dev The trees of a log whose leaves are all the same: of any size, for a perfect tree is one hash per level.
contract UniformTrees is Trees {
    bytes32 public constant LEAF = 0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d;
    bytes32[65] private perfect;

    constructor() {
        perfect[0] = LEAF;
        for (uint256 level = 1; level < 65; level++) {
            perfect[level] = node(perfect[level - 1], perfect[level - 1]);
        }
    }

    function rangeRoot(uint256 start, uint256 end) internal view override returns (bytes32 hash) {
        uint256 width = end - start;
        bool isFirst = true;
        for (uint256 level = 0; width >> level != 0; level++) {
            if (width >> level & 1 == 0) continue;
            hash = isFirst ? perfect[level] : node(perfect[level], hash);
            isFirst = false;
        }
    }
}
