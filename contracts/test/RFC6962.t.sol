// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {RFC6962} from "../src/RFC6962.sol";
import {VersionAnchor} from "../src/VersionAnchor.sol";
import {ForgeTest} from "./support/ForgeTest.sol";
import {ListedTrees, SeededTrees} from "./support/Trees.sol";

/// @dev Proofs of random trees, and the reference vectors, which `test/provenance/vectors.test.ts` reads as well.
contract RFC6962Test is ForgeTest {
    struct Proof {
        uint256 index;
        uint256 size;
        string[] path;
    }

    struct Growth {
        uint256 first;
        uint256 second;
        string[] proof;
    }

    struct InclusionClaim {
        string name;
        string index;
        string size;
        uint256 leaf;
        uint256 root;
        uint256[] path;
        bool valid;
    }

    struct ConsistencyClaim {
        string name;
        string first;
        string second;
        uint256[] roots;
        uint256[] path;
        bool valid;
    }

    uint256 private constant SIZE_MAX = 70;
    bytes32[] private none;

    function test_leavesAndRootsAreThoseOfTheReference() public {
        string memory json = readVectors();
        ListedTrees trees = referenceTrees(json);
        string[] memory roots = vm.parseJsonStringArray(json, ".roots");
        vm.assertEq(roots.length, 9);
        for (uint256 size = 0; size < roots.length; size++) {
            vm.assertEq(trees.root(size), toHash(roots[size]));
        }
    }

    function test_proofsAreThoseOfTheReference() public {
        string memory json = readVectors();
        ListedTrees trees = referenceTrees(json);
        Proof[] memory proofs = abi.decode(
            vm.parseJsonTypeArray(json, ".inclusion", "Proof(uint256 index,uint256 size,string[] path)"), (Proof[])
        );
        Growth[] memory growths = abi.decode(
            vm.parseJsonTypeArray(json, ".consistency", "Growth(uint256 first,uint256 second,string[] proof)"),
            (Growth[])
        );
        vm.assertEq(proofs.length, 4);
        vm.assertEq(growths.length, 3);
        for (uint256 i = 0; i < proofs.length; i++) {
            (uint64 index, uint64 size) = (uint64(proofs[i].index), uint64(proofs[i].size));
            bytes32[] memory path = toHashes(proofs[i].path);
            vm.assertEq(abi.encode(path), abi.encode(trees.inclusion(index, size)));
            vm.assertTrue(this.verifyInclusion(index, size, trees.leaves(index), path, trees.root(size)));
        }
        for (uint256 i = 0; i < growths.length; i++) {
            (uint64 first, uint64 second) = (uint64(growths[i].first), uint64(growths[i].second));
            bytes32[] memory path = toHashes(growths[i].proof);
            vm.assertEq(abi.encode(path), abi.encode(trees.consistency(first, second)));
            vm.assertTrue(this.verifyConsistency(first, second, trees.root(first), trees.root(second), path));
        }
    }

    function test_inclusionClaimsOfTheReferenceAreJudgedAlike() public {
        string memory json = readVectors();
        string[] memory texts = vm.parseJsonStringArray(json, ".claims.hashes");
        bytes32[] memory hashes = toHashes(texts);
        string memory schema =
            "InclusionClaim(string name,string index,string size,uint256 leaf,uint256 root,uint256[] path,bool valid)";
        InclusionClaim[] memory claims =
            abi.decode(vm.parseJsonTypeArray(json, ".claims.inclusion", schema), (InclusionClaim[]));
        vm.assertEq(claims.length, 98);
        for (uint256 i = 0; i < claims.length; i++) {
            InclusionClaim memory claim = claims[i];
            (uint64 index, uint64 size) = (toUint64(claim.index), toUint64(claim.size));
            (bytes32 leaf, bytes32 root) = (hashes[claim.leaf], hashes[claim.root]);
            // One claim is that nothing is a leaf of a root that is nothing; here, nothing is not to equal itself.
            if (bytes(texts[claim.leaf]).length < 64) leaf = ~leaf;
            bytes32[] memory path = pick(hashes, claim.path);
            vm.assertEq(this.verifyInclusion(index, size, leaf, path, root), claim.valid, claim.name);
            if (size == 0) continue;
            VersionAnchor anchors = new VersionAnchor("log.example", address(this), address(this));
            anchors.anchor(0, size, root, none);
            vm.assertEq(anchors.verifyInclusion(0, index, leaf, path), claim.valid, claim.name);
        }
    }

    function test_consistencyClaimsOfTheReferenceAreJudgedAlike() public {
        string memory json = readVectors();
        bytes32[] memory hashes = toHashes(vm.parseJsonStringArray(json, ".claims.hashes"));
        string memory schema =
            "ConsistencyClaim(string name,string first,string second,uint256[] roots,uint256[] path,bool valid)";
        ConsistencyClaim[] memory claims =
            abi.decode(vm.parseJsonTypeArray(json, ".claims.consistency", schema), (ConsistencyClaim[]));
        vm.assertEq(claims.length, 98);
        for (uint256 i = 0; i < claims.length; i++) {
            ConsistencyClaim memory claim = claims[i];
            (uint64 first, uint64 second) = (toUint64(claim.first), toUint64(claim.second));
            bytes32[] memory roots = pick(hashes, claim.roots);
            bytes32[] memory path = pick(hashes, claim.path);
            VersionAnchor anchors = new VersionAnchor("log.example", address(this), address(this));
            bool isProven = anchors.verifyConsistency(first, second, roots[0], roots[1], path);
            vm.assertEq(isProven, claim.valid, claim.name);
            if (first == 0 || second <= first) continue;
            anchors.anchor(0, first, roots[0], none);
            (bool isTaken,) = address(anchors).call(abi.encodeCall(anchors.anchor, (first, second, roots[1], path)));
            vm.assertEq(isTaken, claim.valid, claim.name);
        }
    }

    function testFuzz_everyLeafOfEveryTreeIsProven(uint256 seed, uint256 size, uint256 index) public {
        (SeededTrees trees, uint64 n) = (new SeededTrees(seed), uint64(bound(size, 1, SIZE_MAX)));
        uint64 i = uint64(bound(index, 0, n - 1));
        vm.assertTrue(this.verifyInclusion(i, n, trees.leaf(i), trees.inclusion(i, n), trees.root(n)));
    }

    function testFuzz_noLeafIsProvenElsewhere(uint256 seed, uint256 size, uint256 index, uint64 other) public {
        (SeededTrees trees, uint64 n) = (new SeededTrees(seed), uint64(bound(size, 1, SIZE_MAX)));
        uint64 i = uint64(bound(index, 0, n - 1));
        uint64 near = other % (n + 1);
        (bytes32 leaf, bytes32[] memory path, bytes32 root) = (trees.leaf(i), trees.inclusion(i, n), trees.root(n));
        vm.assertEq(this.verifyInclusion(near, n, leaf, path, root), near == i, "at another index");
        vm.assertEq(this.verifyInclusion(other, n, leaf, path, root), other == i, "at an index far away");
    }

    function testFuzz_noChangedBitIsProvenIncluded(uint256 seed, uint256 size, uint256 index, uint256 which, uint256 bit)
        public
    {
        (SeededTrees trees, uint64 n) = (new SeededTrees(seed), uint64(bound(size, 1, SIZE_MAX)));
        uint64 i = uint64(bound(index, 0, n - 1));
        (bytes32 leaf, bytes32[] memory path, bytes32 root) = (trees.leaf(i), trees.inclusion(i, n), trees.root(n));
        which = bound(which, 0, path.length + 1);
        if (which == path.length) leaf = flip(leaf, bit);
        else if (which == path.length + 1) root = flip(root, bit);
        else path[which] = flip(path[which], bit);
        vm.assertFalse(this.verifyInclusion(i, n, leaf, path, root));
    }

    function testFuzz_everyGrowthIsProven(uint256 seed, uint256 from, uint256 to) public {
        (SeededTrees trees, uint64 n) = (new SeededTrees(seed), uint64(bound(to, 1, SIZE_MAX)));
        uint64 m = uint64(bound(from, 1, n));
        vm.assertTrue(this.verifyConsistency(m, n, trees.root(m), trees.root(n), trees.consistency(m, n)));
    }

    function testFuzz_noGrowthIsProvenFromAnotherSize(uint256 seed, uint256 from, uint256 to, uint64 other) public {
        (SeededTrees trees, uint64 n) = (new SeededTrees(seed), uint64(bound(to, 1, SIZE_MAX)));
        uint64 m = uint64(bound(from, 1, n));
        other %= n + 2;
        bytes32[] memory path = trees.consistency(m, n);
        vm.assertEq(this.verifyConsistency(other, n, trees.root(m), trees.root(n), path), other == m, "other size");
    }

    function testFuzz_noChangedBitIsProvenConsistent(uint256 seed, uint256 from, uint256 to, uint256 which, uint256 bit)
        public
    {
        (SeededTrees trees, uint64 n) = (new SeededTrees(seed), uint64(bound(to, 1, SIZE_MAX)));
        uint64 m = uint64(bound(from, 1, n));
        (bytes32 older, bytes32 newer, bytes32[] memory path) = (trees.root(m), trees.root(n), trees.consistency(m, n));
        which = bound(which, 0, path.length + 1);
        if (which == path.length) older = flip(older, bit);
        else if (which == path.length + 1) newer = flip(newer, bit);
        else path[which] = flip(path[which], bit);
        vm.assertFalse(this.verifyConsistency(m, n, older, newer, path));
    }

    function testFuzz_noRewrittenHistoryIsProven(uint256 seed, uint256 from, uint256 to) public {
        uint64 n = uint64(bound(to, 2, SIZE_MAX));
        uint64 m = uint64(bound(from, 1, n - 1));
        (SeededTrees trees, SeededTrees others) = (new SeededTrees(seed), new SeededTrees(~seed));
        bytes32 root = others.root(n);
        vm.assertFalse(this.verifyConsistency(m, n, trees.root(m), root, others.consistency(m, n)));
        vm.assertFalse(this.verifyConsistency(m, n, trees.root(m), root, trees.consistency(m, n)));
    }

    /// @dev Neither a revert nor a yes, whatever the sizes and however long the proof.
    function testFuzz_nonsenseIsAnsweredWithNo(uint64 a, uint64 b, bytes32 x, bytes32 y, bytes32[] memory path)
        public
        view
    {
        if (path.length > 0) vm.assertFalse(this.verifyInclusion(a, b, x, path, y));
        if (path.length > 0 || x != y) vm.assertFalse(this.verifyConsistency(a, b, x, y, path));
    }

    function testFuzz_aProofIsReadForNoMoreThan64Levels(uint64 a, uint64 b) public view {
        bytes32[] memory path = new bytes32[](2000);
        uint256 before = gasleft();
        vm.assertFalse(this.verifyInclusion(a, b, bytes32(0), path, bytes32(0)));
        vm.assertFalse(this.verifyConsistency(a, b, bytes32(0), bytes32(0), path));
        vm.assertTrue(before - gasleft() < 700_000);
    }

    function testFuzz_aLeafAndANodeHaveTheHashesOfTheSpecification(bytes calldata entry, bytes32 left, bytes32 right)
        public
        view
    {
        vm.assertEq(RFC6962.leafHash(entry), sha256(bytes.concat(hex"00", entry)));
        vm.assertEq(RFC6962.nodeHash(left, right), sha256(bytes.concat(hex"01", left, right)));
    }

    /// @dev The library reads proofs from calldata, so it is called through these.
    function verifyInclusion(uint64 index, uint64 size, bytes32 leaf, bytes32[] calldata path, bytes32 root)
        external
        view
        returns (bool)
    {
        return RFC6962.verifyInclusion(index, size, leaf, path, root);
    }

    function verifyConsistency(uint64 from, uint64 to, bytes32 older, bytes32 newer, bytes32[] calldata path)
        external
        view
        returns (bool)
    {
        return RFC6962.verifyConsistency(from, to, older, newer, path);
    }

    function leafHash(bytes calldata entry) external pure returns (bytes32) {
        return RFC6962.leafHash(entry);
    }

    function readVectors() private view returns (string memory) {
        return vm.readFile("../test/vectors/rfc6962.json");
    }

    function referenceTrees(string memory json) private returns (ListedTrees) {
        string[] memory entries = vm.parseJsonStringArray(json, ".leaves");
        vm.assertEq(entries.length, 8);
        bytes32[] memory leaves = new bytes32[](entries.length);
        for (uint256 i = 0; i < leaves.length; i++) {
            leaves[i] = this.leafHash(vm.parseBytes(string.concat("0x", entries[i])));
        }
        return new ListedTrees(leaves);
    }

    /// @dev Some hashes of the claims are shorter than a hash can be here. Padded, they are as wrong as before.
    function toHash(string memory text) private pure returns (bytes32) {
        return bytes32(vm.parseBytes(string.concat("0x", text)));
    }

    function toHashes(string[] memory texts) private pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](texts.length);
        for (uint256 i = 0; i < texts.length; i++) hashes[i] = toHash(texts[i]);
    }

    function pick(bytes32[] memory hashes, uint256[] memory positions) private pure returns (bytes32[] memory picked) {
        picked = new bytes32[](positions.length);
        for (uint256 i = 0; i < positions.length; i++) picked[i] = hashes[positions[i]];
    }

    function toUint64(string memory text) private pure returns (uint64) {
        return uint64(vm.parseUint(text));
    }
}
