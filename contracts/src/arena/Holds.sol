// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Evidence} from "./Evidence.sol";

/// What the arbiter may do while somebody disputes a round: hold, release, convict.
abstract contract Holds is Evidence {
    uint256 private constant HOLDS_MAX = 16;

    modifier onlyArbiter() {
        if (msg.sender != arbiter) revert NotArbiter(arbiter);
        _;
    }

    function hold(bytes32 task, address member, uint32 round) external onlyArbiter nonReentrant {
        State storage s = _states[task];
        Status status = s.status;
        if (status < Status.Running || status == Status.Cancelled) {
            revert WrongStatus(task, status);
        }
        if (round == 0) revert RoundNotNext(0, 0);
        Member storage m = _members[task][member];
        if (m.role == Role.None) revert NotMember(member);
        Hold[] storage holds = _holds[task];
        if (holds.length >= HOLDS_MAX) revert StakeHeld(holds.length);
        holds.push(Hold(member, round));
        ++m.holds;
        uint32 from = s.blockedFrom;
        if (from == 0 || round < from) _block(task, s, round);
    }

    function release(bytes32 task, address member, uint32 round, bool disable)
        external
        onlyArbiter
        nonReentrant
    {
        State storage s = _states[task];
        uint32 from = _removeHold(_holds[task], member, round);
        --_members[task][member].holds;
        if (from != s.blockedFrom) _block(task, s, from);
        if (disable) {
            _activity[task][round / 6] |= uint256(1) << (240 + round % 6);
            emit RootDisabled(task, round);
        }
    }

    function convict(bytes32 task, address member, uint24 ppm, bytes32 evidence)
        external
        onlyArbiter
        nonReentrant
    {
        if (_members[task][member].role == Role.None) revert NotMember(member);
        _convict(task, member, ppm > PPM ? PPM : ppm, evidence);
    }

    function _block(bytes32 task, State storage s, uint32 from) private {
        s.blockedFrom = from;
        emit RootsBlocked(task, from);
    }

    /// Drop one hold; returns the lowest round that is still held, 0 for none.
    function _removeHold(Hold[] storage holds, address member, uint32 round)
        private
        returns (uint32 lowest)
    {
        uint256 count = holds.length;
        uint256 found = count;
        for (uint256 i; i < count; ++i) {
            Hold memory item = holds[i];
            if (found == count && item.member == member && item.round == round) found = i;
            else if (lowest == 0 || item.round < lowest) lowest = item.round;
        }
        if (found == count) revert NotMember(member);
        holds[found] = holds[count - 1];
        holds.pop();
    }
}
