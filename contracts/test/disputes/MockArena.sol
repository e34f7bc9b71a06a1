// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IArena} from "../../src/IArena.sol";

/// As much of an arena as disputes see; whatever a test wants is set by hand, what they did is kept.
contract MockArena {
    mapping(bytes32 => IArena.Terms) internal _terms;
    mapping(bytes32 => IArena.Task) internal _tasks;
    mapping(bytes32 => mapping(address => IArena.Member)) internal _members;
    mapping(bytes32 => mapping(uint32 => bytes32)) public getSubmissions;
    mapping(bytes32 => mapping(uint32 => uint40)) public activeAt;
    mapping(bytes32 => mapping(uint32 => bool)) public isDisabled;
    mapping(bytes32 => mapping(address => uint256)) public convicted; // ppm, summed
    mapping(bytes32 => mapping(address => uint256)) public held;
    address public arbiter;

    constructor(address arbiter_) {
        arbiter = arbiter_;
    }

    modifier onlyArbiter() {
        if (msg.sender != arbiter) revert IArena.NotArbiter(arbiter);
        _;
    }

    function setTask(bytes32 task, bytes32 document, address token, uint24 slash, uint128 stakeMin, address[] calldata committee) external {
        IArena.Terms storage t = _terms[task];
        (t.document, t.token, t.slash, t.trainerStakeMin) = (document, token, slash, stakeMin);
        _tasks[task].status = IArena.Status.Running;
        _tasks[task].committee = keccak256(abi.encodePacked(committee));
        for (uint256 i = 0; i < committee.length; ++i) {
            setMember(task, committee[i], IArena.Role.Validator, stakeMin);
        }
    }

    function setStatus(bytes32 task, IArena.Status status) external {
        _tasks[task].status = status;
    }

    function setMember(bytes32 task, address who, IArena.Role role, uint128 stake) public {
        (_members[task][who].role, _members[task][who].stake) = (role, stake);
    }

    function setRound(bytes32 task, uint32 round, bytes32 submissions, uint40 from) external {
        getSubmissions[task][round] = submissions;
        activeAt[task][round] = from;
    }

    function hold(bytes32 task, address member, uint32) external onlyArbiter {
        ++held[task][member];
    }

    function release(bytes32 task, address member, uint32 round, bool disable) external onlyArbiter {
        --held[task][member];
        if (disable) isDisabled[task][round] = true;
    }

    function convict(bytes32 task, address member, uint24 ppm, bytes32) external onlyArbiter {
        convicted[task][member] += ppm;
    }

    function getTask(bytes32 task) external view returns (IArena.Task memory) {
        return _tasks[task];
    }

    function getTerms(bytes32 task) external view returns (IArena.Terms memory) {
        return _terms[task];
    }

    function getMember(bytes32 task, address who) external view returns (IArena.Member memory) {
        return _members[task][who];
    }

    function getRoot(bytes32 task, uint32 round) external view returns (bytes32, uint40, bool) {
        return (0, activeAt[task][round], isDisabled[task][round]);
    }
}
