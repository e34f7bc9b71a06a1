// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {Fixture} from "./Fixture.sol";
import {IArena} from "../src/IArena.sol";
import {Tasks} from "../src/arena/Tasks.sol";

contract TasksTest is Fixture {
    address private constant PATRON = address(0xFA7);

    function test_aTaskKeepsItsTerms() public view {
        _true(keccak256(abi.encode(arena.getTerms(task))) == keccak256(abi.encode(_terms())), "terms");
        IArena.Task memory t = arena.getTask(task);
        _true(t.status == IArena.Status.Open && t.owner == customer, "open");
        _true(task == arena.computeTaskId(customer, DOCUMENT), "id");
        _true(task == keccak256(abi.encode(customer, DOCUMENT)), "id as documented");
        _true(arena.arbiter() == judge, "arbiter");
    }

    function test_anIdIsItsOwnersAndCountsOnce() public {
        IArena.Terms memory t = _terms();
        vm.prank(customer);
        vm.expectRevert(abi.encodeWithSelector(IArena.TaskExists.selector, task));
        arena.createTask(t);
        vm.prank(PATRON);
        _true(arena.createTask(t) != task, "another owner has another id");
    }

    function test_badTermsAreRefusedByName() public {
        IArena.Terms memory t = _terms();
        t.document = 0;
        _refuses(t, "document");
        t = _terms();
        t.token = address(0xBAD);
        _refuses(t, "token");
        t = _terms();
        t.endsAt = uint40(block.timestamp);
        t.sigmaFreeze = 0;
        _refuses(t, "endsAt");
        t.endsAt = uint40(block.timestamp + 59);
        _refuses(t, "endsAt");
        t.endsAt = uint40(block.timestamp + 731 days);
        _refuses(t, "endsAt");
        t = _terms();
        t.grace = 91 days;
        _refuses(t, "grace");
        t = _terms();
        t.activationDelay = 15 days;
        _refuses(t, "activationDelay");
        t = _terms();
        t.coolDown = 91 days;
        _refuses(t, "coolDown");
        t = _terms();
        t.sigmaFreeze = 31 days;
        _refuses(t, "sigmaFreeze");
        t = _terms();
        t.sigmaMin = t.sigmaMax + 1;
        _refuses(t, "sigmaMax");
        t = _terms();
        t.sigmaMax = 1_000_001;
        _refuses(t, "sigmaMax");
        t = _terms();
        t.slash = 1_000_001;
        _refuses(t, "slash");
        t = _terms();
        t.delegationSlash = 1_000_001;
        _refuses(t, "delegationSlash");
    }

    function test_guardiansAreAscendingAndEnough() public {
        IArena.Terms memory t = _terms();
        t.guardiansRequired = 4;
        _refuses(t, "guardiansRequired");
        t.guardiansRequired = 0;
        _refuses(t, "guardiansRequired");
        t.guardians = new address[](0);
        t.guardiansRequired = 1;
        _refuses(t, "guardiansRequired");
        t = _terms();
        t.guardians = new address[](2); // nobody, twice
        _refuses(t, "guardians");
        (, t.guardians) = _people(17, 1);
        _refuses(t, "guardians");
        t = _terms();
        (t.guardians[0], t.guardians[1]) = (t.guardians[1], t.guardians[0]);
        _refuses(t, "guardians");
        (, t.guardians) = _people(16, 1);
        t.document = "another";
        t.guardiansRequired = 16;
        _create(t);
    }

    function test_onlyTheOwnerBoundsNewTasks() public {
        Tasks.Bounds memory b = arena.getBounds();
        b.graceMin = 4 days;
        vm.expectRevert(
            abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, address(this))
        );
        arena.setBounds(b);
        vm.expectEmit(address(arena));
        emit Tasks.BoundsSet(b);
        vm.prank(timelock);
        arena.setBounds(b);
        _equal(arena.getBounds().graceMin, 4 days, "bounds");
        _equal(arena.getTerms(task).grace, 3 days, "an existing task keeps its terms");
        IArena.Terms memory t = _terms();
        t.document = "another";
        _refuses(t, "grace");
    }

    function test_theOwnersBoundsHaveLimits() public {
        Tasks.Bounds memory b = arena.getBounds();
        b.coolDownMax = 366 days;
        _refusesBounds(b, "coolDown");
        b = arena.getBounds();
        b.activationDelayMax = 31 days;
        _refusesBounds(b, "activationDelay");
        b = arena.getBounds();
        b.graceMin = 91 days;
        _refusesBounds(b, "grace");
        b = arena.getBounds();
        b.durationMax = 3651 days;
        _refusesBounds(b, "endsAt");
    }

    function test_ownershipMovesInTwoSteps() public {
        vm.prank(timelock);
        arena.transferOwnership(PATRON);
        _true(arena.owner() == timelock, "not yet");
        vm.prank(PATRON);
        arena.acceptOwnership();
        _true(arena.owner() == PATRON, "accepted");
    }

    function test_anybodyFundsAnOpenOrRunningTask() public {
        _give(PATRON, 5);
        vm.expectEmit(address(arena));
        emit IArena.Funded(task, PATRON, 5);
        vm.prank(PATRON);
        arena.fund(task, 5);
        _run(10);
        _fund(PATRON, 2);
        _equal(arena.getTask(task).escrow, 17, "escrow");
        _equal(arena.getTask(task).contributed, 17, "contributed");
        _equal(arena.getContribution(task, PATRON), 7, "contribution");
        vm.expectRevert(IArena.AmountZero.selector);
        arena.fund(task, 0);
        _settleEnd(1, 0, 0);
        _wrongStatus(task, IArena.Status.Closed);
        arena.fund(task, 1);
        _wrongStatus("none", IArena.Status.None);
        arena.fund("none", 1);
    }

    function test_onlyTheOwnerStarts() public {
        vm.expectRevert(abi.encodeWithSelector(IArena.NotOwner.selector, customer));
        arena.start(task, committee);
    }

    function test_theCommitteeIsStakedValidatorsAscending() public {
        _stake(trainer, IArena.Role.Trainer, 500);
        _badStart(new address[](0));
        _badStart(new address[](129));
        _badStart(committee); // not staked
        for (uint256 i; i < 4; ++i) {
            _stake(committee[i], IArena.Role.Validator, 100);
        }
        address[] memory twice = new address[](2);
        (twice[0], twice[1]) = (committee[0], committee[0]);
        _badStart(twice);
        (twice[0], twice[1]) = (committee[1], committee[0]);
        _badStart(twice);
        address[] memory one = new address[](1);
        one[0] = trainer;
        _badStart(one);
        vm.prank(committee[3]);
        arena.unstake(task);
        _badStart(committee);
        one[0] = committee[0];
        vm.expectEmit(address(arena));
        emit IArena.Started(task, one);
        vm.prank(customer);
        arena.start(task, one);
        _wrongStatus(task, IArena.Status.Running);
        vm.prank(customer);
        arena.start(task, one);
    }

    function test_nobodyStartsAfterTheEnd() public {
        uint40 endsAt = arena.getTerms(task).endsAt;
        vm.warp(endsAt + 1);
        vm.expectRevert(abi.encodeWithSelector(IArena.Expired.selector, endsAt));
        vm.prank(customer);
        arena.start(task, committee);
    }

    function test_aCancelledTaskGivesEverythingBackAtOnce() public {
        _fund(customer, 100);
        _stake(committee[0], IArena.Role.Validator, 100);
        _stake(trainer, IArena.Role.Trainer, 50);
        vm.prank(trainer);
        arena.unstake(task);
        _delegate(PATRON, committee[0], 30);
        vm.expectRevert(abi.encodeWithSelector(IArena.NotOwner.selector, customer));
        arena.cancel(task);
        vm.prank(customer);
        arena.cancel(task);
        arena.withdrawStake(task, committee[0]);
        arena.withdrawStake(task, trainer);
        vm.prank(PATRON);
        arena.undelegate(task, committee[0]);
        vm.prank(customer);
        _equal(arena.refund(task), 100, "refund");
        _equal(credit.balanceOf(address(arena)), 0, "nothing left");
        _wrongStatus(task, IArena.Status.Cancelled);
        vm.prank(customer);
        arena.cancel(task);
    }

    function test_aTaskExpiresAfterItsGrace() public {
        _run(100);
        uint256 from = uint256(arena.getTerms(task).endsAt) + 3 days + 1;
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IArena.TooEarly.selector, from));
        arena.expire(task);
        vm.warp(from);
        arena.expire(task);
        _true(arena.getTask(task).status == IArena.Status.Expired, "expired");
        _wrongStatus(task, IArena.Status.Expired);
        arena.expire(task);
    }

    function test_aStoppedTaskExpiresAfterItsGrace() public {
        _run(100);
        _order(IArena.Action.Stop, 0);
        uint256 from = block.timestamp + 3 days + 1;
        vm.expectRevert(abi.encodeWithSelector(IArena.TooEarly.selector, from));
        arena.expire(task);
        vm.warp(from);
        arena.expire(task);
        _true(arena.getTask(task).status == IArena.Status.Expired, "expired");
    }

    function test_anAbsentOwnerKeepsNobodysMoney() public {
        _stake(trainer, IArena.Role.Trainer, 50);
        vm.warp(uint256(arena.getTerms(task).endsAt) + 3 days + 1);
        arena.expire(task);
        _true(arena.getTask(task).status == IArena.Status.Cancelled, "cancelled");
        arena.withdrawStake(task, trainer);
    }

    function test_payersShareTheRestAndTheLastGetsTheExactRest() public {
        _fund(PATRON, 50);
        _run(100);
        _pay(1, trainer, 51, 51, 0);
        _settleEnd(2, 0, 0);
        _wrongRefund();
        vm.expectEmit(address(arena));
        emit IArena.Refunded(task, PATRON, 33);
        vm.prank(PATRON);
        _equal(arena.refund(task), 33, "99 * 50 / 150");
        vm.prank(customer);
        _equal(arena.refund(task), 66, "the exact rest");
        _equal(arena.getTask(task).escrow, 0, "escrow");
        _equal(arena.getTask(task).contributed, 0, "contributed");
    }

    function test_nobodyIsRefundedBeforeTheEnd() public {
        _run(100);
        _wrongStatus(task, IArena.Status.Running);
        vm.prank(customer);
        arena.refund(task);
        _order(IArena.Action.Stop, 0);
        _wrongStatus(task, IArena.Status.Stopped);
        vm.prank(customer);
        arena.refund(task);
    }

    /// Whoever asks first: together the payers get exactly what was not spent.
    function testFuzz_refundsAddUp(uint64[5] calldata given, uint64 spent, uint8 first) public {
        uint256 sum;
        for (uint256 i; i < 5; ++i) {
            _fund(address(uint160(0x900 + i)), uint128(given[i]) + 1);
            sum += uint256(given[i]) + 1;
        }
        _run(0);
        uint128 paid = uint128(spent % sum);
        _pay(1, trainer, paid, paid, 0);
        _settleEnd(2, 0, 0);
        uint256 refunded;
        for (uint256 i; i < 5; ++i) {
            vm.prank(address(uint160(0x900 + (i + first) % 5)));
            refunded += arena.refund(task);
        }
        _equal(refunded, sum - paid, "refunds");
        _equal(arena.getTask(task).escrow, 0, "escrow");
    }

    function _refuses(IArena.Terms memory t, string memory field) private {
        if (t.document == DOCUMENT) t.document = "another";
        vm.prank(customer);
        vm.expectRevert(abi.encodeWithSelector(IArena.BadTerms.selector, field));
        arena.createTask(t);
    }

    function _refusesBounds(Tasks.Bounds memory b, string memory field) private {
        vm.prank(timelock);
        vm.expectRevert(abi.encodeWithSelector(IArena.BadTerms.selector, field));
        arena.setBounds(b);
    }

    function _badStart(address[] memory members) private {
        vm.prank(customer);
        vm.expectRevert(IArena.BadCommittee.selector);
        arena.start(task, members);
    }

    function _wrongStatus(bytes32 id, IArena.Status status) private {
        vm.expectRevert(abi.encodeWithSelector(IArena.WrongStatus.selector, id, status));
    }

    function _wrongRefund() private {
        vm.prank(trainer);
        vm.expectRevert(IArena.NothingToWithdraw.selector);
        arena.refund(task);
    }
}
