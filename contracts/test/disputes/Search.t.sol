// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Disputes} from "../../src/Disputes.sol";
import {IArena} from "../../src/IArena.sol";
import {IDisputes} from "../../src/IDisputes.sol";
import {Game} from "./Game.sol";
import {Tree} from "./Tree.sol";

/// The search ends at the first iteration that the parties differ in, whatever anybody sends.
contract SearchTest is Game {
    using Tree for Tree.Levels;

    uint256 internal constant NEVER = type(uint256).max;

    function setArity(uint8 arity) internal {
        IDisputes.Parameters memory p = disputes.getParameters();
        p.arity = arity;
        disputes.setParameters(p);
    }

    /// The question is the first differing iteration, and the liar loses, whoever it is.
    function testFuzz_FindsTheFirstDifference(uint64 iterations, uint64 every, uint256 forged, uint8 arity, bool isAccusedLying) public {
        iterations = 1 + iterations % 40;
        every = 1 + every % 12;
        forged = 1 + forged % iterations;
        setArity(1 + arity % 6);
        bytes32 id = play(iterations, every, isAccusedLying ? forged : NEVER, isAccusedLying ? NEVER : forged);
        IDisputes.Dispute memory d = disputes.getDispute(id);
        uint256 within = d.isFine ? d.position - 1 : 0;
        check(uint256(d.segment) * d.every + within, forged - 1, "the last agreed iteration");
        uint256 liar = isAccusedLying ? 0 : 1;
        judge(id, uint8(1 + liar), honest(forged), 0, 3);
        check(disputes.getDispute(id).outcome, 1 + liar, "outcome");
        check(arena.convicted(TASK, ACCUSED), isAccusedLying ? SLASH : 0, "convicted");
    }

    /// No more rounds than the trees' heights allow.
    function testFuzz_RoundsAreBounded(uint64 iterations, uint64 every, uint256 forged) public {
        iterations = 1 + iterations % 60;
        every = 1 + every % 20;
        setArity(2);
        bytes32 id = play(iterations, every, 1 + forged % iterations, NEVER);
        uint256 segments = (iterations + every - 1) / every;
        uint256 longest = every < iterations ? every : iterations;
        check(disputes.getDispute(id).rounds <= countRounds(segments + 1) + (longest > 1 ? countRounds(longest + 1) : 0) ? 1 : 0, 1, "rounds");
    }

    function countRounds(uint256 leaves) internal pure returns (uint256 rounds) {
        for (uint256 reach = 1; reach < leaves; reach *= 4) {
            ++rounds;
        }
    }

    /// A trace that begins in another state is a question too: what the first state is.
    function test_OtherStart() public {
        bytes32 id = play(20, 5, 0, NEVER);
        check(disputes.getDispute(id).position, 0, "the first state is in question");
        judge(id, 1, honest(0), 0, 3);
        check(arena.convicted(TASK, ACCUSED), SLASH, "convicted");
    }

    function test_BothLied() public {
        bytes32 id = play(20, 5, 3, 4);
        judge(id, 3, sha256("what it really is"), 0, 3);
        check(arena.convicted(TASK, ACCUSED), SLASH, "convicted");
        check(disputes.getBurnt(address(0)), cases[id].bond, "burnt");
    }

    /// One transaction may carry both sides' nodes; an answer before the other is kept.
    function test_BothAtOnceAndApart() public {
        IDisputes.Submission memory s = submit(20, 5, 3);
        certify(s);
        Tree.Levels memory accused = coarse(s, 3);
        Tree.Levels memory accuser = coarse(s, NEVER);
        bytes32 id = accuse(s, accuser.root());
        IDisputes.Dispute memory d = disputes.getDispute(id);
        bytes32[] memory none = new bytes32[](0);
        disputes.descend(id, none, accuser.below(d), 0, none);
        disputes.descend(id, accused.below(d), none, 0, none);
        check(disputes.getDispute(id).answered, 3, "both");
        vm.warp(d.deadline);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NobodySilent.selector));
        disputes.expire(cases[id]);
        disputes.descend(id, accused.below(d), accuser.below(d), 0, none);
        check(disputes.getDispute(id).height, 0, "height");
    }

    function test_RefusesWrongNodes() public {
        IDisputes.Submission memory s = submit(60, 2, 3);
        certify(s);
        Tree.Levels memory accused = coarse(s, 3);
        bytes32 id = accuse(s, coarse(s, NEVER).root());
        IDisputes.Dispute memory d = disputes.getDispute(id);
        bytes32[] memory none = new bytes32[](0);
        bytes32[] memory nodes = accused.below(d);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadNodes.selector, 1));
        disputes.descend(id, none, nodes, 0, none);
        nodes[1] = bytes32(uint256(1));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadNodes.selector, 0));
        disputes.descend(id, nodes, none, 0, none);
        bytes32[] memory root = new bytes32[](1); // hashes to itself, one level too high
        root[0] = accused.root();
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadNodes.selector, 0));
        disputes.descend(id, root, none, 0, none);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NothingGiven.selector));
        disputes.descend(id, none, none, 0, none);
        disputes.descend(id, accused.below(d), none, 0, none);
        nodes = accused.below(d);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.Duplicate.selector));
        disputes.descend(id, nodes, none, 0, none);
        vm.warp(d.deadline);
        nodes = coarse(s, NEVER).below(d);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooLate.selector, d.deadline));
        disputes.descend(id, none, nodes, 0, none);
    }

    function toRefining() internal returns (bytes32 id, IDisputes.Submission memory s) {
        s = submit(20, 5, 3);
        certify(s);
        id = accuse(s, coarse(s, NEVER).root());
        descend(id, coarse(s, 3), coarse(s, NEVER));
        check(uint256(disputes.getDispute(id).level), uint256(IDisputes.Level.Refining), "level");
    }

    /// A finer trace begins where both agree and ends in what its party had claimed.
    function test_RefinementIsBound() public {
        (bytes32 id, IDisputes.Submission memory s) = toRefining();
        IDisputes.Dispute memory d = disputes.getDispute(id);
        IDisputes.Refinement memory r = refinement(d, s, 3);
        vm.startPrank(ACCUSED);
        r.digest = honest(5);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadLeaf.selector, 0));
        disputes.refine(cases[id], 0, r, "");
        r = refinement(d, s, 3);
        r.agreed = honest(1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadAgreed.selector));
        disputes.refine(cases[id], 0, r, "");
        r = refinement(d, s, 3);
        r.root = fine(s, NEVER, 0).root();
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadEnds.selector));
        disputes.refine(cases[id], 0, r, "");
        r = refinement(d, s, 3);
        r.agreedPath = new bytes32[](1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.BadAgreed.selector));
        disputes.refine(cases[id], 0, r, "");
        r = refinement(d, s, 3);
        IDisputes.Refinement memory other = refinement(d, s, NEVER);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotParty.selector, ACCUSED));
        disputes.refine(cases[id], 1, other, "");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotParty.selector, ACCUSED));
        disputes.refine(cases[id], 2, r, "");
        disputes.refine(cases[id], 0, r, "");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.Duplicate.selector));
        disputes.refine(cases[id], 0, r, "");
        vm.stopPrank();
    }

    /// A member without coin signs; anyone sends.
    function test_RefineBySignature() public {
        address member = vm.addr(77);
        IDisputes.Submission memory s = submit(20, 5, 3);
        s.account = member;
        arena.setMember(TASK, member, IArena.Role.Trainer, STAKE);
        certify(s);
        bytes32 id = accuse(s, coarse(s, NEVER).root());
        descend(id, coarse(s, 3), coarse(s, NEVER));
        IDisputes.Refinement memory r = refinement(disputes.getDispute(id), s, 3);
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Kumiai Disputes"),
                keccak256("1"),
                block.chainid,
                address(disputes)
            )
        );
        bytes32 word = keccak256(abi.encode(keccak256("Refinement(bytes32 dispute,bytes32 root)"), id, r.root));
        (uint8 v, bytes32 rr, bytes32 ss) = vm.sign(77, keccak256(abi.encodePacked(hex"1901", domain, word)));
        (uint8 v2, bytes32 rr2, bytes32 ss2) = vm.sign(78, keccak256(abi.encodePacked(hex"1901", domain, word)));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotParty.selector, address(this)));
        disputes.refine(cases[id], 0, r, abi.encodePacked(rr2, ss2, v2));
        disputes.refine(cases[id], 0, r, abi.encodePacked(rr, ss, v));
        check(disputes.getDispute(id).answered, 1, "answered");
    }

    /// Who is silent at any level has lost; if both are, nothing is shown.
    function test_Silence() public {
        (bytes32 id, IDisputes.Submission memory s) = toRefining();
        uint40 deadline = disputes.getDispute(id).deadline;
        vm.expectRevert(abi.encodeWithSelector(IDisputes.TooEarly.selector, deadline));
        disputes.expire(cases[id]);
        refine(id, s, 1, NEVER);
        vm.warp(deadline);
        disputes.expire(cases[id]);
        check(disputes.getDispute(id).outcome, 1, "accused was silent");
        check(arena.isDisabled(TASK, ROUND) ? 1 : 0, 1, "disabled");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongLevel.selector, IDisputes.Level.Decided));
        disputes.expire(cases[id]);
    }

    function test_AccuserSilent() public {
        (bytes32 id, IDisputes.Submission memory s) = toRefining();
        refine(id, s, 0, 3);
        vm.warp(disputes.getDispute(id).deadline);
        disputes.expire(cases[id]);
        check(disputes.getDispute(id).outcome, 2, "accuser was silent");
        check(disputes.getCredit(address(0), ACCUSER), 0, "credit");
        check(arena.convicted(TASK, ACCUSED), 0, "convicted");
        check(arena.held(TASK, ACCUSED), 0, "held");
    }

    function test_BothSilent() public {
        (bytes32 id,) = toRefining();
        vm.warp(disputes.getDispute(id).deadline);
        disputes.expire(cases[id]);
        check(disputes.getDispute(id).outcome, 0, "nothing shown");
        check(disputes.getCredit(address(0), ACCUSER), cases[id].bond, "credit");
        check(arena.isDisabled(TASK, ROUND) ? 1 : 0, 0, "disabled");
    }

    function test_EachMoveHasItsLevel() public {
        (bytes32 id,) = toRefining();
        bytes32[] memory none = new bytes32[](0);
        bytes memory wrong = abi.encodeWithSelector(IDisputes.WrongLevel.selector, IDisputes.Level.Refining);
        vm.expectRevert(wrong);
        disputes.descend(id, none, none, 0, none);
        vm.expectRevert(wrong);
        disputes.judge(cases[id], 0, 0, 0, "");
        IDisputes.Case memory c = cases[id];
        c.bond += 1; // another case than was opened
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongLevel.selector, IDisputes.Level.None));
        disputes.expire(c);
    }
}
