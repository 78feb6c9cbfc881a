// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {VersionAnchor} from "../src/VersionAnchor.sol";
import {ForgeTest} from "./support/ForgeTest.sol";
import {UniformTrees} from "./support/Trees.sol";

/// @dev What transactions cost, the 21,000 of every transaction and its calldata included: each call is one here.
/// forge-config: default.isolate = true
contract VersionAnchorGasTest is ForgeTest {
    string private constant GROUP = "VersionAnchor";
    UniformTrees private trees;
    bytes32[] private none;

    function setUp() public {
        trees = new UniformTrees();
    }

    function test_gasOfTheFirstAnchor() public {
        VersionAnchor anchors = make();
        anchors.anchor(0, 1000, trees.root(1000), none);
        vm.snapshotGasLastCall(GROUP, "first anchor");
    }

    function test_gasOfARepeat() public {
        VersionAnchor anchors = make();
        anchors.anchor(0, 1000, trees.root(1000), none);
        anchors.anchor(0, 1000, trees.root(1000), none);
        vm.snapshotGasLastCall(GROUP, "repeat");
    }

    function test_gasAtAThousandLeaves() public {
        measure(1000, 1001, "1,000 to 1,001 leaves");
        measure(1000, 1100, "1,000 to 1,100 leaves");
        measure(1024, 1025, "1,024 to 1,025 leaves, the shortest proof");
        measure(1023, 1025, "1,023 to 1,025 leaves, the longest proof");
    }

    function test_gasAtAMillionLeaves() public {
        measure(1_000_000, 1_000_001, "1,000,000 to 1,000,001 leaves");
        measure(1_000_000, 1_001_000, "1,000,000 to 1,001,000 leaves");
        measure(1_048_575, 1_048_577, "1,048,575 to 1,048,577 leaves, the longest proof");
    }

    function test_gasAtABillionLeaves() public {
        measure(1_000_000_000, 1_000_000_001, "1,000,000,000 to 1,000,000,001 leaves");
        measure(1_000_000_000, 1_001_000_000, "1,000,000,000 to 1,001,000,000 leaves");
        measure(1_073_741_823, 1_073_741_825, "1,073,741,823 to 1,073,741,825 leaves, the longest proof");
    }

    function measure(uint64 from, uint64 to, string memory name) private {
        VersionAnchor anchors = make();
        anchors.anchor(0, from, trees.root(from), none);
        bytes32 root = trees.root(to);
        bytes32[] memory proof = trees.consistency(from, to);
        anchors.anchor(from, to, root, proof);
        vm.snapshotGasLastCall(GROUP, name);
    }

    function make() private returns (VersionAnchor) {
        return new VersionAnchor("log.example/versions", address(0x0A11CE), address(this));
    }
}
