// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Delegations} from "./Delegations.sol";
import {Quorums} from "./Quorums.sol";

/// Whose stake is taken and why: the committee's verdicts, and offences proven on chain.
abstract contract Evidence is Quorums, Delegations {
    uint256 internal constant SLASHES_MAX = 256;
    bytes32 private constant EQUIVOCATION = keccak256("kumiai.equivocation");

    function slash(bytes32 task, Slash[] calldata slashes, Quorum calldata quorum)
        external
        nonReentrant
    {
        State storage s = _states[task];
        _checkSlashable(task, s);
        if (_isUnsettled(s.status)) _checkNotPaused(s);
        bytes32 digest = _hashTypedData(
            keccak256(abi.encode(VERDICT_TYPEHASH, task, keccak256(abi.encode(slashes))))
        );
        _checkCommittee(s.committee, digest, quorum);
        _applySlashes(task, s, slashes);
    }

    function proveEquivocation(
        Certificate calldata first,
        bytes calldata firstSignature,
        Certificate calldata second,
        bytes calldata secondSignature
    ) external nonReentrant {
        bytes32 task = first.task;
        if (task != second.task || first.round != second.round || first.attempt != second.attempt) {
            revert NoContradiction();
        }
        bytes32 digest = computeDigest(first);
        bytes32 other = computeDigest(second);
        address validator = _recover(digest, firstSignature);
        if (digest == other || validator != _recover(other, secondSignature)) {
            revert NoContradiction();
        }
        Member storage m = _members[task][validator];
        if (m.role != Role.Validator || m.stake == 0) revert NotMember(validator);
        // one offence a round and attempt, however many contradicting pairs there are
        bytes32 evidence =
            keccak256(abi.encode(EQUIVOCATION, task, validator, first.round, first.attempt));
        _convict(task, validator, _terms[task].slash, evidence);
        emit Equivocated(task, validator, first.round, first.attempt);
    }

    /// Take `ppm` of a member's stake, rounded up, for what was proven on chain; once an evidence. A
    /// pause does not hinder it: who was proven guilty must not outlast it.
    function _convict(bytes32 task, address member, uint256 ppm, bytes32 evidence) internal {
        State storage s = _states[task];
        _checkSlashable(task, s);
        if (_proofs[task][member][evidence]) revert EvidenceUsed(member, evidence);
        _proofs[task][member][evidence] = true;
        uint128 staked = _members[task][member].stake;
        _take(task, s, member, uint128(Math.ceilDiv(staked * ppm, PPM)), evidence);
    }

    function _applySlashes(bytes32 task, State storage s, Slash[] calldata slashes) internal {
        if (slashes.length > SLASHES_MAX) revert TooManySlashes(slashes.length, SLASHES_MAX);
        for (uint256 i; i < slashes.length; ++i) {
            Slash calldata item = slashes[i];
            if (_evidence[task][item.member][item.evidence]) {
                revert EvidenceUsed(item.member, item.evidence);
            }
            _evidence[task][item.member][item.evidence] = true;
            _take(task, s, item.member, item.amount, item.evidence);
        }
    }

    /// Take at most what is there: an offence proven meanwhile must not block a round.
    function _take(
        bytes32 task,
        State storage s,
        address member,
        uint128 amount,
        bytes32 evidence
    ) private {
        Member storage m = _members[task][member];
        uint128 staked = m.stake;
        if (amount > staked) amount = staked;
        uint128 delegated = _slashPool(task, member, amount, staked);
        uint128 lost = amount + delegated;
        if (lost != 0) {
            m.stake = staked - amount;
            if (_terms[task].slashToTask && s.contributed != 0) s.escrow += lost;
            else s.burnt += lost;
        }
        emit Slashed(task, member, amount, delegated, evidence);
    }

    function _checkSlashable(bytes32 task, State storage s) internal view {
        Status status = s.status;
        if (status < Status.Running || status == Status.Cancelled) {
            revert WrongStatus(task, status);
        }
    }
}
