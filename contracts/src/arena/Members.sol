// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Quorums} from "./Quorums.sol";

/// Trainers and validators: who takes part, with how much stake, and when it leaves.
abstract contract Members is Quorums {
    uint256 private constant SIGMA_INTERVAL = 1 days;

    function stake(
        bytes32 task,
        Role role,
        uint128 amount,
        bytes32 document,
        uint40 deadline,
        bytes calldata admission
    ) external payable nonReentrant {
        _enrol(msg.sender, task, role, amount, document, deadline, admission);
    }

    function stakeFor(
        address member,
        bytes32 task,
        Role role,
        uint128 amount,
        bytes32 document,
        uint40 deadline,
        bytes calldata admission,
        bytes calldata enrolment
    ) external payable nonReentrant {
        if (block.timestamp > deadline) revert Expired(deadline);
        bytes32 digest = _hashTypedData(
            keccak256(
                abi.encode(ENROLMENT_TYPEHASH, task, member, role, amount, document, deadline)
            )
        );
        address signer = _recover(digest, enrolment);
        if (signer != member || member == address(0)) revert BadSignature(member, signer);
        if (_enrolments[digest]) revert EvidenceUsed(member, digest);
        _enrolments[digest] = true;
        _enrol(member, task, role, amount, document, deadline, admission);
    }

    function unstake(bytes32 task) external nonReentrant {
        State storage s = _states[task];
        _checkStatus(task, s.status, Status.Open);
        Member storage m = _members[task][msg.sender];
        if (m.role == Role.None || m.exitAt != 0) revert NotMember(msg.sender);
        uint40 exitAt = uint40(block.timestamp + s.coolDown);
        m.exitAt = exitAt;
        if (m.role == Role.Validator) --s.validators;
        emit Left(task, msg.sender, exitAt);
    }

    function withdrawStake(bytes32 task, address member)
        external
        nonReentrant
        returns (uint128 amount)
    {
        State storage s = _states[task];
        Member storage m = _members[task][member];
        if (m.holds != 0) revert StakeHeld(m.holds);
        Status status = s.status;
        uint256 from = m.exitAt;
        if (status == Status.Cancelled) from = 0;
        else if (from == 0 && _hasEnded(status)) from = uint256(s.endedAt) + s.coolDown;
        else if (from == 0) revert WrongStatus(task, status);
        if (block.timestamp < from) revert TooEarly(from);
        amount = m.stake;
        if (amount == 0) revert NothingToWithdraw();
        // who left before the start may come back; who worked keeps its role in the record
        if (m.exitAt != 0) delete _members[task][member];
        else m.stake = 0;
        emit StakeWithdrawn(task, member, amount);
        _push(s.token, member, amount);
    }

    function setSigma(bytes32 task, uint24 sigma) external nonReentrant {
        _checkJoinable(task, _states[task].status);
        Member storage m = _members[task][msg.sender];
        if (m.role == Role.None || m.exitAt != 0) revert NotMember(msg.sender);
        Terms storage terms = _terms[task];
        if (sigma < terms.sigmaMin || sigma > terms.sigmaMax) {
            revert SigmaOutside(terms.sigmaMin, terms.sigmaMax);
        }
        uint256 frozenFrom = terms.endsAt - terms.sigmaFreeze;
        if (block.timestamp >= frozenFrom) revert SigmaFrozen(frozenFrom);
        uint256 from = m.sigmaAt + SIGMA_INTERVAL;
        if (m.sigmaAt != 0 && block.timestamp < from) revert TooEarly(from);
        m.sigma = sigma;
        m.sigmaAt = uint40(block.timestamp);
        emit SigmaSet(task, msg.sender, sigma);
    }

    function _enrol(
        address member,
        bytes32 task,
        Role role,
        uint128 amount,
        bytes32 document,
        uint40 deadline,
        bytes calldata admission
    ) private {
        State storage s = _states[task];
        _checkJoinable(task, s.status);
        Terms storage terms = _terms[task];
        if (document != terms.document) revert WrongDocument(terms.document);
        if (amount == 0) revert AmountZero();
        Member storage m = _members[task][member];
        if (m.exitAt != 0) revert TooEarly(m.exitAt); // withdraw first
        if (m.role == Role.None) {
            if (role == Role.None) revert OtherRole(role);
            _admit(member, task, role, deadline, admission);
            if (role == Role.Validator) {
                if (s.validators >= COMMITTEE_SIZE_MAX) revert BadCommittee();
                ++s.validators;
            }
            m.role = role;
            m.sigma = terms.sigmaMax;
        } else if (m.role != role) {
            revert OtherRole(m.role);
        }
        uint128 minimum =
            role == Role.Trainer ? terms.trainerStakeMin : terms.validatorStakeMin;
        uint128 total = m.stake + amount;
        if (total < minimum) revert StakeTooSmall(total, minimum);
        m.stake = total;
        emit Staked(task, member, role, amount);
        _pull(s, amount);
    }

    function _admit(
        address member,
        bytes32 task,
        Role role,
        uint40 deadline,
        bytes calldata admission
    ) private view {
        address expected = _terms[task].admission;
        if (expected == address(0)) return;
        if (block.timestamp > deadline) revert Expired(deadline);
        bytes32 digest = _hashTypedData(
            keccak256(abi.encode(ADMISSION_TYPEHASH, task, member, role, deadline))
        );
        address signer = _recover(digest, admission);
        if (signer != expected) revert NotAdmitted(signer);
    }
}
