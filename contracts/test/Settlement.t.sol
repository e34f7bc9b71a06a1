// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {IArena} from "../src/IArena.sol";

contract SettlementTest is Fixture {
    address private constant STRANGER = address(0x57A);

    function setUp() public override {
        super.setUp();
        _run(1000);
    }

    function test_aRoundMovesMoneyFromTheEscrow() public {
        bytes32 root = _leaf(trainer, 60);
        vm.expectEmit(address(arena));
        emit IArena.RoundSettled(
            task, 1, 0, 0, root, 60, 40, uint40(block.timestamp + 1 hours)
        );
        _pay(1, trainer, 60, 60, 40);
        IArena.Task memory t = arena.getTask(task);
        _equal(t.escrow, 900, "escrow");
        _equal(t.locked, 40, "locked");
        _equal(t.unclaimed, 60, "unclaimed");
        _equal(t.paid, 60, "paid");
        _equal(t.round, 1, "round");
        (bytes32 payments, uint40 activeAt, bool isDisabled) = arena.getRoot(task, 1);
        _true(payments == root && activeAt == block.timestamp + 1 hours && !isDisabled, "root");
    }

    function test_aClaimPaysTheAccountWhoeverSends() public {
        _pay(1, trainer, 60, 60, 40);
        vm.warp(block.timestamp + 1 hours);
        vm.prank(STRANGER);
        _equal(_claim(1, trainer, 60), 60, "amount");
        _equal(credit.balanceOf(trainer), 60, "paid to the account");
        _equal(credit.balanceOf(STRANGER), 0, "not to the sender");
        _equal(arena.getClaimed(task, trainer), 60, "claimed");
        vm.expectRevert(IArena.NothingToClaim.selector);
        _claim(1, trainer, 60);
    }

    function test_claimsAreCumulative() public {
        _pay(1, trainer, 60, 60, 0);
        _pay(2, trainer, 100, 40, 0);
        vm.warp(block.timestamp + 1 hours);
        _equal(_claim(1, trainer, 60), 60, "first");
        _equal(_claim(2, trainer, 100), 40, "the rest");
        vm.expectRevert(IArena.NothingToClaim.selector);
        _claim(1, trainer, 60);
    }

    function test_aRootPaysOnlyFromItsActivationOn() public {
        _pay(1, trainer, 60, 60, 0);
        uint256 activeAt = block.timestamp + 1 hours;
        vm.expectRevert(abi.encodeWithSelector(IArena.RootInactive.selector, 1, activeAt));
        _claim(1, trainer, 60);
        vm.warp(activeAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IArena.RootInactive.selector, 1, activeAt));
        _claim(1, trainer, 60);
        vm.expectRevert(abi.encodeWithSelector(IArena.RootInactive.selector, 2, 0));
        _claim(2, trainer, 60);
        vm.warp(activeAt);
        _claim(1, trainer, 60);
    }

    function test_aClaimNeedsItsProof() public {
        bytes32[] memory leaves = new bytes32[](3);
        leaves[0] = _leaf(trainer, 10);
        leaves[1] = _leaf(committee[0], 20);
        leaves[2] = _leaf(committee[1], 30);
        (bytes32 root, bytes32[] memory proof) = _prove(leaves, 1);
        _settle(_certificate(1, 60, 0, root));
        vm.warp(block.timestamp + 1 hours);
        vm.expectRevert(IArena.BadProof.selector);
        arena.claim(task, 1, committee[0], 21, proof);
        vm.expectRevert(IArena.BadProof.selector);
        arena.claim(task, 1, trainer, 20, proof);
        vm.expectRevert(IArena.BadProof.selector);
        arena.claim(task, 1, committee[0], 20, new bytes32[](0));
        _equal(arena.claim(task, 1, committee[0], 20, proof), 20, "amount");
    }

    function test_aRootThatPromisesTooMuchPaysNoOtherTasksMoney() public {
        _pay(1, trainer, 500, 60, 0);
        vm.warp(block.timestamp + 1 hours);
        vm.expectRevert(abi.encodeWithSelector(IArena.Overdrawn.selector, 60, 500));
        _claim(1, trainer, 500);
    }

    function test_theEndPaysOutOfTheLockedPotAndReturnsItsRest() public {
        _pay(1, trainer, 60, 60, 40);
        vm.expectEmit(address(arena));
        emit IArena.FinalSettled(
            task, 2, 0, 0, _leaf(trainer, 90), 30, 10, uint40(block.timestamp + 1 hours)
        );
        vm.expectEmit(address(arena));
        emit IArena.Ended(task, IArena.Status.Closed);
        _settleEnd(2, 30, _leaf(trainer, 90));
        IArena.Task memory t = arena.getTask(task);
        _equal(t.locked, 0, "locked");
        _equal(t.escrow, 910, "escrow");
        _equal(t.unclaimed, 90, "unclaimed");
        _true(t.status == IArena.Status.Closed && t.endedAt == block.timestamp, "closed");
        vm.warp(block.timestamp + 1 hours);
        _equal(_claim(2, trainer, 90), 90, "claim after the end");
        vm.expectRevert(
            abi.encodeWithSelector(IArena.WrongStatus.selector, task, IArena.Status.Closed)
        );
        this.settleAs(_certificate(3, 0, 0, 0));
    }

    function test_aTaskMayEndWithoutARound() public {
        _settleEnd(1, 0, 0);
        _equal(arena.getTask(task).escrow, 1000, "escrow");
    }

    function test_theEndTakesNothingFromTheEscrow() public {
        _pay(1, trainer, 60, 60, 40);
        IArena.Certificate memory c = _certificate(2, 41, 0, 0);
        c.isFinal = true;
        vm.expectRevert(abi.encodeWithSelector(IArena.Overdrawn.selector, 40, 41));
        this.settleAs(c);
        c.paid = 40;
        c.locked = 1;
        vm.expectRevert(abi.encodeWithSelector(IArena.Overdrawn.selector, 0, 1));
        this.settleAs(c);
    }

    function test_aRoundCannotOverdrawTheEscrow() public {
        vm.expectRevert(abi.encodeWithSelector(IArena.Overdrawn.selector, 1000, 1001));
        this.settleAs(_certificate(1, 600, 401, 0));
        uint256 most = uint256(type(uint128).max) * 2;
        vm.expectRevert(abi.encodeWithSelector(IArena.Overdrawn.selector, 1000, most));
        this.settleAs(_certificate(1, type(uint128).max, type(uint128).max, 0));
        _settle(_certificate(1, 600, 400, 0));
    }

    function test_roundsOnlyGoUp() public {
        vm.expectRevert(abi.encodeWithSelector(IArena.RoundNotNext.selector, 0, 0));
        this.settleAs(_certificate(0, 1, 0, 0));
        _settle(_certificate(3, 1, 0, 0)); // rounds that failed leave gaps
        vm.expectRevert(abi.encodeWithSelector(IArena.RoundNotNext.selector, 3, 3));
        this.settleAs(_certificate(3, 1, 0, 0));
        vm.expectRevert(abi.encodeWithSelector(IArena.RoundNotNext.selector, 3, 2));
        this.settleAs(_certificate(2, 1, 0, 0));
    }

    function test_theSlashesMustBeTheCertifiedOnes() public {
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        IArena.Quorum memory quorum = _quorum(arena.computeDigest(c));
        vm.expectRevert(IArena.SlashesDiffer.selector);
        arena.settle(c, _slashes(trainer, 1, "x"), quorum);
    }

    function test_aRoundSlashesAndItsNextCommitteeSignsTheNextOne() public {
        (uint256[] memory nextKeys, address[] memory next) = _people(7, 2000);
        IArena.Certificate memory c = _certificate(1, 10, 0, 0);
        c.nextCommittee = keccak256(abi.encodePacked(next));
        vm.expectEmit(address(arena));
        emit IArena.CommitteeChanged(task, c.nextCommittee);
        _settle(c, _slashes(trainer, 200, "lied"));
        _equal(arena.getMember(task, trainer).stake, 300, "stake");
        _equal(arena.getTask(task).burnt, 200, "burnt");
        _true(arena.getTask(task).committee == c.nextCommittee, "committee");
        vm.expectRevert(IArena.BadCommittee.selector);
        this.settleAs(_certificate(2, 1, 0, 0));
        (keys, committee) = (nextKeys, next);
        _settle(_certificate(2, 1, 0, 0));
    }

    function test_thePackedHashIsOneWordAnAddress() public view {
        bytes memory words;
        for (uint256 i; i < committee.length; ++i) {
            words = bytes.concat(words, bytes12(0), bytes20(committee[i]));
        }
        _true(arena.getTask(task).committee == keccak256(words), "hash");
    }

    function test_anExpiredTaskSharesTheLockedPot() public {
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = _leaf(trainer, 20);
        leaves[1] = _leaf(committee[0], 40);
        (bytes32 root, bytes32[] memory first) = _prove(leaves, 0);
        (, bytes32[] memory second) = _prove(leaves, 1);
        _settle(_certificate(1, 60, 31, root));
        vm.warp(block.timestamp + 1 hours);
        arena.claim(task, 1, trainer, 20, first);
        vm.warp(block.timestamp + 33 days);
        arena.expire(task);
        IArena.Task memory t = arena.getTask(task);
        _equal(t.bonus, 31, "bonus");
        _equal(t.locked, 0, "locked");
        _equal(t.unclaimed, 71, "unclaimed");
        _equal(arena.claim(task, 1, trainer, 20, first), 10, "31 * 20 / 60");
        _equal(arena.claim(task, 1, committee[0], 40, second), 60, "40 + 31 * 40 / 60");
        _equal(arena.getTask(task).unclaimed, 1, "dust stays");
        vm.expectRevert(IArena.NothingToClaim.selector);
        arena.claim(task, 1, trainer, 20, first);
    }

    function test_anExpiredTaskThatCertifiedNothingReturnsTheLockedPot() public {
        _settle(_certificate(1, 0, 31, 0));
        vm.warp(block.timestamp + 34 days);
        arena.expire(task);
        _equal(arena.getTask(task).escrow, 1000, "escrow");
        _equal(arena.getTask(task).bonus, 0, "bonus");
    }

    /// However a budget is certified and the end settled, every unit is somewhere.
    function testFuzz_nothingIsLost(uint128 paid, uint128 locked, uint128 end, uint8 seed) public {
        paid = paid % 600;
        locked = locked % 400;
        end = locked == 0 ? 0 : end % (locked + 1);
        _pay(1, trainer, paid, paid, locked);
        if (seed % 2 == 0) {
            _settleEnd(2, end, _leaf(trainer, paid + end));
        } else {
            vm.warp(block.timestamp + 34 days);
            arena.expire(task);
        }
        vm.warp(block.timestamp + 3 days);
        if (seed % 2 == 0 && paid + end != 0) _claim(2, trainer, paid + end);
        if (seed % 2 == 1 && paid != 0) _claim(1, trainer, paid);
        _equal(arena.getTask(task).unclaimed, 0, "unclaimed");
        vm.prank(customer);
        arena.refund(task);
        _equal(credit.balanceOf(trainer) + credit.balanceOf(customer), 1000, "budget");
        arena.withdrawStake(task, trainer);
        for (uint256 i; i < committee.length; ++i) {
            arena.withdrawStake(task, committee[i]);
        }
        _equal(credit.balanceOf(address(arena)), 0, "arena");
    }

    /// One leaf is paid once, whatever order the claims come in and however often.
    function testFuzz_oneLeafIsPaidOnce(uint32[8] calldata rounds) public {
        uint128 sum;
        for (uint32 i = 1; i <= 3; ++i) {
            sum += i * 10;
            _pay(i, trainer, sum, i * 10, 0);
        }
        vm.warp(block.timestamp + 1 hours);
        uint256 highest;
        for (uint256 i; i < 8; ++i) {
            uint32 round = rounds[i] % 3 + 1;
            uint128 cumulative = 5 * round * (round + 1);
            if (cumulative <= highest) vm.expectRevert(IArena.NothingToClaim.selector);
            else highest = cumulative;
            _claim(round, trainer, cumulative);
        }
        _equal(credit.balanceOf(trainer), highest, "paid");
    }

    function settleAs(IArena.Certificate memory c) external {
        arena.settle(c, new IArena.Slash[](0), _quorum(arena.computeDigest(c)));
    }
}
