// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "solady/utils/ECDSA.sol";
import {EIP712} from "solady/utils/EIP712.sol";
import {IArena} from "./IArena.sol";
import {IDisputes} from "./IDisputes.sol";

/// Who judges a task's disputes: all its staked validators, of whom each can be listed by anyone.
///
/// The arena lets nobody in or out after a task's start, so who may be listed is settled before the
/// first dispute, and no party can choose. The task's committee is listed by whoever opens a dispute;
/// everybody else has from the start until one answer time after the first dispute to be listed.
abstract contract Juries is IDisputes, EIP712 {
    /// Jurors that anyone lists; with committees that change, at most one word's bits.
    uint256 internal constant LISTED_MAX = 64;
    uint256 internal constant JURORS_MAX = 256;
    bytes32 internal constant VERDICT_TYPE = keccak256("Verdict(bytes32 dispute,uint8 outcome,bytes32 digest)");
    bytes32 internal constant REFINEMENT_TYPE = keccak256("Refinement(bytes32 dispute,bytes32 root)");

    IArena public immutable arena;

    mapping(bytes32 task => address[]) private _jurors;
    mapping(bytes32 task => mapping(address who => uint256)) private _seat; // 1: the list's first
    mapping(bytes32 task => uint40) private _closesAt; // 0: no dispute yet

    constructor(IArena arena_) {
        arena = arena_;
    }

    /// @inheritdoc IDisputes
    function enrol(bytes32 task, address[] calldata validators) external {
        IArena.Status status = arena.getTask(task).status;
        if (status == IArena.Status.None || status == IArena.Status.Open) revert IArena.WrongStatus(task, status);
        uint40 closesAt = _closesAt[task];
        if (closesAt != 0 && block.timestamp >= closesAt) revert ListClosed(closesAt);
        _enrol(task, validators, LISTED_MAX);
    }

    /// @inheritdoc IDisputes
    function getJurors(bytes32 task) external view returns (address[] memory jurors, uint40 closesAt) {
        return (_jurors[task], _closesAt[task]);
    }

    /// @inheritdoc IDisputes
    function computeDigest(bytes32 dispute, uint8 outcome, bytes32 digest) public view returns (bytes32) {
        return _hashTypedData(keccak256(abi.encode(VERDICT_TYPE, dispute, outcome, digest)));
    }

    /// A dispute begins: the task's committee is listed, the first one sets when the list closes.
    function _summon(bytes32 task, bytes32 committeeHash, address[] calldata committee, uint32 answerTime) internal {
        if (committee.length == 0 || keccak256(abi.encodePacked(committee)) != committeeHash) revert BadCommittee();
        if (_closesAt[task] == 0) _closesAt[task] = uint40(block.timestamp) + answerTime;
        _enrol(task, committee, JURORS_MAX);
    }

    /// Whether a quorum of the jury signed `digest`; parties to the dispute have no seat.
    function _checkJury(
        bytes32 task,
        bytes32 digest,
        uint256 signers,
        bytes calldata signatures,
        address accused,
        address accuser
    ) internal view {
        if (block.timestamp < _closesAt[task]) revert TooEarly(_closesAt[task]);
        address[] storage jurors = _jurors[task];
        uint256 count = jurors.length;
        uint256 seats = count;
        if (_seat[task][accused] != 0) --seats;
        if (_seat[task][accuser] != 0) --seats;
        uint256 used = 0;
        for (uint256 i = 0; i < count; ++i) {
            if ((signers >> i) & 1 == 0) continue;
            address juror = jurors[i];
            if (juror == accused || juror == accuser) revert NotParty(juror);
            if (signatures.length < used + 64) revert NoQuorum(used / 64, _computeQuorum(seats));
            bytes32 r = bytes32(signatures[used:used + 32]);
            bytes32 vs = bytes32(signatures[used + 32:used + 64]);
            used += 64;
            address recovered = ECDSA.tryRecover(digest, r, vs);
            if (recovered != juror) revert BadSignature(juror, recovered);
        }
        // bits beyond the list and bytes beyond the signatures count for nothing
        uint256 required = _computeQuorum(seats);
        if (seats == 0 || used / 64 < required) revert NoQuorum(used / 64, required);
    }

    /// floor((n + f) / 2) + 1 of n with f = floor((n - 1) / 3) (`kumiai.consensus.quorum`).
    function _computeQuorum(uint256 n) internal pure returns (uint256) {
        return n == 0 ? 1 : (n + (n - 1) / 3) / 2 + 1;
    }

    function _enrol(bytes32 task, address[] calldata validators, uint256 max) private {
        address[] storage jurors = _jurors[task];
        for (uint256 i = 0; i < validators.length; ++i) {
            address who = validators[i];
            if (_seat[task][who] != 0) continue;
            if (jurors.length >= max) revert ListFull(max);
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
