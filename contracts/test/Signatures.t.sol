// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Fixture} from "./Fixture.sol";
import {IArena} from "../src/IArena.sol";

/// Quorums: who counts, and which signatures do not.
contract SignaturesTest is Fixture {
    uint256 private constant ORDER_OF_THE_CURVE =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    function setUp() public override {
        super.setUp();
        _run(1000);
    }

    function test_theDigestIsTheStandards() public view {
        IArena.Certificate memory c = _certificate(1, 2, 3, "payments");
        c.attempt = 4;
        c.isFinal = true;
        (c.body, c.submissions, c.nextCommittee) = ("body", "submissions", "next");
        bytes32 kind = keccak256(
            "Certificate(bytes32 task,uint32 round,uint32 attempt,bool isFinal,bytes32 body,bytes32 submissions,bytes32 payments,uint128 paid,uint128 locked,bytes32 slashes,bytes32 nextCommittee)"
        );
        bytes memory head = abi.encode(kind, task, 1, 4, true, bytes32("body"));
        bytes memory tail = abi.encode(
            bytes32("submissions"), bytes32("payments"), 2, 3, NO_SLASHES, bytes32("next")
        );
        _true(arena.computeDigest(c) == _typed(keccak256(bytes.concat(head, tail))), "digest");
    }

    function test_moreThanTwoThirdsMustSign() public {
        // of n = 4: f = 1, q = 3
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        bytes32 digest = arena.computeDigest(c);
        vm.expectRevert(abi.encodeWithSelector(IArena.NoQuorum.selector, 2, 3));
        _send(c, _sign(digest, committee, keys, 3));
        _send(c, _sign(digest, committee, keys, 14));
    }

    /// The quorum of every size, against the formula in another form.
    function test_quorumsOfEverySize() public {
        for (uint256 n = 1; n <= 128; n += n < 8 ? 1 : 40) {
            IArena.Terms memory t = _terms();
            t.document = bytes32(n);
            task = _create(t);
            (keys, committee) = _people(n, 20_000);
            for (uint256 i; i < n; ++i) {
                _give(committee[i], 100);
                vm.prank(committee[i]);
                arena.stake(task, IArena.Role.Validator, 100, bytes32(n), 0, "");
            }
            vm.prank(customer);
            arena.start(task, committee);
            uint256 required = n; // the fewest of which two quorums share an honest one
            while (2 * (required - 1) > n + (n - 1) / 3) --required;
            IArena.Certificate memory c = _certificate(1, 0, 0, 0);
            bytes32 digest = arena.computeDigest(c);
            vm.expectRevert(
                abi.encodeWithSelector(IArena.NoQuorum.selector, required - 1, required)
            );
            _send(c, _sign(digest, committee, keys, (1 << (required - 1)) - 1));
            _send(c, _sign(digest, committee, keys, (1 << required) - 1));
        }
    }

    function test_theMembersMustBeTheCommittee() public {
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        bytes32 digest = arena.computeDigest(c);
        IArena.Quorum memory quorum = _quorum(digest);
        (quorum.members[0], quorum.members[1]) = (quorum.members[1], quorum.members[0]);
        vm.expectRevert(IArena.BadCommittee.selector);
        _send(c, quorum);
        quorum = _quorum(digest);
        quorum.members = new address[](0);
        vm.expectRevert(IArena.BadCommittee.selector);
        _send(c, quorum);
        quorum = _quorum(digest);
        quorum.signers |= 1 << 4; // a bit beyond the committee
        vm.expectRevert(IArena.BadCommittee.selector);
        _send(c, quorum);
        quorum.signers = 7 | 1 << 255;
        vm.expectRevert(IArena.BadCommittee.selector);
        _send(c, quorum);
    }

    function test_aCertifiedCommitteeThatNamesSomebodyTwiceCannotSettle() public {
        address[] memory twice = new address[](4);
        uint256[] memory itsKeys = new uint256[](4);
        for (uint256 i; i < 4; ++i) {
            (twice[i], itsKeys[i]) = (committee[i / 2], keys[i / 2]);
        }
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        c.nextCommittee = keccak256(abi.encodePacked(twice));
        _settle(c);
        c = _certificate(2, 1, 0, 0);
        bytes32 digest = arena.computeDigest(c);
        vm.expectRevert(IArena.BadCommittee.selector);
        _send(c, _sign(digest, twice, itsKeys, 7));
    }

    function test_signaturesAreExact() public {
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        bytes32 digest = arena.computeDigest(c);
        IArena.Quorum memory quorum = _quorum(digest);
        quorum.signatures = bytes.concat(quorum.signatures, new bytes(64));
        vm.expectRevert(abi.encodeWithSelector(IArena.NoQuorum.selector, 3, 3));
        _send(c, quorum);
        quorum.signatures = new bytes(191);
        vm.expectPartialRevert(IArena.BadSignature.selector);
        _send(c, quorum);
        quorum = _sign(digest, committee, keys, 15);
        quorum.signers = 7; // one signature too many
        vm.expectRevert(abi.encodeWithSelector(IArena.NoQuorum.selector, 3, 3));
        _send(c, quorum);
        quorum = _sign(digest, committee, keys, 7);
        quorum.signers = 14; // signatures of others than it says
        vm.expectRevert(
            abi.encodeWithSelector(IArena.BadSignature.selector, committee[1], committee[0])
        );
        _send(c, quorum);
    }

    /// A second form of a signature (n - s, flipped parity) does not count, long or compact.
    function testFuzz_noMalleableSignatures(uint128 paid) public {
        IArena.Certificate memory first = _certificate(1, paid, 0, 0);
        IArena.Certificate memory second = _certificate(1, paid, 1, 0);
        bytes32 digest = arena.computeDigest(first);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[0], digest);
        _true(uint256(s) <= HALF_ORDER, "the cheat code signs low");
        bytes32 high = bytes32(ORDER_OF_THE_CURVE - uint256(s));
        bytes memory flipped = abi.encodePacked(r, high, v == 27 ? uint8(28) : uint8(27));
        _true(ecrecover(digest, v == 27 ? 28 : 27, r, high) == committee[0], "the chain takes it");
        bytes memory good = _signLong(keys[0], arena.computeDigest(second));
        vm.expectRevert(IArena.NoContradiction.selector);
        arena.proveEquivocation(first, flipped, second, good);
    }

    function test_aSignatureIsOfOneChain() public {
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        IArena.Quorum memory quorum = _quorum(arena.computeDigest(c));
        vm.chainId(999);
        vm.expectPartialRevert(IArena.BadSignature.selector);
        _send(c, quorum);
        vm.chainId(31337);
        _send(c, quorum);
    }

    function test_aSignatureIsOfOneContract() public {
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        bytes32 digest = arena.computeDigest(c);
        arena = _deploy();
        _create(_terms()); // the same id
        _run(1000);
        IArena.Quorum memory quorum = _quorum(digest);
        vm.expectPartialRevert(IArena.BadSignature.selector);
        _send(c, quorum);
    }

    function test_aVerdictIsNoCertificate() public {
        IArena.Slash[] memory slashes = _slashes(trainer, 1, "e");
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        c.slashes = keccak256(abi.encode(slashes));
        IArena.Quorum memory quorum = _quorum(arena.computeDigest(c));
        vm.expectPartialRevert(IArena.BadSignature.selector);
        arena.slash(task, slashes, quorum);
    }

    /// Flipping any bit of a certificate leaves it without a quorum.
    function testFuzz_everyFieldIsSigned(uint8 field, uint8 bit) public {
        IArena.Certificate memory c = _certificate(1, 8, 8, "payments");
        IArena.Quorum memory quorum = _quorum(arena.computeDigest(c));
        bytes32[5] memory hashes =
            [c.body, c.submissions, c.payments, c.nextCommittee, bytes32(0)];
        uint256 which = field % 8;
        if (which < 4) hashes[which] ^= bytes32(uint256(1) << bit);
        (c.body, c.submissions, c.payments, c.nextCommittee) =
            (hashes[0], hashes[1], hashes[2], hashes[3]);
        if (which == 4) c.paid ^= uint128(1) << (bit % 6);
        if (which == 5) c.locked ^= uint128(1) << (bit % 6);
        if (which == 6) c.attempt ^= uint32(1) << (bit % 32);
        if (which == 7) c.round ^= uint32(1) << (bit % 23 + 1);
        vm.expectPartialRevert(IArena.BadSignature.selector);
        _send(c, quorum);
    }

    function _send(IArena.Certificate memory c, IArena.Quorum memory quorum) private {
        arena.settle(c, new IArena.Slash[](0), quorum);
    }
}
