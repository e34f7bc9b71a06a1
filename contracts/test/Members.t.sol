// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {IArena} from "../src/IArena.sol";

contract MembersTest is Fixture {
    uint256 private constant KEY = 777;
    uint256 private constant GATE_KEY = 888;
    address private constant LENDER = address(0x1E4D);
    address private constant OTHER = address(0x0714);

    function test_aMemberStakesAndTopsUp() public {
        _give(trainer, 10);
        vm.expectEmit(address(arena));
        emit IArena.Staked(task, trainer, IArena.Role.Trainer, 10);
        _enter(IArena.Role.Trainer, 10, DOCUMENT);
        _stake(trainer, IArena.Role.Trainer, 1);
        IArena.Member memory m = arena.getMember(task, trainer);
        _equal(m.stake, 11, "stake");
        _equal(m.sigma, 400_000, "sigma starts at its highest");
        _true(m.role == IArena.Role.Trainer && m.exitAt == 0 && m.holds == 0, "member");
    }

    function test_whoMayNotStake() public {
        _give(trainer, 1000);
        vm.expectRevert(abi.encodeWithSelector(IArena.StakeTooSmall.selector, 9, 10));
        _enter(IArena.Role.Trainer, 9, DOCUMENT);
        vm.expectRevert(abi.encodeWithSelector(IArena.StakeTooSmall.selector, 99, 100));
        _enter(IArena.Role.Validator, 99, DOCUMENT);
        vm.expectRevert(IArena.AmountZero.selector);
        _enter(IArena.Role.Trainer, 0, DOCUMENT);
        vm.expectRevert(abi.encodeWithSelector(IArena.WrongDocument.selector, DOCUMENT));
        _enter(IArena.Role.Trainer, 10, "other");
        vm.expectRevert(abi.encodeWithSelector(IArena.OtherRole.selector, IArena.Role.None));
        _enter(IArena.Role.None, 10, DOCUMENT);
        _enter(IArena.Role.Trainer, 10, DOCUMENT);
        vm.expectRevert(abi.encodeWithSelector(IArena.OtherRole.selector, IArena.Role.Trainer));
        _enter(IArena.Role.Validator, 100, DOCUMENT);
    }

    function test_oneJoinsAndTopsUpWhileTheTaskRunsButNotLater() public {
        _run(100);
        _stake(trainer, IArena.Role.Trainer, 1);
        _stake(OTHER, IArena.Role.Validator, 100);
        _order(IArena.Action.Stop, 0);
        _give(trainer, 1);
        vm.expectRevert(
            abi.encodeWithSelector(IArena.WrongStatus.selector, task, IArena.Status.Stopped)
        );
        _enter(IArena.Role.Trainer, 1, DOCUMENT);
    }

    function test_atMost128Validators() public {
        for (uint160 i; i < 128; ++i) {
            _stake(address(0x10000 + i), IArena.Role.Validator, 100);
        }
        _give(trainer, 100);
        vm.expectRevert(IArena.BadCommittee.selector);
        _enter(IArena.Role.Validator, 100, DOCUMENT);
        vm.prank(address(0x10000));
        arena.unstake(task);
        _enter(IArena.Role.Validator, 100, DOCUMENT);
    }

    function test_whereATaskHasAnAdmissionSignerItDecides() public {
        IArena.Terms memory t = _terms();
        t.document = "gated";
        t.admission = vm.addr(GATE_KEY);
        bytes32 gated = _create(t);
        _give(trainer, 100);
        uint40 deadline = uint40(block.timestamp + 1);
        bytes memory good = _admission(GATE_KEY, gated, trainer, IArena.Role.Trainer, deadline);
        address unknown = vm.addr(KEY);
        bytes memory bad = _admission(KEY, gated, trainer, IArena.Role.Trainer, deadline);
        vm.expectRevert(abi.encodeWithSelector(IArena.NotAdmitted.selector, unknown));
        _enterGate(gated, IArena.Role.Trainer, deadline, bad);
        vm.expectPartialRevert(IArena.NotAdmitted.selector); // another role than the one signed
        _enterGate(gated, IArena.Role.Validator, deadline, good);
        vm.expectRevert(abi.encodeWithSelector(IArena.NotAdmitted.selector, 0));
        _enterGate(gated, IArena.Role.Trainer, deadline, "");
        _enterGate(gated, IArena.Role.Trainer, deadline, good);
        vm.warp(deadline + 1);
        _enterGate(gated, IArena.Role.Trainer, 0, ""); // a member adds without being asked again
        _give(OTHER, 10);
        vm.prank(OTHER);
        vm.expectRevert(abi.encodeWithSelector(IArena.Expired.selector, deadline));
        arena.stake(gated, IArena.Role.Trainer, 10, "gated", deadline, good);
    }

    function test_aSponsorPaysForWhoSigned() public {
        address member = vm.addr(KEY);
        uint40 deadline = uint40(block.timestamp + 1 hours);
        bytes memory signature = _enrolment(KEY, member, 20, deadline);
        _give(LENDER, 100);
        vm.prank(LENDER);
        arena.stakeFor(member, task, IArena.Role.Trainer, 20, DOCUMENT, deadline, "", signature);
        _equal(arena.getMember(task, member).stake, 20, "stake");
        _equal(credit.balanceOf(LENDER), 80, "the sponsor paid");
        vm.expectPartialRevert(IArena.EvidenceUsed.selector); // a signature counts once
        vm.prank(LENDER);
        arena.stakeFor(member, task, IArena.Role.Trainer, 20, DOCUMENT, deadline, "", signature);
        vm.expectPartialRevert(IArena.BadSignature.selector); // another amount than the one signed
        vm.prank(LENDER);
        arena.stakeFor(member, task, IArena.Role.Trainer, 21, DOCUMENT, deadline, "", signature);
        vm.expectPartialRevert(IArena.BadSignature.selector);
        vm.prank(LENDER);
        arena.stakeFor(
            address(0), task, IArena.Role.Trainer, 20, DOCUMENT, deadline, "", new bytes(65)
        );
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IArena.Expired.selector, deadline));
        vm.prank(LENDER);
        arena.stakeFor(member, task, IArena.Role.Trainer, 20, DOCUMENT, deadline, "", signature);
        vm.prank(member);
        arena.unstake(task);
        vm.warp(block.timestamp + 2 days);
        arena.withdrawStake(task, member);
        _equal(credit.balanceOf(member), 20, "the stake is the member's");
    }

    function test_whoLeavesBeforeTheStartWaitsForTheCoolDown() public {
        _stake(trainer, IArena.Role.Trainer, 50);
        uint40 exitAt = uint40(block.timestamp + 2 days);
        vm.expectEmit(address(arena));
        emit IArena.Left(task, trainer, exitAt);
        vm.prank(trainer);
        arena.unstake(task);
        vm.expectRevert(abi.encodeWithSelector(IArena.NotMember.selector, trainer));
        vm.prank(trainer);
        arena.unstake(task);
        vm.expectRevert(abi.encodeWithSelector(IArena.TooEarly.selector, exitAt));
        _enter(IArena.Role.Trainer, 1, DOCUMENT);
        vm.expectRevert(abi.encodeWithSelector(IArena.TooEarly.selector, exitAt));
        arena.withdrawStake(task, trainer);
        vm.warp(exitAt);
        vm.expectEmit(address(arena));
        emit IArena.StakeWithdrawn(task, trainer, 50);
        arena.withdrawStake(task, trainer);
        _equal(credit.balanceOf(trainer), 50, "paid");
        _stake(trainer, IArena.Role.Validator, 100); // and may come back, also as another
    }

    function test_nobodyLeavesARunningTask() public {
        _run(100);
        vm.expectRevert(
            abi.encodeWithSelector(IArena.WrongStatus.selector, task, IArena.Status.Running)
        );
        vm.prank(trainer);
        arena.unstake(task);
        vm.expectRevert(
            abi.encodeWithSelector(IArena.WrongStatus.selector, task, IArena.Status.Running)
        );
        arena.withdrawStake(task, trainer);
        _order(IArena.Action.Stop, 0); // a stop is no end
        vm.expectRevert(
            abi.encodeWithSelector(IArena.WrongStatus.selector, task, IArena.Status.Stopped)
        );
        arena.withdrawStake(task, trainer);
    }

    function test_afterTheEndStakeWaitsForTheCoolDown() public {
        _run(100);
        _settleEnd(1, 0, 0);
        uint256 from = block.timestamp + 2 days;
        vm.expectRevert(abi.encodeWithSelector(IArena.TooEarly.selector, from));
        arena.withdrawStake(task, trainer);
        vm.warp(from);
        vm.prank(LENDER); // anybody may send it, the member is paid
        _equal(arena.withdrawStake(task, trainer), 500, "stake");
        _equal(credit.balanceOf(trainer), 500, "paid");
        vm.expectRevert(IArena.NothingToWithdraw.selector);
        arena.withdrawStake(task, trainer);
        _true(arena.getMember(task, trainer).role == IArena.Role.Trainer, "its role is on record");
    }

    function test_sigmaMovesOnceADayWithinItsBounds() public {
        _run(100);
        vm.expectRevert(abi.encodeWithSelector(IArena.SigmaOutside.selector, 100_000, 400_000));
        _sigma(trainer, 99_999);
        vm.expectRevert(abi.encodeWithSelector(IArena.SigmaOutside.selector, 100_000, 400_000));
        _sigma(trainer, 400_001);
        vm.expectRevert(abi.encodeWithSelector(IArena.NotMember.selector, LENDER));
        _sigma(LENDER, 200_000);
        vm.expectEmit(address(arena));
        emit IArena.SigmaSet(task, trainer, 200_000);
        _sigma(trainer, 200_000);
        uint256 from = block.timestamp + 1 days;
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IArena.TooEarly.selector, from));
        _sigma(trainer, 300_000);
        vm.warp(from);
        _sigma(trainer, 300_000);
        _equal(arena.getMember(task, trainer).sigma, 300_000, "sigma");
    }

    function test_sigmaIsFrozenBeforeTheEnd() public {
        _run(100);
        uint256 from = arena.getTerms(task).endsAt - 1 days;
        vm.warp(from);
        vm.expectRevert(abi.encodeWithSelector(IArena.SigmaFrozen.selector, from));
        _sigma(trainer, 200_000);
        vm.warp(from - 1);
        _sigma(trainer, 200_000);
        _settleEnd(1, 0, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IArena.WrongStatus.selector, task, IArena.Status.Closed)
        );
        _sigma(trainer, 300_000);
    }

    function _enter(IArena.Role role, uint128 amount, bytes32 document) private {
        vm.prank(trainer);
        arena.stake(task, role, amount, document, 0, "");
    }

    function _enterGate(bytes32 gated, IArena.Role role, uint40 deadline, bytes memory admission)
        private
    {
        vm.prank(trainer);
        arena.stake(gated, role, 10, "gated", deadline, admission);
    }

    function _sigma(address node, uint24 sigma) private {
        vm.prank(node);
        arena.setSigma(task, sigma);
    }

    function _admission(
        uint256 key,
        bytes32 gated,
        address member,
        IArena.Role role,
        uint40 deadline
    ) private view returns (bytes memory) {
        bytes32 kind =
            keccak256("Admission(bytes32 task,address member,uint8 role,uint40 deadline)");
        return _signLong(key, _typed(keccak256(abi.encode(kind, gated, member, role, deadline))));
    }

    function _enrolment(uint256 key, address member, uint128 amount, uint40 deadline)
        private
        view
        returns (bytes memory)
    {
        bytes32 kind = keccak256(
            "Enrolment(bytes32 task,address member,uint8 role,uint128 amount,bytes32 document,uint40 deadline)"
        );
        bytes32 content = keccak256(
            abi.encode(kind, task, member, IArena.Role.Trainer, amount, DOCUMENT, deadline)
        );
        return _signLong(key, _typed(content));
    }
}
