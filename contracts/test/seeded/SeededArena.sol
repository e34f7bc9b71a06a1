// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Arena} from "../../src/Arena.sol";

/// The arena with one fault planted: a claim forgets that it was paid, so one leaf is paid twice.
///
/// Every tool that searches for faults is aimed at this contract as well, and must find it.
contract SeededArena is Arena {
    constructor(address owner_, address arbiter_) Arena(owner_, arbiter_) {}

    function _recordClaim(bytes32, address, uint128) internal override {}
}
