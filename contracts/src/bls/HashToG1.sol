// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";

/// RFC 9380, suite BLS12381G1_XMD:SHA-256_SSWU_RO_, for messages of 32 bytes.
library HashToG1 {
    // the field's modulus in two words
    uint256 private constant P_HIGH = 0x1a0111ea397fe69a4b1ba7b6434bacd7;
    uint256 private constant P_LOW =
        0x64774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab;
    address private constant MODEXP = address(5);

    /// The point of `message` under a domain `tag` of at most 255 bytes.
    function hash(bytes32 message, bytes memory tag)
        internal
        view
        returns (BLS.G1Point memory point)
    {
        bytes memory suffix = abi.encodePacked(tag, uint8(tag.length));
        // 64 zero bytes are SHA-256's block; 128 is how many bytes are drawn
        bytes32 seed = sha256(
            abi.encodePacked(bytes32(0), bytes32(0), message, uint16(128), uint8(0), suffix)
        );
        bytes32 a = sha256(abi.encodePacked(seed, uint8(1), suffix));
        bytes32 b = sha256(abi.encodePacked(seed ^ a, uint8(2), suffix));
        bytes32 c = sha256(abi.encodePacked(seed ^ b, uint8(3), suffix));
        bytes32 d = sha256(abi.encodePacked(seed ^ c, uint8(4), suffix));
        // the precompile clears the cofactor; that commutes with the sum
        point = BLS.add(BLS.toG1(_reduce(a, b)), BLS.toG1(_reduce(c, d)));
    }

    /// 64 bytes modulo the field's modulus.
    function _reduce(bytes32 high, bytes32 low) private view returns (BLS.Fp memory) {
        (, bytes memory rest) = MODEXP.staticcall(
            abi.encodePacked(uint256(64), uint256(1), uint256(64), high, low, uint8(1), P_HIGH, P_LOW)
        );
        return abi.decode(rest, (BLS.Fp));
    }
}
