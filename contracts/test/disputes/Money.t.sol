// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {IArena} from "../../src/IArena.sol";
import {IDisputes} from "../../src/IDisputes.sol";
import {Game} from "./Game.sol";
import {FeeToken, Greedy} from "./Tokens.sol";
import {Tree} from "./Tree.sol";

/// Opening, jury, bonds and parameters.
contract MoneyTest is Game {
    using Tree for Tree.Levels;

    uint256 internal constant NEVER = type(uint256).max;
    bytes32 internal constant CLAIMED = keccak256("another trace");

    function prepare() internal returns (IDisputes.Submission memory s) {
        s = submit(20, 5, 3);
        certify(s);
    }

    // ---- opening

    function test_BondIsAShareOfTheStake() public {
        check(disputes.computeBond(TASK, ACCUSED), 2 * STAKE / 10, "share of the stake");
        arena.setMember(TASK, ACCUSED, IArena.Role.Trainer, 1);
        check(disputes.computeBond(TASK, ACCUSED), STAKE / 10, "share of the least stake");
        disputes.setBondFloor(address(0), STAKE);
        check(disputes.computeBond(TASK, ACCUSED), STAKE, "floor");
    }

    function test_OpenHoldsAndTakesTheBond() public {
        bytes32 id = accuse(prepare(), CLAIMED);
        check(arena.held(TASK, ACCUSED), 1, "held");
        check(address(disputes).balance, cases[id].bond, "bond");
        check(disputes.getOpen(TASK), 1, "open");
        check(cases[id].jurors, COMMITTEE, "jurors");
    }

    function refuse(IDisputes.Submission memory s, bytes32 claimed, uint256 value, bytes memory why) internal {
        vm.prank(ACCUSER);
        vm.expectRevert(why);
        disputes.open{value: value}(TASK, s, place(), claimed, committee());
    }

    function refuse(IDisputes.Submission memory s, bytes memory why) internal {
        refuse(s, CLAIMED, 2 * STAKE / 10, why);
    }

    function test_OpenRefuses() public {
        IDisputes.Submission memory s = prepare();
        refuse(s, CLAIMED, 1, abi.encodeWithSelector(IDisputes.ValueDiffers.selector, 2 * STAKE / 10, 1));
        refuse(s, s.trace, 2 * STAKE / 10, abi.encodeWithSelector(IDisputes.NothingDiffers.selector));
        s.attempt = 1; // any other word than the certified one
        refuse(s, abi.encodeWithSelector(IDisputes.NotCertified.selector));
        s.attempt = 0;
        s.round = ROUND + 1;
        refuse(s, abi.encodeWithSelector(IDisputes.NotCertified.selector));
        s.round = ROUND;
        s.document = CLAIMED;
        refuse(s, abi.encodeWithSelector(IDisputes.WrongTask.selector, DOCUMENT));
        s.document = DOCUMENT;
        vm.warp(block.timestamp + 1 hours);
        refuse(s, abi.encodeWithSelector(IDisputes.WindowClosed.selector, block.timestamp));
    }

    function test_NobodyAccusesItself() public {
        IDisputes.Submission memory s = prepare();
        vm.deal(ACCUSED, 1 ether);
        address[] memory members = committee();
        vm.prank(ACCUSED);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotParty.selector, ACCUSED));
        disputes.open{value: 2 * STAKE / 10}(TASK, s, place(), CLAIMED, members);
    }

    function testFuzz_LengthsAreBounded(uint64 iterations, uint64 every) public {
        IDisputes.Submission memory s = IDisputes.Submission(DOCUMENT, ROUND, 0, MEMBER, ACCUSED, 0, iterations, every);
        certify(s);
        uint256 k = every < iterations ? every : iterations;
        bool isFine = k > 0 && k < 65536 && (uint256(iterations) + k - 1) / k < 65536;
        if (isFine) accuse(s, CLAIMED);
        else refuse(s, abi.encodeWithSelector(IDisputes.BadLength.selector, iterations, every));
    }

    function test_CommitteeMustBeTheTasks() public {
        IDisputes.Submission memory s = prepare();
        address[] memory wrong = new address[](1);
        wrong[0] = juror(0);
        vm.prank(ACCUSER);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadCommittee.selector));
        disputes.open{value: 2 * STAKE / 10}(TASK, s, place(), CLAIMED, wrong);
    }

    function test_OpenDisputesAreBounded() public {
        IDisputes.Submission memory s = prepare();
        for (uint256 i = 0; i < 16; ++i) {
            accuse(s, CLAIMED);
        }
        refuse(s, abi.encodeWithSelector(IDisputes.TooManyDisputes.selector, 16));
    }

    // ---- jury

    function test_QuorumIsOfTheWholeJury() public {
        address[] memory more = new address[](3); // 7 jurors: f = 2, quorum 5
        for (uint256 i = 0; i < 3; ++i) {
            more[i] = juror(COMMITTEE + i);
            arena.setMember(TASK, more[i], IArena.Role.Validator, STAKE);
        }
        // the list begins with whoever was listed first: here those outside of the committee
        disputes.enrol(TASK, more);
        bytes32 id = play(20, 5, 3, NEVER);
        check(cases[id].jurors, 7, "jurors");
        address[] memory list = disputes.getJurors(TASK);
        check(uint160(list[0]), uint160(juror(4)), "first");
        check(uint160(list[3]), uint160(juror(0)), "committee");
        bytes32 digest = disputes.computeDigest(id, 1, honest(3));
        (, bytes memory three) = sign(4, 7, digest);
        (, bytes memory two) = sign(0, 2, digest);
        (, bytes memory one) = sign(0, 1, digest);
        bytes32 h = honest(3);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoQuorum.selector, 4, 5));
        disputes.judge(cases[id], 1, h, 15, bytes.concat(three, one));
        disputes.judge(cases[id], 1, h, 31, bytes.concat(three, two));
        check(disputes.getDispute(id).outcome, 1, "outcome");
    }

    function test_WhoComesLaterDoesNotJudge() public {
        bytes32 id = play(20, 5, 3, NEVER);
        address[] memory more = new address[](1);
        more[0] = juror(COMMITTEE);
        arena.setMember(TASK, more[0], IArena.Role.Validator, STAKE);
        disputes.enrol(TASK, more);
        (uint256 signers, bytes memory all) = sign(2, 5, disputes.computeDigest(id, 1, honest(3)));
        bytes32 h = honest(3);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoQuorum.selector, 2, 3));
        disputes.judge(cases[id], 1, h, signers, all);
    }

    function test_OnlyStakedValidatorsOfATaskThatBegan() public {
        address[] memory one = new address[](1);
        one[0] = ACCUSED;
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotValidator.selector, ACCUSED));
        disputes.enrol(TASK, one);
        one[0] = juror(9);
        arena.setMember(TASK, one[0], IArena.Role.Validator, 0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotValidator.selector, one[0]));
        disputes.enrol(TASK, one);
        arena.setStatus(TASK, IArena.Status.Open);
        vm.expectRevert(abi.encodeWithSelector(IArena.WrongStatus.selector, TASK, IArena.Status.Open));
        disputes.enrol(TASK, one);
    }

    /// A validator that accuses has no seat: neither its vote nor its place counts.
    function test_PartiesDoNotJudge() public {
        IDisputes.Submission memory s = submit(1, 1, 1);
        certify(s);
        Tree.Levels memory mine = coarse(s, NEVER);
        vm.deal(juror(0), 1 ether);
        bytes32 id = accuseAs(juror(0), s, mine.root());
        descend(id, coarse(s, 1), mine);
        bytes32 h = honest(1);
        (uint256 signers, bytes memory all) = sign(0, 3, disputes.computeDigest(id, 1, h));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotParty.selector, juror(0)));
        disputes.judge(cases[id], 1, h, signers, all);
        (signers, all) = sign(1, 2, disputes.computeDigest(id, 1, h)); // of 3 seats
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoQuorum.selector, 1, 2));
        disputes.judge(cases[id], 1, h, signers, all);
        judge(id, 1, h, 1, 3);
    }

    function test_JudgeRefuses() public {
        bytes32 id = play(20, 5, 3, NEVER);
        bytes32 h = honest(3);
        (uint256 signers, bytes memory all) = sign(0, 3, disputes.computeDigest(id, 2, h));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadVerdict.selector, 1));
        disputes.judge(cases[id], 2, h, signers, all); // the digest says who lied
        vm.expectPartialRevert(IDisputes.BadSignature.selector);
        disputes.judge(cases[id], 1, h, signers, all);
        bytes32 digest = disputes.computeDigest(id, 1, h);
        (signers, all) = sign(0, 3, digest);
        vm.expectRevert(); // bits without signatures
        disputes.judge(cases[id], 1, h, 15, all);
        vm.expectPartialRevert(IDisputes.BadSignature.selector);
        disputes.judge(cases[id], 1, h, 14, all); // another juror's
        uint40 deadline = disputes.getDispute(id).deadline + cases[id].juryTime;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooLate.selector, deadline));
        disputes.judge(cases[id], 1, h, signers, all);
        disputes.expire(cases[id]);
        check(disputes.getDispute(id).outcome, 0, "a silent jury shows nothing");
        check(arena.convicted(TASK, ACCUSED), 0, "convicted");
    }

    /// Machines of another class: the bond goes back and nobody is slashed.
    function test_Inconclusive() public {
        bytes32 id = play(20, 5, 3, NEVER);
        judge(id, 0, 0, 1, 4);
        check(disputes.getCredit(address(0), ACCUSER), cases[id].bond, "credit");
        check(arena.convicted(TASK, ACCUSED), 0, "convicted");
        check(arena.held(TASK, ACCUSED), 0, "held");
        check(arena.isDisabled(TASK, ROUND) ? 1 : 0, 0, "disabled");
    }

    /// One lie costs once, however many accused it of that.
    function test_ConvictedOnce() public {
        bytes32 first = play(20, 5, 3, NEVER);
        bytes32 second = play(20, 5, 3, NEVER);
        judge(first, 1, honest(3), 0, 3);
        judge(second, 1, honest(3), 0, 3);
        check(arena.convicted(TASK, ACCUSED), SLASH, "convicted");
        check(disputes.getCredit(address(0), ACCUSER), 2 * cases[first].bond, "credit");
        check(disputes.getOpen(TASK), 0, "open");
    }

    // ---- bonds

    /// What was put down is owed to accusers or burnt, to the unit, whatever the outcomes.
    function testFuzz_BondsAreConserved(uint8[6] calldata ends) public {
        uint256 open;
        for (uint256 i = 0; i < ends.length; ++i) {
            uint8 end = ends[i] % 5;
            bytes32 id = play(4, 2, 1, NEVER);
            if (end == 4) open += cases[id].bond;
            else judge(id, end, end == 0 ? bytes32(0) : end == 1 ? honest(1) : end == 2 ? digestAt(1, 1) : sha256("x"), 0, 3);
        }
        uint256 owed = disputes.getCredit(address(0), ACCUSER);
        check(address(disputes).balance, owed + disputes.getBurnt(address(0)) + open, "conserved");
        if (owed > 0) {
            uint256 before = ACCUSER.balance;
            disputes.withdraw(address(0), ACCUSER); // anyone, for it
            check(ACCUSER.balance, before + owed, "paid");
        }
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NothingToWithdraw.selector));
        disputes.withdraw(address(0), ACCUSER);
        check(address(disputes).balance, disputes.getBurnt(address(0)) + open, "kept");
    }

    function useToken(uint256 fee) internal returns (FeeToken token) {
        token = new FeeToken(fee);
        arena.setTask(TASK, DOCUMENT, address(token), SLASH, STAKE, committee());
        token.mint(ACCUSER, STAKE);
        vm.prank(ACCUSER);
        token.approve(address(disputes), STAKE);
    }

    function test_TokenBond() public {
        FeeToken token = useToken(0);
        IDisputes.Submission memory s = prepare();
        refuse(s, CLAIMED, 1, abi.encodeWithSelector(IDisputes.ValueDiffers.selector, 0, 1));
        bytes32 id = accuse(s, CLAIMED);
        check(token.balanceOf(address(disputes)), 2 * STAKE / 10, "bond");
        vm.warp(disputes.getDispute(id).deadline);
        disputes.expire(cases[id]);
        disputes.withdraw(address(token), ACCUSER);
        check(token.balanceOf(ACCUSER), STAKE, "back");
    }

    function test_TokenWithFeeIsRefused() public {
        useToken(1);
        refuse(prepare(), CLAIMED, 0, abi.encodeWithSelector(IDisputes.TokenAmountDiffers.selector, 2 * STAKE / 10, 2 * STAKE / 10 - 1));
    }

    function test_NoReentrance() public {
        Greedy greedy = new Greedy(disputes);
        IDisputes.Submission memory s = prepare();
        IDisputes.Case memory c = expectCase(address(greedy), s, CLAIMED, 2 * STAKE / 10);
        bytes32 id = greedy.open{value: c.bond}(TASK, s, place(), CLAIMED, committee());
        remember(id, c);
        vm.warp(disputes.getDispute(id).deadline);
        disputes.expire(cases[id]);
        vm.expectRevert();
        disputes.withdraw(address(0), address(greedy));
        check(disputes.getCredit(address(0), address(greedy)), 2 * STAKE / 10, "still owed");
    }

    // ---- parameters

    function test_ParametersAreTheOwners() public {
        IDisputes.Parameters memory p = disputes.getParameters();
        vm.startPrank(ACCUSER);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, ACCUSER));
        disputes.setParameters(p);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, ACCUSER));
        disputes.setBondFloor(address(0), 1);
        vm.stopPrank();
        (p.bondShare, p.arity) = (1_000_001, 4);
        refuseParameters(p, "bondShare");
        (p.bondShare, p.arity) = (1_000_000, 7);
        refuseParameters(p, "arity");
        p.arity = 0;
        refuseParameters(p, "arity");
        (p.arity, p.answerTime) = (6, 59);
        refuseParameters(p, "answerTime");
        (p.answerTime, p.juryTime) = (1 hours, 1 minutes);
        refuseParameters(p, "juryTime");
    }

    function refuseParameters(IDisputes.Parameters memory p, string memory field) internal {
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadParameters.selector, field));
        disputes.setParameters(p);
    }

    /// An open dispute keeps the rules that it was opened with.
    function test_OpenDisputesKeepTheirRules() public {
        bytes32 id = accuse(prepare(), CLAIMED);
        disputes.setParameters(IDisputes.Parameters(1, 1, 1 minutes, 1 minutes));
        IDisputes.Dispute memory d = disputes.getDispute(id);
        check(d.arity, 4, "arity");
        check(d.answerTime, 1 hours, "answerTime");
        check(cases[id].bond, 2 * STAKE / 10, "bond");
    }
}
