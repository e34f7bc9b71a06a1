// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {IArena} from "../src/IArena.sol";

/// Slashes by the committee, contradictions proven on chain, and what the arbiter may do.
contract OffencesTest is Fixture {
    function setUp() public override {
        super.setUp();
        _run(1000);
    }

    // ---- verdicts

    function test_aVerdictBurnsStake() public {
        vm.expectEmit(address(arena));
        emit IArena.Slashed(task, trainer, 200, 0, "e");
        _verdict(_slashes(trainer, 200, "e"));
        _equal(arena.getMember(task, trainer).stake, 300, "stake");
        _equal(arena.getTask(task).burnt, 200, "burnt");
        _equal(arena.getTask(task).escrow, 1000, "escrow");
        _true(arena.isEvidenceUsed(task, trainer, "e"), "used");
        _true(!arena.isEvidenceUsed(task, committee[0], "e"), "against this member only");
    }

    function test_evidenceCountsOnce() public {
        _verdict(_slashes(trainer, 200, "e"));
        IArena.Slash[] memory again = _slashes(trainer, 100, "e");
        IArena.Quorum memory quorum = _quorum(_verdictDigest(again));
        vm.expectRevert(abi.encodeWithSelector(IArena.EvidenceUsed.selector, trainer, bytes32("e")));
        arena.slash(task, again, quorum);
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        c.slashes = keccak256(abi.encode(again));
        quorum = _quorum(arena.computeDigest(c));
        vm.expectRevert(abi.encodeWithSelector(IArena.EvidenceUsed.selector, trainer, bytes32("e")));
        arena.settle(c, again, quorum);
    }

    function test_aSlashTakesAtMostWhatIsLeft() public {
        _verdict(_slashes(trainer, type(uint128).max, "e"));
        _equal(arena.getTask(task).burnt, 500, "all of it");
        _settle(_certificate(1, 1, 0, 0), _slashes(trainer, 200, "f")); // nothing left: no revert
        _settle(_certificate(2, 1, 0, 0), _slashes(address(0x404), 200, "f")); // nor for a stranger
        _equal(arena.getTask(task).burnt, 500, "no more");
    }

    function test_atMost256SlashesATransaction() public {
        IArena.Slash[] memory many = new IArena.Slash[](257);
        IArena.Quorum memory quorum = _quorum(_verdictDigest(many));
        vm.expectRevert(abi.encodeWithSelector(IArena.TooManySlashes.selector, 257, 256));
        arena.slash(task, many, quorum);
    }

    function test_verdictsCountWhileStakeIsThere() public {
        _settleEnd(1, 0, 0);
        _verdict(_slashes(trainer, 200, "after the end"));
        vm.warp(block.timestamp + 2 days);
        _equal(arena.withdrawStake(task, trainer), 300, "the rest");
    }

    function test_noVerdictBeforeTheStart() public {
        task = _another(false);
        _refusesVerdict(abi.encodeWithSelector(
            IArena.WrongStatus.selector, task, IArena.Status.Open
        ));
        vm.prank(customer);
        arena.cancel(task);
        _refusesVerdict(abi.encodeWithSelector(
            IArena.WrongStatus.selector, task, IArena.Status.Cancelled
        ));
    }

    function test_slashedStakeMayGoBackToTheTask() public {
        task = _another(true);
        for (uint256 i; i < 4; ++i) {
            _give(committee[i], 100);
            vm.prank(committee[i]);
            arena.stake(task, IArena.Role.Validator, 100, "another", 0, "");
        }
        _fund(customer, 10);
        vm.prank(customer);
        arena.start(task, committee);
        _verdict(_slashes(committee[0], 40, "e"));
        _equal(arena.getTask(task).escrow, 50, "to the escrow");
        _settleEnd(1, 0, 0);
        vm.prank(customer);
        _equal(arena.refund(task), 50, "refund");
        _verdict(_slashes(committee[0], 40, "f"));
        _equal(arena.getTask(task).burnt, 40, "nobody is left to be refunded");
        _equal(arena.getTask(task).escrow, 0, "escrow");
    }

    // ---- contradictions

    function test_twoCertificatesOfOneAttemptCostStake() public {
        vm.expectEmit(address(arena));
        emit IArena.Equivocated(task, committee[0], 5, 0);
        _contradict(0, 0, 1, 2);
        _equal(arena.getMember(task, committee[0]).stake, 500, "half of 1000");
        vm.expectPartialRevert(IArena.EvidenceUsed.selector);
        this.contradict(0, 0, 1, 3);
        _contradict(0, 1, 1, 2); // another attempt is another offence
        _contradict(1, 0, 1, 2); // and so is another validator's
    }

    function test_theCostIsRoundedUp() public {
        _verdict(_slashes(committee[0], 1, "odd"));
        _contradict(0, 0, 1, 2);
        _equal(arena.getMember(task, committee[0]).stake, 499, "999 - 500");
    }

    function test_aContradictionIsOneOnly() public {
        vm.expectRevert(IArena.NoContradiction.selector);
        this.contradict(0, 0, 1, 1); // the same certificate
        IArena.Certificate memory first = _certificate(5, 1, 0, 0);
        IArena.Certificate memory second = _certificate(6, 2, 0, 0);
        _noContradiction(first, second, keys[0]); // other rounds
        second.round = 5;
        second.attempt = 1;
        _noContradiction(first, second, keys[0]); // other attempts
        second.attempt = 0;
        second.task = "another";
        _noContradiction(first, second, keys[0]); // other tasks
        second.task = task;
        bytes memory one = _signLong(keys[0], arena.computeDigest(first));
        bytes memory other = _signLong(keys[1], arena.computeDigest(second));
        vm.expectRevert(IArena.NoContradiction.selector); // two signers
        arena.proveEquivocation(first, one, second, other);
        one = _signLong(42, arena.computeDigest(first));
        other = _signLong(42, arena.computeDigest(second));
        vm.expectRevert(abi.encodeWithSelector(IArena.NotMember.selector, vm.addr(42)));
        arena.proveEquivocation(first, one, second, other);
        vm.expectRevert(abi.encodeWithSelector(IArena.NotMember.selector, address(0)));
        arena.proveEquivocation(first, "", second, ""); // nobody's signatures
    }

    function test_noCommitteeCanUseTheProofUpBeforehand() public {
        bytes32 evidence = keccak256(
            abi.encode(
                keccak256("kumiai.equivocation"), task, committee[0], uint32(5), uint32(0)
            )
        );
        _verdict(_slashes(committee[0], 0, evidence));
        _contradict(0, 0, 1, 2);
        _equal(arena.getMember(task, committee[0]).stake, 500, "slashed all the same");
    }

    // ---- the arbiter

    function test_onlyTheArbiterHoldsReleasesAndConvicts() public {
        bytes memory expected = abi.encodeWithSelector(IArena.NotArbiter.selector, judge);
        vm.expectRevert(expected);
        arena.hold(task, trainer, 1);
        vm.expectRevert(expected);
        arena.release(task, trainer, 1, false);
        vm.expectRevert(expected);
        arena.convict(task, trainer, 1, "e");
    }

    function test_aHoldBlocksItsRootAndLaterOnes() public {
        for (uint32 i = 1; i <= 3; ++i) {
            _pay(i, trainer, i * 10, 10, 0);
        }
        vm.warp(block.timestamp + 1 hours);
        vm.expectEmit(address(arena));
        emit IArena.RootsBlocked(task, 2);
        _hold(trainer, 2);
        vm.expectRevert(abi.encodeWithSelector(IArena.RootIsBlocked.selector, 2, 2));
        _claim(2, trainer, 20);
        vm.expectRevert(abi.encodeWithSelector(IArena.RootIsBlocked.selector, 3, 2));
        _claim(3, trainer, 30);
        _equal(_claim(1, trainer, 10), 10, "an earlier root pays");
        vm.expectEmit(address(arena));
        emit IArena.RootsBlocked(task, 0);
        vm.expectEmit(address(arena));
        emit IArena.RootDisabled(task, 2);
        _release(trainer, 2, true);
        vm.expectPartialRevert(IArena.RootInactive.selector);
        _claim(2, trainer, 20);
        _equal(_claim(3, trainer, 30), 20, "a later root pays");
    }

    function test_theLowestOpenHoldBlocks() public {
        _hold(trainer, 3);
        _hold(committee[0], 2);
        _hold(trainer, 2);
        _hold(trainer, 5);
        _release(committee[0], 2, false);
        _pay(2, trainer, 1, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IArena.RootIsBlocked.selector, 2, 2));
        _claim(2, trainer, 1);
        _release(trainer, 2, false);
        vm.expectRevert(abi.encodeWithSelector(IArena.RootIsBlocked.selector, 3, 3));
        _claim(3, trainer, 1);
        _release(trainer, 3, false);
        _release(trainer, 5, false);
        vm.expectRevert(abi.encodeWithSelector(IArena.NotMember.selector, trainer));
        this.release(trainer, 5);
    }

    function test_atMost16HoldsATask() public {
        for (uint32 i = 1; i <= 16; ++i) {
            _hold(trainer, i);
        }
        vm.prank(judge);
        vm.expectRevert(abi.encodeWithSelector(IArena.StakeHeld.selector, 16));
        arena.hold(task, committee[0], 17);
    }

    function test_whoIsHeldCannotTakeMoneyOut() public {
        address lender = address(0x1E4D);
        _delegate(lender, trainer, 40);
        _hold(trainer, 1);
        _settleEnd(1, 0, 0);
        vm.warp(block.timestamp + 2 days);
        vm.expectRevert(abi.encodeWithSelector(IArena.StakeHeld.selector, 1));
        arena.withdrawStake(task, trainer);
        vm.expectRevert(abi.encodeWithSelector(IArena.StakeHeld.selector, 1));
        vm.prank(lender);
        arena.undelegate(task, trainer);
        vm.expectRevert(abi.encodeWithSelector(IArena.StakeHeld.selector, 1));
        vm.prank(customer);
        arena.refund(task);
        arena.withdrawStake(task, committee[0]); // who is not held may
        _release(trainer, 1, false);
        arena.withdrawStake(task, trainer);
        vm.prank(lender);
        arena.undelegate(task, trainer);
        vm.prank(customer);
        arena.refund(task);
    }

    function test_whatCannotBeHeld() public {
        vm.expectRevert(abi.encodeWithSelector(IArena.NotMember.selector, address(this)));
        vm.prank(judge);
        arena.hold(task, address(this), 1);
        vm.expectRevert(abi.encodeWithSelector(IArena.RoundNotNext.selector, 0, 0));
        vm.prank(judge);
        arena.hold(task, trainer, 0);
        bytes32 other = _another(false);
        vm.expectRevert(
            abi.encodeWithSelector(IArena.WrongStatus.selector, other, IArena.Status.Open)
        );
        vm.prank(judge);
        arena.hold(other, trainer, 1);
    }

    function test_theArbiterConvictsOnceAnEvidence() public {
        _verdict(_slashes(trainer, 0, "dispute")); // the committee cannot use it up
        vm.prank(judge);
        arena.convict(task, trainer, 333_333, "dispute");
        _equal(arena.getMember(task, trainer).stake, 333, "500 - 167, rounded up");
        vm.expectRevert(
            abi.encodeWithSelector(IArena.EvidenceUsed.selector, trainer, bytes32("dispute"))
        );
        vm.prank(judge);
        arena.convict(task, trainer, 1, "dispute");
        vm.expectRevert(abi.encodeWithSelector(IArena.NotMember.selector, address(this)));
        vm.prank(judge);
        arena.convict(task, address(this), 1, "dispute");
        vm.prank(judge);
        arena.convict(task, trainer, type(uint24).max, "more than everything");
        _equal(arena.getMember(task, trainer).stake, 0, "everything");
    }

    // ----

    function contradict(uint256 who, uint32 attempt, uint128 paid, uint128 other) external {
        _contradict(who, attempt, paid, other);
    }

    function release(address member, uint32 round) external {
        _release(member, round, false);
    }

    function _contradict(uint256 who, uint32 attempt, uint128 paid, uint128 other) private {
        IArena.Certificate memory first = _certificate(5, paid, 0, 0);
        IArena.Certificate memory second = _certificate(5, other, 0, 0);
        (first.attempt, second.attempt) = (attempt, attempt);
        arena.proveEquivocation(
            first,
            _signLong(keys[who], arena.computeDigest(first)),
            second,
            _signLong(keys[who], arena.computeDigest(second))
        );
    }

    function _noContradiction(
        IArena.Certificate memory first,
        IArena.Certificate memory second,
        uint256 key
    ) private {
        bytes memory one = _signLong(key, arena.computeDigest(first));
        bytes memory other = _signLong(key, arena.computeDigest(second));
        vm.expectRevert(IArena.NoContradiction.selector);
        arena.proveEquivocation(first, one, second, other);
    }

    function _hold(address member, uint32 round) private {
        vm.prank(judge);
        arena.hold(task, member, round);
    }

    function _release(address member, uint32 round, bool disable) private {
        vm.prank(judge);
        arena.release(task, member, round, disable);
    }

    function _refusesVerdict(bytes memory expected) private {
        IArena.Slash[] memory slashes = _slashes(trainer, 1, "e");
        IArena.Quorum memory quorum = _quorum(_verdictDigest(slashes));
        vm.expectRevert(expected);
        arena.slash(task, slashes, quorum);
    }

    function _another(bool slashToTask) private returns (bytes32) {
        IArena.Terms memory t = _terms();
        t.document = "another";
        t.slashToTask = slashToTask;
        return _create(t);
    }
}
