// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {IArena} from "../src/IArena.sol";

contract GuardiansTest is Fixture {
    struct Order {
        IArena.Action action;
        uint40 until;
        uint40 deadline;
        string reason;
    }

    function setUp() public override {
        super.setUp();
        _run(1000);
    }

    function test_aPauseStopsSettlementSlashesAndClaims() public {
        _pay(1, trainer, 10, 10, 0);
        vm.warp(block.timestamp + 1 hours);
        uint40 until = uint40(block.timestamp + 5 days);
        address[] memory signers = new address[](2);
        (signers[0], signers[1]) = (guardians[0], guardians[1]);
        vm.expectEmit(address(arena));
        emit IArena.Ordered(task, IArena.Action.Pause, until, "why", signers);
        _order(IArena.Action.Pause, until);
        bytes memory paused = abi.encodeWithSelector(IArena.IsPaused.selector, until);
        vm.expectRevert(paused);
        this.settleAs(_certificate(2, 1, 0, 0));
        IArena.Certificate memory c = _certificate(2, 0, 0, 0);
        c.isFinal = true;
        vm.expectRevert(paused);
        this.settleAs(c);
        IArena.Slash[] memory slashes = _slashes(trainer, 1, "e");
        IArena.Quorum memory quorum = _quorum(_verdictDigest(slashes));
        vm.expectRevert(paused);
        arena.slash(task, slashes, quorum);
        vm.expectRevert(paused);
        _claim(1, trainer, 10);
        vm.warp(until); // a pause ends by itself
        _claim(1, trainer, 10);
        _pay(2, trainer, 20, 10, 0);
    }

    function test_aPauseMayBeResumed() public {
        _order(IArena.Action.Pause, uint40(block.timestamp + 30 days));
        _order(IArena.Action.Resume, 0);
        _pay(1, trainer, 10, 10, 0);
        _equal(arena.getTask(task).orders, 2, "orders");
    }

    function test_aPauseKeepsNoMoneyOfATaskThatEnded() public {
        _pay(1, trainer, 10, 10, 5);
        vm.warp(uint256(arena.getTerms(task).endsAt) + 3 days + 1);
        _order(IArena.Action.Pause, uint40(block.timestamp + 30 days));
        arena.expire(task);
        _equal(_claim(1, trainer, 10), 15, "claim");
        vm.prank(customer);
        _equal(arena.refund(task), 985, "refund");
        vm.warp(block.timestamp + 2 days);
        arena.withdrawStake(task, trainer);
    }

    function test_aStopLeavesOnlyTheEnd() public {
        _pay(1, trainer, 10, 10, 5);
        _order(IArena.Action.Pause, uint40(block.timestamp + 1 hours));
        _order(IArena.Action.Stop, 0); // works while paused
        _true(arena.getTask(task).status == IArena.Status.Stopped, "stopped");
        vm.warp(block.timestamp + 1 hours);
        vm.expectRevert(
            abi.encodeWithSelector(IArena.WrongStatus.selector, task, IArena.Status.Stopped)
        );
        this.settleAs(_certificate(2, 1, 0, 0));
        _claim(1, trainer, 10);
        _settleEnd(2, 5, _leaf(trainer, 15));
        _true(arena.getTask(task).status == IArena.Status.Closed, "closed");
    }

    function test_orderOnlyWhileThereIsSomethingToStop() public {
        _order(IArena.Action.Stop, 0);
        _refuses(
            Order(IArena.Action.Stop, 0, _soon(), ""),
            abi.encodeWithSelector(IArena.WrongStatus.selector, task, IArena.Status.Stopped)
        );
        _settleEnd(1, 0, 0);
        _refuses(
            Order(IArena.Action.Pause, _soon(), _soon(), ""),
            abi.encodeWithSelector(IArena.WrongStatus.selector, task, IArena.Status.Closed)
        );
    }

    function test_ordersHaveTheirForm() public {
        bytes memory bad = abi.encodeWithSelector(IArena.BadOrder.selector, 0);
        uint40 far = uint40(block.timestamp + 30 days + 1);
        _refuses(Order(IArena.Action.Pause, far, _soon(), ""), bad);
        _refuses(Order(IArena.Action.Pause, uint40(block.timestamp), _soon(), ""), bad);
        _refuses(Order(IArena.Action.Resume, _soon(), _soon(), ""), bad);
        _refuses(Order(IArena.Action.Stop, 1, _soon(), ""), bad);
        _refuses(Order(IArena.Action.Stop, 0, uint40(block.timestamp + 7 days + 1), ""), bad);
        _refuses(Order(IArena.Action.Stop, 0, _soon(), string(new bytes(281))), bad);
        uint40 past = uint40(block.timestamp - 1);
        _refuses(
            Order(IArena.Action.Stop, 0, past, ""),
            abi.encodeWithSelector(IArena.Expired.selector, past)
        );
        Order memory o = Order(
            IArena.Action.Stop, 0, uint40(block.timestamp + 7 days), string(new bytes(280))
        );
        _deliver(o, _guardianQuorum(_digest(o, 0), 3));
    }

    function test_anOrderCountsOnce() public {
        Order memory o = Order(IArena.Action.Pause, _soon(), _soon(), "again");
        IArena.Quorum memory quorum = _guardianQuorum(_digest(o, 0), 3);
        _deliver(o, quorum);
        vm.expectPartialRevert(IArena.BadSignature.selector);
        _deliver(o, quorum);
    }

    function test_onlyEnoughGuardiansGiveOrders() public {
        Order memory o = Order(IArena.Action.Stop, 0, _soon(), "");
        bytes32 digest = _digest(o, 0);
        vm.expectRevert(abi.encodeWithSelector(IArena.NoQuorum.selector, 1, 2));
        _deliver(o, _guardianQuorum(digest, 4));
        (uint256[] memory others, address[] memory who) = _people(3, 9000);
        vm.expectRevert(IArena.BadCommittee.selector);
        _deliver(o, _sign(digest, who, others, 7));
        vm.expectPartialRevert(IArena.BadSignature.selector); // strangers' signatures
        _deliver(o, _sign(digest, guardians, others, 7));
        _deliver(o, _guardianQuorum(digest, 7));
    }

    function test_withoutGuardiansNobodyGivesOrders() public {
        IArena.Terms memory t = _terms();
        t.document = "free";
        t.guardians = new address[](0);
        t.guardiansRequired = 0;
        task = _create(t);
        address[] memory one = new address[](1);
        one[0] = committee[0];
        _give(one[0], 100);
        vm.prank(one[0]);
        arena.stake(task, IArena.Role.Validator, 100, "free", 0, "");
        vm.prank(customer);
        arena.start(task, one);
        Order memory o = Order(IArena.Action.Stop, 0, _soon(), "");
        IArena.Quorum memory nobody;
        vm.expectRevert(IArena.BadCommittee.selector);
        _deliver(o, nobody);
    }

    function settleAs(IArena.Certificate memory c) external {
        arena.settle(c, new IArena.Slash[](0), _quorum(arena.computeDigest(c)));
    }

    function _soon() private view returns (uint40) {
        return uint40(block.timestamp + 1 hours);
    }

    function _digest(Order memory o, uint32 nonce) private view returns (bytes32) {
        return _orderDigest(o.action, o.until, nonce, o.deadline, o.reason);
    }

    function _deliver(Order memory o, IArena.Quorum memory quorum) private {
        arena.order(task, o.action, o.until, o.deadline, o.reason, quorum);
    }

    function _refuses(Order memory o, bytes memory expected) private {
        IArena.Quorum memory quorum = _guardianQuorum(_digest(o, arena.getTask(task).orders), 3);
        vm.expectRevert(expected);
        _deliver(o, quorum);
    }
}
