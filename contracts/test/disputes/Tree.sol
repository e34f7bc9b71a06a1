// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "../../src/IDisputes.sol";
import {TraceTrees} from "../../src/TraceTrees.sol";

/// A party's tree, kept whole: all its levels, leaves first.
library Tree {
    struct Levels {
        bytes32[][] rows;
        bytes32[] digests;
    }

    function build(bytes32[] memory leaves, bytes32[] memory digests) internal pure returns (Levels memory tree) {
        uint256 height = TraceTrees.computeHeight(leaves.length);
        tree.rows = new bytes32[][](height + 1);
        tree.digests = digests;
        tree.rows[0] = leaves;
        for (uint256 h = 1; h <= height; ++h) {
            bytes32[] memory low = tree.rows[h - 1];
            bytes32[] memory level = new bytes32[]((low.length + 1) / 2);
            for (uint256 i = 0; i < level.length; ++i) {
                level[i] = 2 * i + 1 < low.length
                    ? sha256(abi.encodePacked(bytes1(0x01), low[2 * i], low[2 * i + 1]))
                    : low[2 * i];
            }
            tree.rows[h] = level;
        }
    }

    function root(Levels memory tree) internal pure returns (bytes32) {
        return tree.rows[tree.rows.length - 1][0];
    }

    function below(Levels memory tree, IDisputes.Dispute memory d) internal pure returns (bytes32[] memory nodes) {
        uint256 down = d.height < d.arity ? d.height : d.arity;
        bytes32[] memory level = tree.rows[d.height - down];
        uint256 from = uint256(d.position) << down;
        uint256 to = uint256(d.position + 1) << down;
        if (to > level.length) to = level.length;
        nodes = new bytes32[](to - from);
        for (uint256 i = from; i < to; ++i) {
            nodes[i - from] = level[i];
        }
    }

    function path(Levels memory tree, uint256 index) internal pure returns (bytes32[] memory nodes) {
        nodes = new bytes32[](tree.rows.length);
        uint256 used = 0;
        for (uint256 h = 0; h + 1 < tree.rows.length; ++h) {
            if ((index ^ 1) < tree.rows[h].length) nodes[used++] = tree.rows[h][index ^ 1];
            index >>= 1;
        }
        assembly ("memory-safe") {
            mstore(nodes, used)
        }
    }
}
