// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ArenaState} from "./arena/State.sol";
import {Guardians} from "./arena/Guardians.sol";
import {Holds} from "./arena/Holds.sol";
import {Members} from "./arena/Members.sol";
import {Settlement} from "./arena/Settlement.sol";
import {Tasks} from "./arena/Tasks.sol";

/// The arena on chain: holds the money of every task, and pays what its committee certified.
///
/// Immutable and without a proxy. Nobody can move a task's money but by the rules of `IArena`; the
/// owner (a timelock) only bounds the terms of new tasks.
contract Arena is Tasks, Members, Settlement, Guardians, Holds {
    constructor(address owner_, address arbiter_) Tasks(owner_) ArenaState(arbiter_) {}

    function getTask(bytes32 task) external view returns (Task memory) {
        State storage s = _states[task];
        return Task({
            owner: s.owner,
            status: s.status,
            endedAt: s.endedAt,
            round: s.round,
            escrow: s.escrow,
            locked: s.locked,
            unclaimed: s.unclaimed,
            burnt: s.burnt,
            paid: s.paid,
            bonus: s.bonus,
            contributed: s.contributed,
            pausedUntil: s.pausedUntil,
            orders: s.orders,
            committee: s.committee
        });
    }

    function getTerms(bytes32 task) external view returns (Terms memory) {
        return _terms[task];
    }

    function getMember(bytes32 task, address who) external view returns (Member memory) {
        return _members[task][who];
    }

    function getDelegation(bytes32 task, address node, address delegator)
        external
        view
        returns (uint128)
    {
        return _computeAmount(_pools[task][node], _shares[task][node][delegator]);
    }

    function getDelegated(bytes32 task, address node) external view returns (uint128) {
        return _pools[task][node].total;
    }

    function getContribution(bytes32 task, address payer) external view returns (uint128) {
        return _contributions[task][payer];
    }

    function getClaimed(bytes32 task, address account) external view returns (uint128) {
        return _claimed[task][account];
    }

    function getRoot(bytes32 task, uint32 round)
        external
        view
        returns (bytes32 payments, uint40 activeAt, bool isDisabled)
    {
        uint256 from;
        (from, isDisabled) = _getActivity(task, round);
        return (_roots[task][round], uint40(from), isDisabled);
    }

    function getSubmissions(bytes32 task, uint32 round) external view returns (bytes32) {
        return _submissions[task][round];
    }

    function isEvidenceUsed(bytes32 task, address member, bytes32 evidence)
        external
        view
        returns (bool)
    {
        return _evidence[task][member][evidence] || _proofs[task][member][evidence];
    }
}
