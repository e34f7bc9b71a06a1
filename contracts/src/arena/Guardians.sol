// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Quorums} from "./Quorums.sol";

/// A task's guardians: they can pause it, let it go on, or stop it. They never move money.
abstract contract Guardians is Quorums {
    uint256 private constant PAUSE_MAX = 30 days;
    uint256 private constant ORDER_AHEAD_MAX = 7 days;
    uint256 private constant REASON_BYTES_MAX = 280;

    function order(
        bytes32 task,
        Action action,
        uint40 until,
        uint40 deadline,
        string calldata reason,
        Quorum calldata quorum
    ) external nonReentrant {
        State storage s = _states[task];
        Status status = s.status;
        if (!_isUnsettled(status) || (action == Action.Stop && status != Status.Running)) {
            revert WrongStatus(task, status);
        }
        if (block.timestamp > deadline) revert Expired(deadline);
        uint32 nonce = s.orders;
        if (
            deadline > block.timestamp + ORDER_AHEAD_MAX || bytes(reason).length > REASON_BYTES_MAX
                || !_isTimely(action, until)
        ) revert BadOrder(nonce);
        bytes32 digest = _hashTypedData(
            keccak256(
                abi.encode(
                    ORDER_TYPEHASH, task, action, until, nonce, deadline, keccak256(bytes(reason))
                )
            )
        );
        _checkGuardianQuorum(task, digest, quorum);
        s.orders = nonce + 1;
        _carryOut(s, action, until);
        emit Ordered(task, action, until, reason, _getSigners(quorum));
    }

    function _carryOut(State storage s, Action action, uint40 until) private {
        if (action == Action.Pause) {
            s.pausedUntil = until;
        } else if (action == Action.Resume) {
            s.pausedUntil = 0;
        } else {
            s.status = Status.Stopped;
            s.endedAt = uint40(block.timestamp);
        }
    }

    function _isTimely(Action action, uint40 until) private view returns (bool) {
        if (action != Action.Pause) return until == 0;
        return until > block.timestamp && until <= block.timestamp + PAUSE_MAX;
    }

    function _checkGuardianQuorum(bytes32 task, bytes32 digest, Quorum calldata quorum)
        private
        view
    {
        address[] storage guardians = _terms[task].guardians;
        uint256 n = guardians.length;
        if (n == 0 || quorum.members.length != n) revert BadCommittee();
        for (uint256 i; i < n; ++i) {
            if (quorum.members[i] != guardians[i]) revert BadCommittee();
        }
        _checkSignatures(digest, quorum, _terms[task].guardiansRequired);
    }

    function _getSigners(Quorum calldata quorum) private pure returns (address[] memory signers) {
        signers = new address[](quorum.signatures.length / 64);
        uint256 count;
        for (uint256 i; i < quorum.members.length; ++i) {
            if ((quorum.signers >> i) & 1 != 0) signers[count++] = quorum.members[i];
        }
    }
}
