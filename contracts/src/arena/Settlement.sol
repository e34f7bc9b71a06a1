// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Evidence} from "./Evidence.sol";

/// Rounds and the end, settled by one quorum's signatures; and everybody's own claim.
///
/// Mirrors `kumiai.settlement.ledger`: a round pays out of the escrow, the end out of the locked
/// pot, whose rest returns to the escrow. Cost: a fixed number of storage slots a settlement,
/// however many members are paid.
abstract contract Settlement is Evidence {
    function settle(
        Certificate calldata certificate,
        Slash[] calldata slashes,
        Quorum calldata quorum
    ) external nonReentrant {
        bytes32 task = certificate.task;
        State storage s = _states[task];
        _checkNext(s, certificate);
        if (keccak256(abi.encode(slashes)) != certificate.slashes) revert SlashesDiffer();
        _checkCommittee(s.committee, computeDigest(certificate), quorum);
        s.round = certificate.round;
        if (certificate.nextCommittee != 0 && certificate.nextCommittee != s.committee) {
            s.committee = certificate.nextCommittee;
            emit CommitteeChanged(task, certificate.nextCommittee);
        }
        if (certificate.isFinal) _settleFinal(s, certificate);
        else _settleRound(s, certificate);
        _applySlashes(task, s, slashes);
    }

    function claim(
        bytes32 task,
        uint32 round,
        address account,
        uint128 cumulative,
        bytes32[] calldata proof
    ) external nonReentrant returns (uint128 amount) {
        State storage s = _states[task];
        bytes32 root = _openRoot(task, s, round);
        amount = _claim(task, s, root, account, cumulative, proof);
        if (amount == 0) revert NothingToClaim();
    }

    function claimMany(bytes32 task, uint32 round, Claim[] calldata claims) external nonReentrant {
        State storage s = _states[task];
        bytes32 root = _openRoot(task, s, round);
        for (uint256 i; i < claims.length; ++i) {
            Claim calldata item = claims[i];
            _claim(task, s, root, item.account, item.cumulative, item.proof);
        }
    }

    /// Remember that `account` was paid `amount` more.
    function _recordClaim(bytes32 task, address account, uint128 amount) internal virtual {
        _claimed[task][account] += amount;
    }

    function _settleRound(State storage s, Certificate calldata c) private {
        uint256 spent = uint256(c.paid) + c.locked;
        uint128 escrow = s.escrow;
        if (spent > escrow) revert Overdrawn(escrow, spent);
        s.escrow = escrow - uint128(spent);
        s.locked += c.locked;
        uint40 activeAt = _record(s, c);
        emit RoundSettled(
            c.task, c.round, c.body, c.submissions, c.payments, c.paid, c.locked, activeAt
        );
    }

    function _settleFinal(State storage s, Certificate calldata c) private {
        uint128 locked = s.locked;
        if (c.locked != 0) revert Overdrawn(0, c.locked);
        if (c.paid > locked) revert Overdrawn(locked, c.paid);
        uint128 returned = locked - c.paid;
        s.locked = 0;
        s.escrow += returned;
        uint40 activeAt = _record(s, c);
        emit FinalSettled(
            c.task, c.round, c.body, c.submissions, c.payments, c.paid, returned, activeAt
        );
        _end(c.task, s, Status.Closed);
    }

    function _record(State storage s, Certificate calldata c) private returns (uint40 activeAt) {
        s.unclaimed += c.paid;
        s.paid += c.paid;
        activeAt = uint40(block.timestamp + s.activationDelay);
        _roots[c.task][c.round] = c.payments;
        if (c.submissions != 0) _submissions[c.task][c.round] = c.submissions;
        _activity[c.task][c.round / 6] |= uint256(activeAt) << (40 * (c.round % 6));
    }

    /// Revert unless the task waits for such a certificate. Rounds count from 1; gaps are allowed.
    function _checkNext(State storage s, Certificate calldata c) private view {
        Status status = s.status;
        if (status != Status.Running && !(c.isFinal && status == Status.Stopped)) {
            revert WrongStatus(c.task, status);
        }
        _checkNotPaused(s);
        if (c.round <= s.round) revert RoundNotNext(s.round, c.round);
    }

    /// Pay what a leaf gives beyond what was claimed; 0 where that is nothing.
    function _claim(
        bytes32 task,
        State storage s,
        bytes32 root,
        address account,
        uint128 cumulative,
        bytes32[] calldata proof
    ) private returns (uint128 amount) {
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(task, account, cumulative))));
        if (!MerkleProof.verifyCalldata(proof, root, leaf)) revert BadProof();
        uint256 entitled = cumulative;
        if (s.status == Status.Expired && s.bonus != 0) {
            entitled += Math.mulDiv(s.bonus, cumulative, s.paid);
        }
        uint128 claimed = _claimed[task][account];
        if (entitled <= claimed) return 0;
        uint128 unclaimed = s.unclaimed;
        if (entitled - claimed > unclaimed) revert Overdrawn(unclaimed, entitled - claimed);
        amount = uint128(entitled - claimed);
        _recordClaim(task, account, amount);
        s.unclaimed = unclaimed - amount;
        emit Claimed(task, account, amount, cumulative);
        _push(s.token, account, amount);
    }

    /// The root of a round that pays now.
    function _openRoot(bytes32 task, State storage s, uint32 round)
        private
        view
        returns (bytes32)
    {
        if (_isUnsettled(s.status)) _checkNotPaused(s);
        uint32 from = s.blockedFrom;
        if (from != 0 && round >= from) revert RootIsBlocked(round, from);
        (uint256 activeAt, bool isDisabled) = _getActivity(task, round);
        if (activeAt == 0 || isDisabled || block.timestamp < activeAt) {
            revert RootInactive(round, activeAt);
        }
        return _roots[task][round];
    }
}
