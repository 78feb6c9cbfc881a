// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVersionAnchor} from "../interfaces/IVersionAnchor.sol";
import {VersionAnchor} from "../src/VersionAnchor.sol";
import {ForgeTest, Vm} from "./support/ForgeTest.sol";
import {SeededTrees, UniformTrees} from "./support/Trees.sol";

contract VersionAnchorTest is ForgeTest {
    string private constant ORIGIN = "log.example/versions";
    address private constant OWNER = address(0x0A11CE);
    address private constant STRANGER = address(0xBAD);
    bytes32[] private none;

    VersionAnchor private anchors;
    SeededTrees private trees;

    /// @dev The test itself is the anchorer.
    function setUp() public {
        anchors = new VersionAnchor(ORIGIN, OWNER, address(this));
        trees = new SeededTrees(7);
        vm.warp(1_763_702_345);
        vm.roll(1000);
    }

    function test_startsWithItsOriginItsOwnerAndOneAnchorer() public {
        vm.recordLogs();
        VersionAnchor made = new VersionAnchor(ORIGIN, OWNER, STRANGER);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        vm.assertEq(logs[0].topics[0], IVersionAnchor.OwnershipTransferred.selector);
        vm.assertEq(logs[1].topics[0], IVersionAnchor.AnchorerSet.selector);
        vm.assertEq(made.origin(), ORIGIN);
        vm.assertEq(made.owner(), OWNER);
        vm.assertEq(made.pendingOwner(), address(0));
        vm.assertTrue(made.isAnchorer(STRANGER));
        vm.assertFalse(made.isAnchorer(OWNER));
        vm.assertEq(made.count(), 0);
    }

    function test_theCommittedArtifactIsThisCode() public view {
        string memory artifact = vm.readFile("artifacts/VersionAnchor.json");
        vm.assertEq(address(anchors).code, vm.parseJsonBytes(artifact, ".deployedBytecode"));
    }

    function test_anchorsATreeHeadWithItsTimeAndItsBlock() public {
        bytes32 root = trees.root(5);
        vm.expectEmit(address(anchors));
        emit IVersionAnchor.Anchored(0, 5, root, 0);
        vm.assertEq(anchors.anchor(0, 5, root, none), 0);
        expectAnchor(anchors.anchorAt(0), IVersionAnchor.Anchor(root, 5, 1_763_702_345, 1000));

        vm.warp(1_763_705_945);
        vm.roll(1300);
        bytes32 next = trees.root(9);
        bytes32[] memory proof = trees.consistency(5, 9);
        vm.expectEmit(address(anchors));
        emit IVersionAnchor.Anchored(1, 9, next, 5);
        vm.assertEq(anchors.anchor(5, 9, next, proof), 1);
        (uint256 index, IVersionAnchor.Anchor memory last) = anchors.latest();
        vm.assertEq(index, 1);
        expectAnchor(last, IVersionAnchor.Anchor(next, 9, 1_763_705_945, 1300));
        expectAnchor(anchors.anchorAt(0), IVersionAnchor.Anchor(root, 5, 1_763_702_345, 1000));
        vm.assertEq(anchors.count(), 2);
    }

    function test_theFirstAnchorNeedsALeafAndTakesNoProof() public {
        (bytes32 empty, bytes32 root, bytes32[] memory proof) = (trees.root(0), trees.root(5), trees.consistency(3, 5));
        vm.expectRevert(abi.encodeWithSelector(IVersionAnchor.NotLarger.selector, 0));
        anchors.anchor(0, 0, empty, none);
        vm.expectRevert(abi.encodeWithSelector(IVersionAnchor.StaleBase.selector, 0));
        anchors.anchor(3, 5, root, proof);
        vm.expectRevert(IVersionAnchor.Inconsistent.selector);
        anchors.anchor(0, 5, root, proof);
        vm.assertEq(anchors.count(), 0);
    }

    function test_sendingTheLatestAgainChangesNothing() public {
        grow(5);
        grow(9);
        vm.warp(1_800_000_000);
        vm.recordLogs();
        vm.assertEq(anchors.anchor(5, 9, trees.root(9), trees.consistency(5, 9)), 1);
        vm.assertEq(anchors.anchor(9, 9, trees.root(9), none), 1);
        vm.assertEq(anchors.anchor(type(uint64).max, 9, trees.root(9), trees.consistency(1, 2)), 1);
        vm.assertEq(vm.getRecordedLogs().length, 0);
        vm.assertEq(anchors.count(), 2);
        vm.assertEq(anchors.anchorAt(1).time, 1_763_702_345);
    }

    function test_tellsAForkFromARepeat() public {
        grow(5);
        bytes32 other = new SeededTrees(8).root(5);
        vm.expectRevert(abi.encodeWithSelector(IVersionAnchor.ForkDetected.selector, 5, trees.root(5), other));
        anchors.anchor(0, 5, other, none);
    }

    function test_neverShrinks() public {
        grow(5);
        grow(9);
        for (uint64 size = 0; size < 9; size++) {
            bytes32 root = trees.root(size);
            vm.expectRevert(abi.encodeWithSelector(IVersionAnchor.NotLarger.selector, 9));
            anchors.anchor(0, size, root, none);
        }
    }

    function test_startsFromTheLatestAnchorOnly() public {
        grow(5);
        grow(9);
        (bytes32 root, bytes32[] memory proof) = (trees.root(12), trees.consistency(5, 12));
        bytes memory stale = abi.encodeWithSelector(IVersionAnchor.StaleBase.selector, 9);
        uint64[5] memory bases = [uint64(0), 5, 8, 10, type(uint64).max];
        for (uint256 i = 0; i < bases.length; i++) {
            vm.expectRevert(stale);
            anchors.anchor(bases[i], 12, root, proof);
        }
    }

    function test_takesNoGrowthWithoutItsProof() public {
        grow(5);
        bytes32 root = trees.root(9);
        SeededTrees others = new SeededTrees(8);
        bytes32[] memory proof = trees.consistency(5, 9);
        expectInconsistent(9, root, none);
        expectInconsistent(9, others.root(9), others.consistency(5, 9));
        expectInconsistent(9, others.root(9), proof);
        expectInconsistent(9, root, trees.consistency(4, 9));
        expectInconsistent(9, root, extend(proof, bytes32(0)));
        expectInconsistent(9, root, new bytes32[](1000));
        expectInconsistent(type(uint64).max, root, proof);
        vm.assertEq(anchors.count(), 1);
    }

    function test_holdsTheLargestTreeThereCanBe() public {
        UniformTrees wide = new UniformTrees();
        uint64 max = type(uint64).max;
        anchors.anchor(0, 1 << 63, wide.root(1 << 63), none);
        vm.assertEq(anchors.anchor(1 << 63, max, wide.root(max), wide.consistency(1 << 63, max)), 1);
        vm.assertTrue(anchors.verifyInclusion(1, max - 1, wide.LEAF(), wide.inclusion(max - 1, max)));
        vm.assertTrue(anchors.verifyInclusion(1, 0, wide.LEAF(), wide.inclusion(0, max)));
        vm.assertFalse(anchors.verifyInclusion(1, max, wide.LEAF(), wide.inclusion(max - 1, max)));
        vm.assertEq(anchors.firstCovering(max - 1), 1);
        vm.assertEq(anchors.firstCovering((1 << 63) - 1), 0);
        vm.expectRevert(IVersionAnchor.NoSuchAnchor.selector);
        anchors.firstCovering(max);
    }

    function testFuzz_nobodyButAnchorersAnchors(address sender, uint64 prevSize, uint64 size, bytes32 root) public {
        if (sender == address(this)) sender = OWNER;
        vm.prank(sender);
        vm.expectRevert(IVersionAnchor.NotAnchorer.selector);
        anchors.anchor(prevSize, size, root, none);
        grow(5);
        bytes32 anchored = trees.root(5);
        vm.prank(sender);
        vm.expectRevert(IVersionAnchor.NotAnchorer.selector);
        anchors.anchor(0, 5, anchored, none);
    }

    function testFuzz_findsTheFirstAnchorThatCoversALeaf(uint8[12] memory steps) public {
        uint64 size = 0;
        for (uint256 i = 0; i < steps.length; i++) {
            size += uint64(bound(steps[i], 1, 8));
            grow(size);
        }
        uint64 leaf = 0;
        for (uint256 index = 0; index < steps.length; index++) {
            for (; leaf < anchors.anchorAt(index).treeSize; leaf++) {
                vm.assertEq(anchors.firstCovering(leaf), index);
            }
        }
        vm.expectRevert(IVersionAnchor.NoSuchAnchor.selector);
        anchors.firstCovering(size);
    }

    function test_saysWhenThereIsNoSuchAnchor() public {
        vm.expectRevert(IVersionAnchor.NoSuchAnchor.selector);
        anchors.latest();
        vm.expectRevert(IVersionAnchor.NoSuchAnchor.selector);
        anchors.firstCovering(0);
        grow(5);
        (bytes32 leaf, bytes memory entry) = (trees.leaf(0), trees.entry(0));
        vm.expectRevert(IVersionAnchor.NoSuchAnchor.selector);
        anchors.anchorAt(1);
        vm.expectRevert(IVersionAnchor.NoSuchAnchor.selector);
        anchors.anchorAt(type(uint256).max);
        vm.expectRevert(IVersionAnchor.NoSuchAnchor.selector);
        anchors.verifyInclusion(1, 0, leaf, none);
        vm.expectRevert(IVersionAnchor.NoSuchAnchor.selector);
        anchors.verifyEntry(1, 0, entry, none);
    }

    function test_verifiesTheBytesOfAnEntry() public {
        grow(5);
        bytes32[] memory proof = trees.inclusion(3, 5);
        vm.assertTrue(anchors.verifyEntry(0, 3, trees.entry(3), proof));
        vm.assertFalse(anchors.verifyEntry(0, 3, abi.encodePacked(trees.entry(3), "\n"), proof));
        vm.assertFalse(anchors.verifyEntry(0, 2, trees.entry(3), proof));
        // An inner node is no leaf, although its hash is on the way to the root.
        bytes memory inner = abi.encodePacked(trees.leaf(0), trees.leaf(1));
        vm.assertFalse(anchors.verifyEntry(0, 0, inner, proof));
        bytes32[] memory upper = new bytes32[](2);
        (upper[0], upper[1]) = (proof[1], proof[2]);
        vm.assertFalse(anchors.verifyEntry(0, 0, inner, upper));
    }

    function test_verifiesAnEntryOfTheLargestSize() public {
        bytes memory entry = new bytes(65_535);
        anchors.anchor(0, 1, sha256(abi.encodePacked(bytes1(0x00), entry)), none);
        vm.assertTrue(anchors.verifyEntry(0, 0, entry, none));
        entry[65_534] = 0x01;
        vm.assertFalse(anchors.verifyEntry(0, 0, entry, none));
    }

    function test_anAnchorLiesInTheSlotsTheInterfaceTells() public {
        grow(5);
        vm.warp(1_763_705_945);
        vm.roll(1300);
        grow(9);
        vm.assertEq(vm.load(address(anchors), bytes32(0)), bytes32(uint256(2)));
        uint256 base = uint256(keccak256(abi.encode(0)));
        vm.assertEq(vm.load(address(anchors), bytes32(base)), trees.root(5));
        uint256 packed = 5 | 1_763_702_345 << 64 | 1000 << 128;
        vm.assertEq(vm.load(address(anchors), bytes32(base + 1)), bytes32(packed));
        vm.assertEq(vm.load(address(anchors), bytes32(base + 2)), trees.root(9));
        packed = 9 | 1_763_705_945 << 64 | 1300 << 128;
        vm.assertEq(vm.load(address(anchors), bytes32(base + 3)), bytes32(packed));
    }

    function test_theOwnerNamesAnchorersAndTakesTheirRightBack() public {
        vm.expectEmit(address(anchors));
        emit IVersionAnchor.AnchorerSet(STRANGER, true);
        vm.prank(OWNER);
        anchors.setAnchorer(STRANGER, true);
        bytes32 root = trees.root(5);
        vm.prank(STRANGER);
        anchors.anchor(0, 5, root, none);

        vm.prank(OWNER);
        anchors.setAnchorer(STRANGER, false);
        vm.prank(STRANGER);
        vm.expectRevert(IVersionAnchor.NotAnchorer.selector);
        anchors.anchor(0, 5, root, none);
        grow(9);
    }

    function test_ownershipMovesInTwoSteps() public {
        vm.expectEmit(address(anchors));
        emit IVersionAnchor.OwnershipTransferStarted(OWNER, STRANGER);
        vm.prank(OWNER);
        anchors.transferOwnership(STRANGER);
        vm.assertEq(anchors.owner(), OWNER);
        vm.assertEq(anchors.pendingOwner(), STRANGER);
        vm.prank(STRANGER);
        vm.expectRevert(IVersionAnchor.NotOwner.selector);
        anchors.setAnchorer(STRANGER, true);

        vm.expectEmit(address(anchors));
        emit IVersionAnchor.OwnershipTransferred(OWNER, STRANGER);
        vm.prank(STRANGER);
        anchors.acceptOwnership();
        vm.assertEq(anchors.owner(), STRANGER);
        vm.assertEq(anchors.pendingOwner(), address(0));
        vm.prank(OWNER);
        vm.expectRevert(IVersionAnchor.NotOwner.selector);
        anchors.setAnchorer(OWNER, true);
        vm.prank(STRANGER);
        vm.expectRevert(IVersionAnchor.NotPendingOwner.selector);
        anchors.acceptOwnership();
    }

    function test_anOfferOfOwnershipIsCalledBack() public {
        vm.prank(OWNER);
        anchors.transferOwnership(STRANGER);
        vm.prank(OWNER);
        anchors.transferOwnership(address(0));
        vm.prank(STRANGER);
        vm.expectRevert(IVersionAnchor.NotPendingOwner.selector);
        anchors.acceptOwnership();
        vm.assertEq(anchors.owner(), OWNER);
    }

    function testFuzz_nobodyButTheOwnerHasItsRights(address sender) public {
        if (sender == OWNER || sender == address(0)) sender = address(this);
        vm.prank(sender);
        vm.expectRevert(IVersionAnchor.NotOwner.selector);
        anchors.setAnchorer(sender, true);
        vm.prank(sender);
        vm.expectRevert(IVersionAnchor.NotOwner.selector);
        anchors.transferOwnership(sender);
        vm.prank(sender);
        vm.expectRevert(IVersionAnchor.NotPendingOwner.selector);
        anchors.acceptOwnership();
    }

    /// @dev A contract without an owner has no pending one either; nobody sends as the zero address on a chain.
    function test_withoutAnOwnerTheAnchorersAreFixedForGood() public {
        VersionAnchor fixedForGood = new VersionAnchor(ORIGIN, address(0), address(this));
        fixedForGood.anchor(0, 5, trees.root(5), none);
        vm.expectRevert(IVersionAnchor.NotOwner.selector);
        fixedForGood.setAnchorer(STRANGER, true);
        vm.expectRevert(IVersionAnchor.NotPendingOwner.selector);
        fixedForGood.acceptOwnership();
    }

    /// @dev There is no fallback, and nothing but the roles decides what may change.
    function testFuzz_noCallOfAStrangerChangesAnything(uint256 which, bytes4 unknown, bytes calldata data) public {
        grow(5);
        bytes4[6] memory selectors = [
            anchors.anchor.selector,
            anchors.setAnchorer.selector,
            anchors.transferOwnership.selector,
            anchors.acceptOwnership.selector,
            bytes4(0),
            unknown
        ];
        bytes32 before = digestOfState();
        vm.prank(STRANGER);
        (bool done,) = address(anchors).call(abi.encodePacked(selectors[which % 6], data));
        if (which % 6 < 5) vm.assertFalse(done);
        vm.assertEq(digestOfState(), before);
    }

    function test_takesNoEther() public {
        (bool sent,) = address(anchors).call{value: 1}("");
        vm.assertFalse(sent);
        (sent,) = address(anchors).call{value: 1}(abi.encodeCall(anchors.anchor, (0, 1, trees.leaf(0), none)));
        vm.assertFalse(sent);
    }

    function test_refusesCalldataThatClaimsAProofItDoesNotHold() public {
        grow(5);
        bytes memory honest =
            abi.encodeCall(anchors.anchor, (5, 9, trees.root(9), trees.consistency(5, 9)));
        bytes memory cut = new bytes(honest.length - 1);
        for (uint256 i = 0; i < cut.length; i++) cut[i] = honest[i];
        (bool done,) = address(anchors).call(cut);
        vm.assertFalse(done, "the last byte of the proof is missing");
        bytes memory long = abi.encodePacked(honest);
        for (uint256 i = 0; i < 32; i++) long[4 + 4 * 32 + i] = 0xff;
        (done,) = address(anchors).call(long);
        vm.assertFalse(done, "the proof is longer than memory");
        bytes memory wide = abi.encodePacked(honest);
        wide[4 + 32] = 0x01;
        (done,) = address(anchors).call(wide);
        vm.assertFalse(done, "the size has more than 64 bits");
        (done,) = address(anchors).call(honest);
        vm.assertTrue(done);
    }

    function digestOfState() private view returns (bytes32) {
        (, IVersionAnchor.Anchor memory last) = anchors.latest();
        bytes memory roles = abi.encode(anchors.owner(), anchors.pendingOwner(), anchors.isAnchorer(STRANGER));
        return keccak256(abi.encode(anchors.count(), last, roles, anchors.origin()));
    }

    function grow(uint64 size) private {
        (uint64 from, bytes32[] memory proof) = (0, none);
        if (anchors.count() > 0) {
            (, IVersionAnchor.Anchor memory last) = anchors.latest();
            (from, proof) = (last.treeSize, trees.consistency(last.treeSize, size));
        }
        anchors.anchor(from, size, trees.root(size), proof);
    }

    function expectInconsistent(uint64 size, bytes32 root, bytes32[] memory proof) private {
        vm.expectRevert(IVersionAnchor.Inconsistent.selector);
        anchors.anchor(5, size, root, proof);
    }

    function expectAnchor(IVersionAnchor.Anchor memory have, IVersionAnchor.Anchor memory want) private pure {
        vm.assertEq(abi.encode(have), abi.encode(want));
    }

    function extend(bytes32[] memory list, bytes32 hash) private pure returns (bytes32[] memory longer) {
        longer = new bytes32[](list.length + 1);
        for (uint256 i = 0; i < list.length; i++) longer[i] = list[i];
        longer[list.length] = hash;
    }
}
