// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title The smallest contract wallet: what its owner signs is valid (ERC-1271), until the owner says otherwise
contract TestWallet {
    address public immutable owner;
    bool public isFrozen;
    uint256 public gasToBurn;

    constructor(address owner_) {
        owner = owner_;
    }

    /// A signature that was valid yesterday may not be so today: what makes these wallets different.
    function freeze() external {
        require(msg.sender == owner, "TestWallet: not the owner");
        isFrozen = true;
    }

    /// From now on a check of a signature costs this much more gas, at the cost of whoever settles.
    function burnGas(uint256 gasToBurn_) external {
        require(msg.sender == owner, "TestWallet: not the owner");
        gasToBurn = gasToBurn_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        uint256 gasAtStart = gasleft();
        uint256 toBurn = gasToBurn;
        while (gasAtStart - gasleft() < toBurn) {}
        if (isFrozen || signature.length != 65) return 0xffffffff;
        address signer =
            ecrecover(digest, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64]));
        return signer == owner ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}
