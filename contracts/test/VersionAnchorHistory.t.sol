// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVersionAnchor} from "../interfaces/IVersionAnchor.sol";
import {VersionAnchor} from "../src/VersionAnchor.sol";
import {ForgeTest} from "./support/ForgeTest.sol";
import {SeededTrees} from "./support/Trees.sol";

/// @dev Sends what an honest log, a broken one, a thief and an owner would send, in any order, and keeps a copy of
/// every anchor from the moment it was made.
contract AnchorWorld is ForgeTest {
    VersionAnchor public immutable anchors;
    SeededTrees public immutable trees = new SeededTrees(1);
    SeededTrees private immutable forged = new SeededTrees(2);
    IVersionAnchor.Anchor[] private made;

    constructor() {
        anchors = new VersionAnchor("log.example/versions", address(this), address(this));
    }

    function append(uint256 by, uint256 seconds_) external {
        vm.warp(block.timestamp + seconds_ % 7200);
        vm.roll(block.number + seconds_ % 600);
        uint64 from = sizeNow();
        uint64 to = from + uint64(bound(by, 1, 9));
        anchors.anchor(from, to, trees.root(to), from == 0 ? new bytes32[](0) : trees.consistency(from, to));
        made.push(IVersionAnchor.Anchor(trees.root(to), to, uint64(block.timestamp), uint64(block.number)));
    }

    function repeat(uint256 from) external {
        uint256 index = anchors.anchor(uint64(from), sizeNow(), trees.root(sizeNow()), new bytes32[](from % 3));
        vm.assertEq(index, made.length - 1);
    }

    function rewrite(uint256 by) external {
        uint64 to = sizeNow() + uint64(by % 9);
        mustRefuse(sizeNow(), to, forged.root(to), forged.consistency(sizeNow(), to));
    }

    function forget(uint256 size) external {
        uint64 to = uint64(size % sizeNow());
        mustRefuse(0, to, trees.root(to), new bytes32[](0));
    }

    function goBack(uint256 which, uint256 by) external {
        if (made.length < 2) return;
        uint64 from = made[which % (made.length - 1)].treeSize;
        uint64 to = sizeNow() + uint64(bound(by, 1, 9));
        mustRefuse(from, to, trees.root(to), trees.consistency(from, to));
    }

    function steal(address thief, uint256 by) external {
        if (thief == address(this)) return;
        uint64 from = sizeNow();
        uint64 to = from + uint64(bound(by, 1, 9));
        bytes32 root = trees.root(to);
        bytes32[] memory proof = trees.consistency(from, to);
        vm.prank(thief);
        mustRefuse(from, to, root, proof);
    }

    function own(address heir) external {
        anchors.setAnchorer(heir, false);
        anchors.setAnchorer(address(this), true);
        anchors.transferOwnership(heir);
        anchors.transferOwnership(address(this));
        anchors.acceptOwnership();
    }

    function copies() external view returns (IVersionAnchor.Anchor[] memory) {
        return made;
    }

    function mustRefuse(uint64 from, uint64 to, bytes32 root, bytes32[] memory proof) private {
        (bool done,) = address(anchors).call(abi.encodeCall(anchors.anchor, (from, to, root, proof)));
        vm.assertFalse(done, "it was taken");
    }

    function sizeNow() private view returns (uint64) {
        return made.length == 0 ? 0 : made[made.length - 1].treeSize;
    }
}

/// @dev What holds after every step of every such history.
contract VersionAnchorHistoryTest is ForgeTest {
    AnchorWorld private world;

    function setUp() public {
        world = new AnchorWorld();
        world.append(4, 60);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(world);
    }

    function invariant_noAnchorEverChangesOrGoesAwayAndSizesGrow() public view {
        VersionAnchor anchors = world.anchors();
        IVersionAnchor.Anchor[] memory copies = world.copies();
        vm.assertEq(anchors.count(), copies.length);
        for (uint256 i = 0; i < copies.length; i++) {
            vm.assertEq(abi.encode(anchors.anchorAt(i)), abi.encode(copies[i]));
            if (i == 0) continue;
            vm.assertTrue(copies[i].treeSize > copies[i - 1].treeSize);
            vm.assertTrue(copies[i].time >= copies[i - 1].time);
            vm.assertTrue(copies[i].blockNumber >= copies[i - 1].blockNumber);
        }
    }

    /// @dev After each history: its last anchor appends to every other, not only to the one before.
    function afterInvariant() public view {
        VersionAnchor anchors = world.anchors();
        (uint256 end, IVersionAnchor.Anchor memory last) = anchors.latest();
        for (uint256 i = 0; i <= end; i++) {
            IVersionAnchor.Anchor memory a = anchors.anchorAt(i);
            bytes32[] memory proof = world.trees().consistency(a.treeSize, last.treeSize);
            vm.assertTrue(anchors.verifyConsistency(a.treeSize, last.treeSize, a.root, last.root, proof));
        }
    }
}
