// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// The owner of the arena's and the disputes' parameters: whatever guardians propose waits `minDelay`
/// seconds in the open, then anyone carries it out. Nobody administers it: roles and the delay itself
/// change only through a proposal that has waited. Any guardian may cancel what waits.
contract Timelock is TimelockController {
    uint256 public constant DELAY_MIN = 1 hours;
    uint256 public constant GUARDIANS_MAX = 16;

    error DelayTooShort(uint256 delay, uint256 minimum);
    error BadGuardians(uint256 count, uint256 maximum);

    constructor(uint256 minDelay, address[] memory guardians)
        TimelockController(minDelay, guardians, _anyone(), address(0))
    {
        if (minDelay < DELAY_MIN) revert DelayTooShort(minDelay, DELAY_MIN);
        if (guardians.length == 0 || guardians.length > GUARDIANS_MAX) {
            revert BadGuardians(guardians.length, GUARDIANS_MAX);
        }
    }

    /// OpenZeppelin's sign for an open role: the zero address holds it.
    function _anyone() private pure returns (address[] memory executors) {
        executors = new address[](1);
    }
}
