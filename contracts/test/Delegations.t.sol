// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {IArena} from "../src/IArena.sol";

contract DelegationsTest is Fixture {
    address private constant A = address(0xDE1A);
    address private constant B = address(0xDE1B);

    function test_oneLendsToAMemberAndGetsItBackAfterTheEnd() public {
        _stake(trainer, IArena.Role.Trainer, 10);
        _give(A, 30);
        vm.expectEmit(address(arena));
        emit IArena.Delegated(task, A, trainer, 30);
        vm.prank(A);
        arena.delegate(task, trainer, 30);
        _run(100);
        _delegate(A, trainer, 7);
        _equal(arena.getDelegation(task, trainer, A), 37, "delegation");
        _equal(arena.getDelegated(task, trainer), 37, "delegated");
        _wrongStatus(IArena.Status.Running);
        _undelegate(A);
        _order(IArena.Action.Stop, 0);
        _wrongStatus(IArena.Status.Stopped);
        _undelegate(A);
        _settleEnd(1, 0, 0);
        uint256 from = block.timestamp + 2 days;
        vm.expectRevert(abi.encodeWithSelector(IArena.TooEarly.selector, from));
        _undelegate(A);
        vm.warp(from);
        vm.expectEmit(address(arena));
        emit IArena.Undelegated(task, A, trainer, 37);
        _equal(_undelegate(A), 37, "returned");
        _equal(credit.balanceOf(A), 37, "paid");
        vm.expectRevert(IArena.NothingToWithdraw.selector);
        _undelegate(A);
    }

    function test_withoutDelegationSlashNobodyWaits() public {
        IArena.Terms memory t = _terms();
        t.document = "safe";
        t.delegationSlash = 0;
        task = _create(t);
        _give(trainer, 10);
        vm.prank(trainer);
        arena.stake(task, IArena.Role.Trainer, 10, "safe", 0, "");
        _delegate(A, trainer, 30);
        vm.warp(block.timestamp + 34 days);
        arena.expire(task);
        _equal(_undelegate(A), 30, "at once");
    }

    function test_oneLendsToMembersOnly() public {
        _give(A, 10);
        vm.expectRevert(abi.encodeWithSelector(IArena.NotMember.selector, trainer));
        vm.prank(A);
        arena.delegate(task, trainer, 10);
        _stake(trainer, IArena.Role.Trainer, 10);
        vm.expectRevert(IArena.AmountZero.selector);
        vm.prank(A);
        arena.delegate(task, trainer, 0);
        vm.prank(trainer);
        arena.unstake(task);
        vm.expectRevert(abi.encodeWithSelector(IArena.NotMember.selector, trainer));
        vm.prank(A);
        arena.delegate(task, trainer, 10);
    }

    function test_whenANodeLeavesItsDelegatorsMayToo() public {
        _stake(trainer, IArena.Role.Trainer, 10);
        _delegate(A, trainer, 30);
        _delegate(B, trainer, 20);
        _wrongStatus(IArena.Status.Open);
        _undelegate(A);
        vm.prank(trainer);
        arena.unstake(task);
        _equal(_undelegate(A), 30, "while it waits");
        vm.warp(block.timestamp + 2 days);
        arena.withdrawStake(task, trainer);
        _equal(_undelegate(B), 20, "when it is gone");
    }

    function test_aSlashTakesTheSameFractionFromEveryDelegator() public {
        _run(100);
        _delegate(A, trainer, 300);
        _delegate(B, trainer, 100);
        // 250 of 500 is a half; delegations lose 50 % of that: a quarter
        vm.expectEmit(address(arena));
        emit IArena.Slashed(task, trainer, 250, 100, "e");
        _verdict(_slashes(trainer, 250, "e"));
        _equal(arena.getDelegation(task, trainer, A), 225, "A");
        _equal(arena.getDelegation(task, trainer, B), 75, "B");
        _delegate(A, trainer, 75); // joins at the new price: B's part stays
        _equal(arena.getDelegation(task, trainer, A), 300, "A after joining");
        _equal(arena.getDelegation(task, trainer, B), 75, "B after A joined");
        _equal(arena.getTask(task).burnt, 350, "burnt");
    }

    function test_aPoolThatLostEverythingTakesNobody() public {
        IArena.Terms memory t = _terms();
        t.document = "harsh";
        t.delegationSlash = 1_000_000;
        task = _create(t);
        bytes32 document = "harsh";
        for (uint256 i; i < 4; ++i) {
            _give(committee[i], 100);
            vm.prank(committee[i]);
            arena.stake(task, IArena.Role.Validator, 100, document, 0, "");
        }
        vm.prank(customer);
        arena.start(task, committee);
        _delegate(A, committee[0], 30);
        _verdict(_slashes(committee[0], 1000, "e"));
        _equal(arena.getDelegated(task, committee[0]), 0, "nothing left");
        _equal(arena.getDelegation(task, committee[0], A), 0, "nothing left of A's");
        _give(B, 10);
        vm.expectRevert(abi.encodeWithSelector(IArena.StakeTooSmall.selector, 0, 1));
        vm.prank(B);
        arena.delegate(task, committee[0], 10);
    }

    /// Without a slash every delegator gets exactly what it lent, in any order.
    function testFuzz_exactWithoutASlash(uint96[6] calldata lent, uint8 first) public {
        _run(100);
        for (uint256 i; i < 6; ++i) {
            _delegate(address(uint160(0xD00 + i)), trainer, uint128(lent[i]) + 1);
        }
        _settleEnd(1, 0, 0);
        vm.warp(block.timestamp + 2 days);
        for (uint256 i; i < 6; ++i) {
            uint256 who = (i + first) % 6;
            _equal(_undelegate(address(uint160(0xD00 + who))), uint256(lent[who]) + 1, "exact");
        }
        _equal(arena.getDelegated(task, trainer), 0, "pool");
    }

    /// With slashes all together get exactly the pool, nobody who came after a slash pays for it,
    /// and nobody gets more than it lent: but for less than a unit of rounding an operation of others.
    function testFuzz_slashedPoolsPayOutExactly(
        uint64[4] calldata lent,
        uint16[4] calldata slashed,
        uint8 first
    ) public {
        _run(100);
        uint256 sum;
        for (uint256 i; i < 4; ++i) {
            uint128 amount = uint128(lent[i]) + 1_000_000;
            address who = address(uint160(0xD00 + i));
            _delegate(who, trainer, amount);
            uint256 worth = arena.getDelegation(task, trainer, who);
            _true(worth <= amount && worth + 2 > amount, "joins at its price");
            _verdict(_slashes(trainer, slashed[i] % 100, bytes32(i)));
        }
        sum = arena.getDelegated(task, trainer);
        _settleEnd(1, 0, 0);
        vm.warp(block.timestamp + 2 days);
        uint256 got;
        for (uint256 i; i < 4; ++i) {
            uint256 who = (i + first) % 4;
            uint256 amount = _undelegate(address(uint160(0xD00 + who)));
            _true(amount <= uint256(lent[who]) + 1_000_000 + 8, "never more than was lent");
            got += amount;
        }
        _equal(got, sum, "the pool");
        _equal(arena.getDelegated(task, trainer), 0, "nothing left");
    }

    function _undelegate(address delegator) private returns (uint128) {
        vm.prank(delegator);
        return arena.undelegate(task, trainer);
    }

    function _wrongStatus(IArena.Status status) private {
        vm.expectRevert(abi.encodeWithSelector(IArena.WrongStatus.selector, task, status));
    }
}
