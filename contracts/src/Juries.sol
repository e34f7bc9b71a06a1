// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "solady/utils/ECDSA.sol";
import {EIP712} from "solady/utils/EIP712.sol";
import {IArena} from "./IArena.sol";
import {IDisputes} from "./IDisputes.sol";

/// Who judges a task's disputes: its staked validators, all that were listed when one was opened.
///
/// Anybody may list any of them at any time, so no party can keep one out, and whoever joins after a
/// dispute was opened does not judge it. Whoever opens one lists the task's whole committee, so a
/// jury is never smaller than the committee whose certificate is doubted.
abstract contract Juries is IDisputes, EIP712 {
    uint256 internal constant JURORS_MAX = 256; // the bits of one word
    bytes32 internal constant VERDICT_TYPE = keccak256("Verdict(bytes32 dispute,uint8 outcome,bytes32 digest)");
    bytes32 internal constant REFINEMENT_TYPE = keccak256("Refinement(bytes32 dispute,bytes32 root)");

    IArena public immutable arena;

    mapping(bytes32 task => address[]) private _jurors;
    mapping(bytes32 task => mapping(address who => uint256)) private _seat; // 1: the list's first

    constructor(IArena arena_) {
        arena = arena_;
    }

    /// @inheritdoc IDisputes
    function enrol(bytes32 task, address[] calldata validators) external {
        IArena.Status status = arena.getTask(task).status;
        if (status == IArena.Status.None || status == IArena.Status.Open) revert IArena.WrongStatus(task, status);
        _enrol(task, validators);
    }

    /// @inheritdoc IDisputes
    function getJurors(bytes32 task) external view returns (address[] memory) {
        return _jurors[task];
    }

    /// @inheritdoc IDisputes
    function computeDigest(bytes32 dispute, uint8 outcome, bytes32 digest) public view returns (bytes32) {
        return _hashTypedData(keccak256(abi.encode(VERDICT_TYPE, dispute, outcome, digest)));
    }

    /// The jury of a dispute that is opened now: how many of the list, the committee among them.
    function _summon(bytes32 task, address[] calldata committee) internal returns (uint16) {
        bytes32 expected = arena.getTask(task).committee;
        if (committee.length == 0 || keccak256(abi.encodePacked(committee)) != expected) revert BadCommittee();
        _enrol(task, committee);
        return uint16(_jurors[task].length);
    }

    /// Whether a quorum of the jury signed `digest`; parties to the dispute have no seat.
    function _checkJury(Case calldata about, bytes32 digest, uint256 signers, bytes calldata signatures) internal view {
        address[] storage jurors = _jurors[about.task];
        (address accused, address accuser) = (about.submission.account, about.accuser);
        uint256 count = about.jurors;
        uint256 used = 0;
        for (uint256 i = 0; i < count; ++i) {
            if ((signers >> i) & 1 == 0) continue;
            address juror = jurors[i];
            if (juror == accused || juror == accuser) revert NotParty(juror);
            // a slice beyond the end reverts: bits without signatures
            bytes calldata signature = signatures[used:used + 64];
            address recovered = ECDSA.tryRecover(digest, bytes32(signature[:32]), bytes32(signature[32:]));
            if (recovered != juror) revert BadSignature(juror, recovered);
            used += 64;
        }
        uint256 seats = count - _countSeats(about.task, accused, count) - _countSeats(about.task, accuser, count);
        uint256 required = _computeQuorum(seats);
        if (used / 64 < required) revert NoQuorum(used / 64, required);
    }

    function _countSeats(bytes32 task, address who, uint256 count) private view returns (uint256) {
        uint256 seat = _seat[task][who];
        return seat != 0 && seat <= count ? 1 : 0;
    }

    /// floor((n + f) / 2) + 1 of n with f = floor((n - 1) / 3) (`kumiai.consensus.quorum`).
    function _computeQuorum(uint256 n) internal pure returns (uint256) {
        return n == 0 ? 1 : (n + (n - 1) / 3) / 2 + 1;
    }

    function _enrol(bytes32 task, address[] calldata validators) private {
        address[] storage jurors = _jurors[task];
        for (uint256 i = 0; i < validators.length; ++i) {
            address who = validators[i];
            if (_seat[task][who] != 0) continue;
            if (jurors.length >= JURORS_MAX) revert ListFull(JURORS_MAX);
            IArena.Member memory member = arena.getMember(task, who);
            if (member.role != IArena.Role.Validator || member.stake == 0) revert NotValidator(who);
            jurors.push(who);
            _seat[task][who] = jurors.length;
            emit Enrolled(task, who, jurors.length - 1);
        }
    }

    function _domainNameAndVersion() internal pure override returns (string memory, string memory) {
        return ("Kumiai Disputes", "1");
    }
}
