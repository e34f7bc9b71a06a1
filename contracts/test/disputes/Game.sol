// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Disputes} from "../../src/Disputes.sol";
import {IArena} from "../../src/IArena.sol";
import {IDisputes} from "../../src/IDisputes.sol";
import {TraceTrees} from "../../src/TraceTrees.sol";
import {MockArena} from "./MockArena.sol";
import {Tree} from "./Tree.sol";
import {Checks} from "./Vm.sol";

/// A task with one certified submission, and both parties' traces of it.
///
/// The state after iteration i has digest `honest(i)`; a liar's trace has other ones from `forged` on.
abstract contract Game is Checks {
    using Tree for Tree.Levels;

    bytes32 internal constant TASK = keccak256("task");
    bytes32 internal constant DOCUMENT = sha256("document");
    bytes32 internal constant MEMBER = sha256("member");
    uint32 internal constant ROUND = 7;
    uint256 internal constant COMMITTEE = 4;
    uint128 internal constant STAKE = 1_000_000;
    uint24 internal constant SLASH = 250_000;
    address internal constant ACCUSED = address(0xACC0);
    address internal constant ACCUSER = address(0xBEEF);

    Disputes internal disputes;
    MockArena internal arena;
    mapping(bytes32 => IDisputes.Case) internal cases;
    uint64 internal opened;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        arena = new MockArena(computeNext(2));
        disputes = new Disputes(IArena(address(arena)), address(this));
        check(uint160(arena.arbiter()), uint160(address(disputes)), "arbiter");
        arena.setTask(TASK, DOCUMENT, address(0), SLASH, STAKE, committee());
        arena.setMember(TASK, ACCUSED, IArena.Role.Trainer, 2 * STAKE);
        vm.deal(ACCUSER, 1 ether);
    }

    /// The address of this contract's contract with this nonce (below 128).
    function computeNext(uint8 nonce) internal view returns (address) {
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"d694", address(this), nonce)))));
    }

    // ---- people

    function juror(uint256 i) internal pure returns (address) {
        return vm.addr(1000 + i);
    }

    function committee() internal pure returns (address[] memory members) {
        members = new address[](COMMITTEE);
        for (uint256 i = 0; i < COMMITTEE; ++i) {
            members[i] = juror(i);
        }
    }

    function sign(uint256 from, uint256 to, bytes32 digest) internal pure returns (uint256 signers, bytes memory all) {
        for (uint256 i = from; i < to; ++i) {
            signers |= 1 << i;
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(1000 + i, digest);
            all = bytes.concat(all, r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
        }
    }

    // ---- traces

    function honest(uint256 i) internal pure returns (bytes32) {
        return sha256(abi.encode("state", i));
    }

    function digestAt(uint256 forged, uint256 i) internal pure returns (bytes32) {
        return i < forged ? honest(i) : sha256(abi.encode("forged", forged, i));
    }

    function leaf(IDisputes.Submission calldata s, uint256 i, uint256 iteration, bytes32 digest) external pure returns (bytes32) {
        return TraceTrees.hashTraceLeaf(s, i, iteration, digest);
    }

    function coarse(IDisputes.Submission memory s, uint256 forged) internal view returns (Tree.Levels memory) {
        uint256 size = (s.iterations + s.every - 1) / s.every + 1;
        bytes32[] memory leaves = new bytes32[](size);
        bytes32[] memory digests = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            uint256 iteration = i * s.every < s.iterations ? i * s.every : s.iterations;
            digests[i] = digestAt(forged, iteration);
            leaves[i] = this.leaf(s, i, iteration, digests[i]);
        }
        return Tree.build(leaves, digests);
    }

    function fine(IDisputes.Submission memory s, uint256 forged, uint256 segment) internal view returns (Tree.Levels memory) {
        uint256 from = segment * s.every;
        uint256 size = (s.iterations - from < s.every ? s.iterations - from : s.every) + 1;
        bytes32[] memory leaves = new bytes32[](size);
        bytes32[] memory digests = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            digests[i] = digestAt(forged, from + i);
            leaves[i] = this.leaf(s, i, i, digests[i]);
        }
        return Tree.build(leaves, digests);
    }

    function submit(uint64 iterations, uint64 every, uint256 forged) internal view returns (IDisputes.Submission memory s) {
        s = IDisputes.Submission(DOCUMENT, ROUND, 0, MEMBER, ACCUSED, 0, iterations, every);
        s.trace = coarse(s, forged).root();
    }

    // ---- moves

    /// The round has one submission: the leaf is the root.
    function certify(IDisputes.Submission memory s) internal {
        bytes32 root = sha256(abi.encodePacked(bytes1(0), disputes.computeSubmissionLeaf(s)));
        arena.setRound(TASK, ROUND, root, uint40(block.timestamp + 1 hours));
    }

    function place() internal pure returns (IDisputes.Place memory) {
        return IDisputes.Place(0, 1, new bytes32[](0));
    }

    function accuse(IDisputes.Submission memory s, bytes32 claimed) internal returns (bytes32) {
        return accuseAs(ACCUSER, s, claimed);
    }

    function accuseAs(address who, IDisputes.Submission memory s, bytes32 claimed) internal returns (bytes32 id) {
        IDisputes.Case memory c = expectCase(who, s, claimed, disputes.computeBond(TASK, s.account));
        address[] memory members = committee();
        vm.prank(who);
        id = disputes.open{value: c.token == address(0) ? c.bond : 0}(TASK, s, place(), claimed, members);
        remember(id, c);
    }

    function expectCase(address who, IDisputes.Submission memory s, bytes32 claimed, uint128 bond) internal returns (IDisputes.Case memory c) {
        IDisputes.Parameters memory p = disputes.getParameters();
        c = IDisputes.Case({
            task: TASK,
            submission: s,
            accuser: who,
            claimed: claimed,
            token: arena.getTerms(TASK).token,
            bond: bond,
            slash: SLASH,
            jurors: 0,
            answerTime: p.answerTime,
            juryTime: p.juryTime,
            arity: p.arity,
            nonce: ++opened
        });
    }

    /// The id is the case's hash: what moves and decisions are checked against.
    function remember(bytes32 id, IDisputes.Case memory c) internal {
        c.jurors = uint16(disputes.getJurors(TASK).length);
        check(uint256(disputes.computeId(c)), uint256(id), "id");
        cases[id] = c;
    }

    function expire(bytes32 id) internal {
        disputes.expire(cases[id]);
    }

    /// Each party sends a transaction a round, the accused first: an answer, and the next one with it.
    function descend(bytes32 id, Tree.Levels memory accused, Tree.Levels memory accuser) internal {
        IDisputes.Dispute memory d = disputes.getDispute(id);
        IDisputes.Level level = d.level;
        bytes32[] memory none = new bytes32[](0);
        disputes.descend(id, accused.below(d), none, 0, none);
        for (uint8 side = 1; d.level == level; side = 1 - side) {
            IDisputes.Dispute memory ahead = look(d, accused.below(d), accuser.below(d));
            bytes32[] memory next = ahead.height == 0 ? none : (side == 0 ? accused : accuser).below(ahead);
            disputes.descend(id, accused.below(d), accuser.below(d), side, next);
            d = disputes.getDispute(id);
            check(d.rounds, ahead.rounds, "rounds");
            check(d.position, ahead.position, "position");
            check(d.answered, next.length == 0 ? 0 : uint256(1) << side, "answered");
        }
    }

    /// Where these answers lead.
    function look(IDisputes.Dispute memory d, bytes32[] memory accused, bytes32[] memory accuser) internal pure returns (IDisputes.Dispute memory ahead) {
        uint8 down = d.height < d.arity ? d.height : d.arity;
        uint256 first = 0;
        while (accused[first] == accuser[first]) ++first;
        ahead.arity = d.arity;
        ahead.height = d.height - down;
        ahead.position = uint24((uint256(d.position) << down) + first);
        ahead.rounds = d.rounds + 1;
    }

    function refine(bytes32 id, IDisputes.Submission memory s, uint8 side, uint256 forged) internal {
        IDisputes.Refinement memory r = refinement(disputes.getDispute(id), s, forged);
        vm.prank(side == 0 ? s.account : cases[id].accuser);
        disputes.refine(cases[id], side, r, "");
    }

    function refinement(IDisputes.Dispute memory d, IDisputes.Submission memory s, uint256 forged) internal view returns (IDisputes.Refinement memory) {
        Tree.Levels memory wide = coarse(s, forged);
        Tree.Levels memory close = fine(s, forged, d.segment);
        return IDisputes.Refinement({
            digest: wide.digests[d.position],
            agreed: wide.digests[d.position - 1],
            agreedPath: firstOf(wide.path(d.position - 1), d.leftHeight),
            root: close.root(),
            firstPath: close.path(0),
            lastPath: close.path(close.digests.length - 1)
        });
    }

    function firstOf(bytes32[] memory all, uint256 count) internal pure returns (bytes32[] memory some) {
        some = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            some[i] = all[i];
        }
    }

    /// From an accusation to the question: the accused's states are others from `accusedForged` on.
    function play(uint64 iterations, uint64 every, uint256 accusedForged, uint256 accuserForged) internal returns (bytes32 id) {
        IDisputes.Submission memory s = submit(iterations, every, accusedForged);
        certify(s);
        Tree.Levels memory accused = coarse(s, accusedForged);
        Tree.Levels memory accuser = coarse(s, accuserForged);
        id = accuse(s, accuser.root());
        descend(id, accused, accuser);
        if (disputes.getDispute(id).level == IDisputes.Level.Refining) {
            uint256 segment = disputes.getDispute(id).segment;
            refine(id, s, 1, accuserForged);
            refine(id, s, 0, accusedForged);
            (accused, accuser) = (fine(s, accusedForged, segment), fine(s, accuserForged, segment));
            descend(id, accused, accuser);
        }
        check(uint256(disputes.getDispute(id).level), uint256(IDisputes.Level.Jury), "level");
    }

    function judge(bytes32 id, uint8 outcome, bytes32 digest, uint256 from, uint256 to) internal {
        (uint256 signers, bytes memory signatures) = sign(from, to, disputes.computeDigest(id, outcome, digest));
        disputes.judge(cases[id], outcome, digest, signers, signatures);
    }
}
