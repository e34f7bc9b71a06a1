// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LibString} from "solady/utils/LibString.sol";
import {IDisputes} from "./IDisputes.sol";

/// The trees and leaves of Kumiai's traces, byte for byte as Python makes them.
///
/// Trees are those of RFC 6962 section 2.1 (B. Laurie, A. Langley, E. Kasper, Certificate
/// Transparency, 2013) over sha256; an unpaired node moves up unchanged (`kumiai.base.merkle`). The
/// leaves are canonical JSON (`kumiai.proofs.trace.encode_leaf`).
library TraceTrees {
    /// Leaves of a trace: one more than its segments, and no trace has more (`LEAVES_MAX`).
    uint256 internal constant LEAVES_MAX = 1 << 16;

    /// How many levels a tree with `size` leaves has above them: ceil(log2(size)).
    function computeHeight(uint256 size) internal pure returns (uint8 height) {
        while ((uint256(1) << height) < size) ++height;
    }

    /// How many nodes lie `down` levels below the node at `position` of the level at `height`.
    function countBelow(uint256 size, uint256 height, uint256 position, uint256 down) internal pure returns (uint256) {
        uint256 low = height - down;
        uint256 width = (size + (uint256(1) << low) - 1) >> low;
        uint256 end = (position + 1) << down;
        return (end < width ? end : width) - (position << down);
    }

    /// The node that these neighbours, left to right, hash to `up` levels higher. Their number must be
    /// what `countBelow` gives, otherwise the result is of another tree.
    function computeNode(bytes32[] calldata nodes, uint256 up) internal view returns (bytes32) {
        bytes32[] memory level = nodes;
        uint256 count = nodes.length;
        for (uint256 step = 0; step < up; ++step) {
            for (uint256 i = 0; i + 1 < count; i += 2) {
                level[i >> 1] = hashNode(level[i], level[i + 1]);
            }
            if (count & 1 == 1) level[count >> 1] = level[count - 1];
            count = (count + 1) >> 1;
        }
        return level[0];
    }

    /// Whether `path` leads from the leaf with this hash to `root`.
    function isIncluded(bytes32 leaf, uint256 index, uint256 size, bytes32[] calldata path, bytes32 root)
        internal
        view
        returns (bool)
    {
        if (index >= size) return false;
        uint256 used = 0;
        bytes32 node = leaf;
        for (uint256 width = size; width > 1; width = (width + 1) >> 1) {
            if ((index ^ 1) < width) {
                if (used == path.length) return false;
                bytes32 sibling = path[used++];
                node = index & 1 == 1 ? hashNode(sibling, node) : hashNode(node, sibling);
            }
            index >>= 1;
        }
        return used == path.length && node == root;
    }

    /// sha256(0x01 || left || right).
    function hashNode(bytes32 left, bytes32 right) internal view returns (bytes32 node) {
        // The high-level form copies the 65 bytes twice. Scratch space holds them but for the last
        // byte, which reaches into the free memory pointer: it is put back.
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(0, 1)
            mstore(1, left)
            mstore(0x21, right)
            if iszero(staticcall(gas(), 2, 0, 65, 0, 32)) { revert(0, 0) }
            node := mload(0)
            mstore(0x40, free)
        }
    }

    /// The node that a leaf hashes to as the last one of a full tree: all its siblings are on the left.
    function computeLastRoot(bytes32 leaf, bytes32[] calldata path) internal view returns (bytes32 node) {
        node = leaf;
        for (uint256 i = 0; i < path.length; ++i) {
            node = hashNode(path[i], node);
        }
    }

    /// 64 lower-case hexadecimal digits.
    function toHex(bytes32 value) internal pure returns (bytes memory) {
        return abi.encodePacked(_spread(uint256(value) >> 128), _spread(uint256(value) & type(uint128).max));
    }

    /// 16 bytes as 32 digits: half-bytes are moved apart, then all become letters at once.
    function _spread(uint256 x) private pure returns (uint256) {
        x = (x | x << 64) & 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
        x = (x | x << 32) & 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
        x = (x | x << 16) & 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
        x = (x | x << 8) & 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
        x = (x | x << 4) & 0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f;
        uint256 ones = type(uint256).max / 255;
        uint256 letters = (x + 6 * ones) >> 4 & ones; // 1 where the half-byte is above 9
        unchecked {
            return x + 0x30 * ones + letters * 0x27;
        }
    }

    /// sha256(0x00 || data).
    function hashLeaf(bytes memory data) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0), data));
    }

    /// The hash of a trace's leaf: the state with this digest, the index-th, after `iteration`.
    function hashTraceLeaf(IDisputes.Submission calldata of_, uint256 index, uint256 iteration, bytes32 digest)
        internal
        pure
        returns (bytes32)
    {
        bytes memory head = abi.encodePacked(
            '\x00["kumiai/trace/1","',
            toHex(of_.document),
            '",',
            LibString.toString(of_.round),
            ",",
            LibString.toString(of_.attempt),
            ',"',
            toHex(of_.member)
        );
        return sha256(
            abi.encodePacked(
                head, '",', LibString.toString(index), ",", LibString.toString(iteration), ',"', toHex(digest), '"]'
            )
        );
    }

    /// The canonical bytes of a submission, see `IDisputes.Submission`.
    function encodeSubmission(IDisputes.Submission calldata of_) internal pure returns (bytes memory) {
        bytes memory head = abi.encodePacked(
            '["kumiai/submission/1","',
            toHex(of_.document),
            '",',
            LibString.toString(of_.round),
            ",",
            LibString.toString(of_.attempt),
            ',"',
            toHex(of_.member)
        );
        return abi.encodePacked(
            head,
            '","',
            LibString.toHexStringNoPrefix(of_.account),
            '","',
            toHex(of_.trace),
            '",',
            LibString.toString(of_.iterations),
            ",",
            LibString.toString(of_.every),
            "]"
        );
    }
}
