// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// Many calls of one contract in one transaction; keeps nothing. Only measured with, never shipped.
contract Bundle {
    error CallFailed(uint256 index);

    function run(address to, bytes[] calldata calls) external {
        for (uint256 i; i < calls.length; ++i) {
            (bool isDone,) = to.call(calls[i]);
            if (!isDone) revert CallFailed(i);
        }
    }
}
