// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {Arena} from "../src/Arena.sol";
import {IArena} from "../src/IArena.sol";

/// A task among six nodes, three delegators and two payers, to whom anything may happen in any
/// order. It books what it expects in numbers of its own; the invariants compare.
contract World is Fixture {
    struct Held {
        address member;
        uint32 round;
    }

    Held[] private held;
    address[] public nodes; // four validators and two trainers
    address[] private lenders = [address(0xD1), address(0xD2), address(0xD3)];
    address[] private payers = [address(0xB1), address(0xB2)];
    mapping(address => uint256) public staked;
    mapping(address => uint256) public lentTo;
    mapping(address => uint256) public earned; // the highest root that was settled
    mapping(address => uint256) public received; // by claims
    mapping(uint32 => bytes32[]) private leaves;
    mapping(uint32 => uint128[]) private cumulatives;
    mapping(uint256 => bool) private isUsed;
    uint32 public round;
    uint256 private evidence;
    bool public isPauseBroken;
    bool private immutable isSeeded;
    bool private isBuilt;

    constructor(bool isSeeded_) {
        isSeeded = isSeeded_;
        setUp();
        isBuilt = true;
        for (uint256 i; i < committee.length; ++i) {
            nodes.push(committee[i]);
        }
        nodes.push(address(0xE1));
        nodes.push(address(0xE2));
        fund(0, 1_000_000);
        for (uint256 i; i < 5; ++i) {
            stake(i, 1000); // the sixth joins later, or never
        }
        vm.prank(customer);
        arena.start(task, committee);
    }

    /// Once: what forge calls later must not begin the world anew.
    function setUp() public override {
        if (!isBuilt) super.setUp();
    }

    function _deploy() internal override returns (Arena) {
        if (isSeeded) return _deploySeeded();
        return super._deploy();
    }

    // ---- what may happen

    function fund(uint256 who, uint96 amount) public {
        _fund(payers[who % 2], amount);
    }

    function stake(uint256 who, uint96 amount) public {
        address node = nodes[who % 6];
        _stake(node, who % 6 < 4 ? IArena.Role.Validator : IArena.Role.Trainer, amount);
        staked[node] += amount;
    }

    function delegate(uint256 who, uint256 node, uint96 amount) external {
        _delegate(lenders[who % 3], nodes[node % 6], amount);
        lentTo[nodes[node % 6]] += amount;
    }

    function settle(uint128[6] memory pay, uint128 locked, uint8 slashed, bool isFinal) external {
        IArena.Task memory t = arena.getTask(task);
        isFinal = isFinal && slashed % 8 == 0; // most tasks go on
        uint128 available = isFinal ? t.locked : t.escrow / 4;
        round += 1;
        uint128 paid;
        uint128 share = available / 6;
        for (uint256 i; i < 6; ++i) {
            pay[i] = share == 0 ? 0 : pay[i] % share;
            paid += pay[i];
            uint128 sum = uint128(earned[nodes[i]]) + pay[i];
            cumulatives[round].push(sum);
            leaves[round].push(_leaf(nodes[i], sum));
        }
        (bytes32 root,) = _prove(leaves[round], 0);
        IArena.Certificate memory c =
            _certificate(round, paid, isFinal ? 0 : locked % (available + 1), root);
        c.isFinal = isFinal;
        bool isPaused = _isPaused();
        if (slashed % 3 == 0) {
            address node = nodes[slashed % 6];
            uint128 amount = uint128(slashed) * 5;
            _expectSlash(node, amount);
            _settle(c, _slashes(node, amount, bytes32(++evidence)));
        } else {
            _settle(c);
        }
        for (uint256 i; i < 6; ++i) {
            earned[nodes[i]] = cumulatives[round][i];
        }
        if (isPaused) isPauseBroken = true;
    }

    /// Everybody claims from the last root; who cannot is left out.
    function claimAll() external {
        for (uint256 i; i < 6; ++i) {
            try this.claim(i, round - 1) {} catch {}
        }
    }

    function claim(uint256 who, uint32 which) external {
        if (round == 0) return;
        which = which % round + 1;
        who = who % 6;
        (, bytes32[] memory proof) = _prove(leaves[which], who);
        bool isPaused = _isPaused();
        received[nodes[who]] +=
            arena.claim(task, which, nodes[who], cumulatives[which][who], proof);
        if (isPaused) isPauseBroken = true;
    }

    function verdict(uint256 who, uint128 amount, uint256 which) external {
        address node = nodes[who % 6];
        which = which % 8;
        bool isPaused = _isPaused();
        bool wasUsed = isUsed[which * 6 + who % 6];
        _expectSlash(node, amount % 2000);
        _verdict(_slashes(node, amount % 2000, bytes32(type(uint256).max - which)));
        _true(!wasUsed, "evidence counts once");
        isUsed[which * 6 + who % 6] = true;
        if (isPaused) isPauseBroken = true;
    }

    function contradict(uint256 who, uint32 attempt) external {
        who = who % 4;
        IArena.Certificate memory first = _certificate(1, 1, 0, 0);
        IArena.Certificate memory second = _certificate(1, 2, 0, 0);
        first.attempt = second.attempt = attempt % 3;
        _expectSlash(committee[who], uint128((staked[committee[who]] + 1) / 2));
        arena.proveEquivocation(
            first,
            _signLong(keys[who], arena.computeDigest(first)),
            second,
            _signLong(keys[who], arena.computeDigest(second))
        );
    }

    function pause(uint32 time, uint8 chance) external {
        if (chance % 4 != 0) return;
        _order(IArena.Action.Pause, uint40(block.timestamp + 1 + time % 3 days));
    }

    function resume() external {
        _order(IArena.Action.Resume, 0);
    }

    function stop(uint8 chance) external {
        if (chance % 32 == 0) _order(IArena.Action.Stop, 0);
    }

    function hold(uint256 who, uint32 which, uint8 chance) external {
        if (chance % 4 != 0 || round == 0) return;
        which = which % round + 1;
        vm.prank(judge);
        arena.hold(task, nodes[who % 6], which);
        held.push(Held(nodes[who % 6], which));
    }

    function release(uint256 which, uint8 disable) external {
        if (held.length == 0) return;
        Held memory item = held[which % held.length];
        held[which % held.length] = held[held.length - 1];
        held.pop();
        vm.prank(judge);
        arena.release(task, item.member, item.round, disable % 4 == 0);
    }

    function expire() external {
        arena.expire(task);
    }

    function withdrawStake(uint256 who) external {
        staked[nodes[who % 6]] -= arena.withdrawStake(task, nodes[who % 6]);
    }

    function undelegate(uint256 who, uint256 node) external {
        vm.prank(lenders[who % 3]);
        lentTo[nodes[node % 6]] -= arena.undelegate(task, nodes[node % 6]);
    }

    function refund(uint256 who) external {
        vm.prank(payers[who % 2]);
        arena.refund(task);
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + time % 12 days);
    }

    // ---- what must hold

    function checkBooks() external view {
        _checkBooks(nodes, nodes);
    }

    function checkClaims() external view {
        IArena.Task memory t = arena.getTask(task);
        uint256 all;
        for (uint256 i; i < 6; ++i) {
            uint256 most = earned[nodes[i]];
            if (t.bonus != 0) most += uint256(t.bonus) * most / t.paid;
            _true(received[nodes[i]] <= most, "paid once");
            all += received[nodes[i]];
        }
        _equal(all + t.unclaimed, uint256(t.paid) + t.bonus, "certified is claimed or unclaimed");
    }

    function checkStakes() external view {
        for (uint256 i; i < 6; ++i) {
            _equal(arena.getMember(task, nodes[i]).stake, staked[nodes[i]], "stake");
            _equal(arena.getDelegated(task, nodes[i]), lentTo[nodes[i]], "delegations");
        }
    }

    function _expectSlash(address node, uint128 amount) private {
        uint256 stakeBefore = staked[node];
        if (amount > stakeBefore) amount = uint128(stakeBefore);
        if (amount == 0) return;
        lentTo[node] -= lentTo[node] * amount * 500_000 / (stakeBefore * 1_000_000);
        staked[node] -= amount;
    }

    function _isPaused() private view returns (bool) {
        IArena.Task memory t = arena.getTask(task);
        bool isUnsettled =
            t.status == IArena.Status.Running || t.status == IArena.Status.Stopped;
        return isUnsettled && block.timestamp < t.pausedUntil;
    }
}
