// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {ArenaState} from "./State.sol";

/// A task from its creation to its refund, and the bounds that new tasks must keep.
abstract contract Tasks is ArenaState, Ownable2Step {
    uint256 internal constant GUARDIANS_MAX = 16;
    uint32 internal constant COOL_DOWN_LIMIT = 365 days;
    uint32 internal constant ACTIVATION_DELAY_LIMIT = 30 days;
    uint32 internal constant GRACE_LIMIT = 365 days;
    uint32 internal constant DURATION_LIMIT = 3650 days;

    /// What the terms of new tasks must lie within, in seconds. Existing tasks keep their terms.
    struct Bounds {
        uint32 coolDownMin;
        uint32 coolDownMax;
        uint32 activationDelayMin;
        uint32 activationDelayMax;
        uint32 graceMin;
        uint32 graceMax;
        uint32 durationMin;
        uint32 durationMax;
    }

    Bounds internal _bounds;

    event BoundsSet(Bounds bounds);

    constructor(address owner_) Ownable(owner_) {
        Bounds memory bounds;
        bounds.coolDownMax = 90 days;
        bounds.activationDelayMax = 14 days;
        bounds.graceMax = 90 days;
        bounds.durationMin = 1 minutes;
        bounds.durationMax = 730 days;
        _setBounds(bounds);
    }

    /// The owner's only power: what the terms of new tasks must lie within.
    function setBounds(Bounds memory bounds) external onlyOwner {
        _setBounds(bounds);
    }

    function getBounds() external view returns (Bounds memory) {
        return _bounds;
    }

    function computeTaskId(address owner, bytes32 document) public pure returns (bytes32) {
        return keccak256(abi.encode(owner, document));
    }

    function createTask(Terms memory terms) public nonReentrant returns (bytes32 task) {
        task = computeTaskId(msg.sender, terms.document);
        State storage s = _states[task];
        if (s.status != Status.None) revert TaskExists(task);
        _checkTerms(terms);
        _terms[task] = terms;
        s.token = terms.token;
        s.status = Status.Open;
        s.owner = msg.sender;
        s.coolDown = terms.coolDown;
        s.activationDelay = terms.activationDelay;
        emit TaskCreated(task, msg.sender, terms.document, terms);
    }

    function fund(bytes32 task, uint128 amount) external payable nonReentrant {
        State storage s = _states[task];
        _checkJoinable(task, s.status);
        if (amount == 0) revert AmountZero();
        s.escrow += amount;
        s.contributed += amount;
        _contributions[task][msg.sender] += amount;
        emit Funded(task, msg.sender, amount);
        _pull(s, amount);
    }

    function start(bytes32 task, address[] calldata committee) external nonReentrant {
        State storage s = _states[task];
        _checkStatus(task, s.status, Status.Open);
        if (msg.sender != s.owner) revert NotOwner(s.owner);
        uint40 endsAt = _terms[task].endsAt;
        if (block.timestamp > endsAt) revert Expired(endsAt);
        if (committee.length == 0 || committee.length > COMMITTEE_SIZE_MAX) revert BadCommittee();
        address last;
        for (uint256 i; i < committee.length; ++i) {
            address validator = committee[i];
            Member storage m = _members[task][validator];
            if (validator <= last || m.role != Role.Validator || m.exitAt != 0) {
                revert BadCommittee();
            }
            last = validator;
        }
        s.status = Status.Running;
        s.committee = keccak256(abi.encodePacked(committee));
        emit Started(task, committee);
    }

    function cancel(bytes32 task) external nonReentrant {
        State storage s = _states[task];
        _checkStatus(task, s.status, Status.Open);
        if (msg.sender != s.owner) revert NotOwner(s.owner);
        _end(task, s, Status.Cancelled);
    }

    function expire(bytes32 task) external nonReentrant {
        State storage s = _states[task];
        Status status = s.status;
        if (status != Status.Open && !_isUnsettled(status)) revert WrongStatus(task, status);
        uint256 from = status == Status.Stopped ? s.endedAt : _terms[task].endsAt;
        from += _terms[task].grace;
        if (block.timestamp <= from) revert TooEarly(from + 1);
        if (status == Status.Open) return _end(task, s, Status.Cancelled);
        uint128 locked = s.locked;
        s.locked = 0;
        if (s.paid == 0) {
            s.escrow += locked; // nobody was certified: there is nobody to share it
        } else {
            s.bonus = locked;
            s.unclaimed += locked;
        }
        _end(task, s, Status.Expired);
    }

    function refund(bytes32 task) external nonReentrant returns (uint128 amount) {
        State storage s = _states[task];
        if (!_hasEnded(s.status)) revert WrongStatus(task, s.status);
        uint256 holds = _holds[task].length;
        if (holds != 0) revert StakeHeld(holds);
        uint128 contribution = _contributions[task][msg.sender];
        if (contribution == 0) revert NothingToWithdraw();
        uint128 contributed = s.contributed;
        // at most `escrow`, since contribution <= contributed: the last payer gets the exact rest
        amount = uint128(Math.mulDiv(s.escrow, contribution, contributed));
        _contributions[task][msg.sender] = 0;
        s.contributed = contributed - contribution;
        s.escrow -= amount;
        emit Refunded(task, msg.sender, amount);
        if (amount != 0) _push(s.token, msg.sender, amount);
    }

    function _setBounds(Bounds memory b) private {
        bytes32 bad;
        if (b.coolDownMin > b.coolDownMax || b.coolDownMax > COOL_DOWN_LIMIT) bad = "coolDown";
        if (
            b.activationDelayMin > b.activationDelayMax
                || b.activationDelayMax > ACTIVATION_DELAY_LIMIT
        ) bad = "activationDelay";
        if (b.graceMin > b.graceMax || b.graceMax > GRACE_LIMIT) bad = "grace";
        if (b.durationMin > b.durationMax || b.durationMax > DURATION_LIMIT) bad = "endsAt";
        _refuse(bad);
        _bounds = b;
        emit BoundsSet(b);
    }

    function _checkTerms(Terms memory t) private view {
        Bounds memory b = _bounds;
        bytes32 bad;
        uint256 duration = t.endsAt > block.timestamp ? t.endsAt - block.timestamp : 0;
        if (t.document == 0) bad = "document";
        if (t.token != address(0) && t.token.code.length == 0) bad = "token";
        if (t.sigmaFreeze > duration) bad = "sigmaFreeze";
        if (duration == 0 || duration < b.durationMin || duration > b.durationMax) bad = "endsAt";
        if (t.grace < b.graceMin || t.grace > b.graceMax) bad = "grace";
        if (t.activationDelay < b.activationDelayMin || t.activationDelay > b.activationDelayMax) {
            bad = "activationDelay";
        }
        if (t.coolDown < b.coolDownMin || t.coolDown > b.coolDownMax) bad = "coolDown";
        if (t.sigmaMax > PPM || t.sigmaMin > t.sigmaMax) bad = "sigmaMax";
        if (t.slash > PPM) bad = "slash";
        if (t.delegationSlash > PPM) bad = "delegationSlash";
        uint256 n = t.guardians.length;
        uint256 required = t.guardiansRequired;
        // no guardians: nobody can give an order
        if (required > n || (required == 0) != (n == 0)) bad = "guardiansRequired";
        if (n > GUARDIANS_MAX) bad = "guardians";
        address last;
        for (uint256 i; i < n; ++i) {
            if (t.guardians[i] <= last) bad = "guardians";
            last = t.guardians[i];
        }
        _refuse(bad);
    }

    /// Revert with the name of the field that is wrong; 0: none is.
    function _refuse(bytes32 field) private pure {
        if (field == 0) return;
        uint256 length;
        while (field[length] != 0) ++length;
        bytes memory text = abi.encodePacked(field);
        assembly ("memory-safe") {
            mstore(text, length)
        }
        revert BadTerms(string(text));
    }
}
