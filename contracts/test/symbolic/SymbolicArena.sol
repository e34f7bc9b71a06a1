// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Arena} from "../../src/Arena.sol";

/// The arena with doors into its storage: a check begins in any state, not only in those that a
/// few calls lead to. Its rules are the arena's own.
contract SymbolicArena is Arena {
    constructor(address owner_, address arbiter_) Arena(owner_, arbiter_) {}

    receive() external payable {}

    function putState(bytes32 task, State calldata state) external {
        _states[task] = state;
    }

    function putTerms(bytes32 task, uint24 slash_, uint24 delegationSlash, bool slashToTask)
        external
    {
        Terms storage t = _terms[task];
        (t.slash, t.delegationSlash, t.slashToTask) = (slash_, delegationSlash, slashToTask);
    }

    function putRoot(bytes32 task, uint32 round, bytes32 payments) external {
        _roots[task][round] = payments;
        _activity[task][round / 6] |= uint256(1) << (40 * (round % 6)); // active since second 1
    }

    function putMember(bytes32 task, address who, Role role, uint128 amount) external {
        _members[task][who].role = role;
        _members[task][who].stake = amount;
    }

    /// What the arena owes for `task` beside stakes and delegations.
    function sumPots(bytes32 task) external view returns (uint256) {
        State storage s = _states[task];
        return uint256(s.escrow) + s.locked + s.unclaimed + s.burnt;
    }
}

/// The same with the planted fault of `test/seeded`: a claim forgets that it was paid.
contract SeededSymbolicArena is SymbolicArena {
    constructor(address owner_, address arbiter_) SymbolicArena(owner_, arbiter_) {}

    function _recordClaim(bytes32, address, uint128) internal override {}
}
