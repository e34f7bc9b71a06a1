// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";

import {BlsCommittee} from "../../src/BlsCommittee.sol";
import {HashToG1} from "../../src/bls/HashToG1.sol";
import {IArena} from "../../src/IArena.sol";
import {Fixture} from "../Fixture.sol";
import {Vectors} from "./Vectors.sol";

/// Four validators hand over to a contract that checks one aggregated signature. Signatures are made
/// here by the chain's own precompiles; `Vectors` holds what another implementation makes.
contract BlsCommitteeTest is Fixture {
    bytes private constant SIGN = "KUMIAI-COMMITTEE-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_";
    bytes private constant PROVE = "KUMIAI-POSSESSION-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_";
    uint256 private constant ORDER = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001;

    BlsCommittee private bls;
    uint256[] private secrets;

    function setUp() public override {
        super.setUp();
        _run(1000);
        bls = _deployFor(committee);
        for (uint256 i; i < 4; ++i) {
            secrets.push(uint256(sha256(abi.encodePacked("key ", bytes1(uint8(48 + i))))) % ORDER);
        }
    }

    // ---- against the other implementation

    function test_hashesAsTheOtherImplementation() public view {
        bytes32[4] memory messages =
            [Vectors.MESSAGE_0, Vectors.MESSAGE_1, Vectors.MESSAGE_2, Vectors.MESSAGE_3];
        bytes[4] memory signed =
            [Vectors.SIGNED_0, Vectors.SIGNED_1, Vectors.SIGNED_2, Vectors.SIGNED_3];
        bytes[4] memory proven =
            [Vectors.PROVEN_0, Vectors.PROVEN_1, Vectors.PROVEN_2, Vectors.PROVEN_3];
        for (uint256 i; i < 4; ++i) {
            _same(abi.encode(HashToG1.hash(messages[i], bls.SIGNATURE_TAG())), signed[i]);
            _same(abi.encode(HashToG1.hash(messages[i], bls.PROOF_TAG())), proven[i]);
        }
    }

    function test_signsAsTheOtherImplementation() public view {
        bytes[4] memory theirs = [Vectors.KEY_0, Vectors.KEY_1, Vectors.KEY_2, Vectors.KEY_3];
        for (uint256 i; i < 4; ++i) {
            _same(abi.encode(_key(secrets[i])), theirs[i]);
        }
        _same(abi.encode(_signBls(Vectors.MESSAGE_0, SIGN, secrets[0])), Vectors.BY_0);
        _same(abi.encode(_signBy(Vectors.MESSAGE_0, 15)), Vectors.BY_ALL);
    }

    // ---- who certifies

    function test_everyQuorumSettles() public {
        _handOver();
        uint8[5] memory quorums = [15, 14, 13, 11, 7];
        for (uint32 i; i < 5; ++i) {
            IArena.Certificate memory c = _certificate(2 + i, 3, 1, "root");
            _settleBls(c, quorums[i], _signBy(arena.computeDigest(c), quorums[i]));
            _equal(arena.getTask(task).round, 2 + i, "round");
        }
    }

    function test_twoOfFourAreNoQuorum() public {
        _handOver();
        IArena.Certificate memory c = _certificate(2, 3, 1, "root");
        BLS.G1Point memory signature = _signBy(arena.computeDigest(c), 9);
        vm.expectRevert(abi.encodeWithSelector(BlsCommittee.NoQuorum.selector, 2, 3));
        _settleBls(c, 9, signature);
        vm.expectRevert(BlsCommittee.BadAggregate.selector);
        _settleBls(c, 11, signature); // says that a third one signed
        signature = _signBy(arena.computeDigest(c), 7);
        vm.expectRevert(BlsCommittee.BadAggregate.selector);
        _settleBls(c, 15, signature);
        vm.expectRevert(BlsCommittee.BadSigners.selector);
        _settleBls(c, 7 | 1 << 4, signature);
        vm.expectRevert(BlsCommittee.BadSigners.selector);
        _settleBls(c, 7 | 1 << 255, signature);
    }

    function test_nobodyCountsTwice() public {
        _handOver();
        IArena.Certificate memory c = _certificate(2, 3, 1, "root");
        bytes32 digest = arena.computeDigest(c);
        BLS.G1Point memory twice = BLS.add(_signBy(digest, 3), _signBy(digest, 2));
        vm.expectRevert(BlsCommittee.BadAggregate.selector);
        _settleBls(c, 7, twice);
    }

    function testFuzz_whatIsSignedIsSettled(uint8 field, uint8 bit) public {
        _handOver();
        IArena.Certificate memory c = _certificate(2, 8, 8, "root");
        BLS.G1Point memory signature = _signBy(arena.computeDigest(c), 7);
        if (field % 4 == 0) c.payments ^= bytes32(uint256(1) << bit);
        if (field % 4 == 1) c.paid ^= uint128(1) << (bit % 6);
        if (field % 4 == 2) c.nextCommittee ^= bytes32(uint256(1) << bit);
        if (field % 4 == 3) c.attempt ^= uint32(1) << (bit % 32);
        vm.expectRevert(BlsCommittee.BadAggregate.selector);
        _settleBls(c, 7, signature);
    }

    function test_aSignatureIsOfOneChain() public {
        _handOver();
        IArena.Certificate memory c = _certificate(2, 3, 1, "root");
        BLS.G1Point memory signature = _signBy(arena.computeDigest(c), 7);
        vm.chainId(999);
        vm.expectRevert(BlsCommittee.BadAggregate.selector);
        _settleBls(c, 7, signature);
        vm.chainId(31337);
        _settleBls(c, 7, signature);
    }

    function test_noPointButASignatureCounts() public {
        _handOver();
        IArena.Certificate memory c = _certificate(2, 3, 1, "root");
        BLS.G1Point memory nothing;
        vm.expectRevert(BlsCommittee.BadAggregate.selector);
        _settleBls(c, 15, nothing);
        vm.expectRevert(BLS.PairingFailed.selector); // on the curve, outside the subgroup
        _settleBls(c, 15, abi.decode(Vectors.OUTSIDE_G1, (BLS.G1Point)));
        nothing.x_b = bytes32(uint256(1));
        vm.expectRevert(BLS.PairingFailed.selector); // not on the curve
        _settleBls(c, 15, nothing);
        bytes32 digest = arena.computeDigest(c);
        BLS.G1Point memory proof = _signBls(digest, PROVE, secrets[0] + secrets[1]);
        vm.expectRevert(BlsCommittee.BadAggregate.selector); // the other tag
        _settleBls(c, 15, proof);
    }

    /// Keys of a quorum that cancel out would let everybody sign for it.
    function test_keysThatCancelOutSignNothing() public {
        secrets[3] = ORDER - addmod(secrets[0], addmod(secrets[1], secrets[2], ORDER), ORDER);
        _handOver();
        IArena.Certificate memory c = _certificate(2, 3, 1, "root");
        BLS.G1Point memory nothing;
        vm.expectRevert(BlsCommittee.BadAggregate.selector);
        _settleBls(c, 15, nothing);
        _settleBls(c, 7, _signBy(arena.computeDigest(c), 7));
    }

    function test_slashesByAVerdict() public {
        _handOver();
        IArena.Slash[] memory slashes = _slashes(trainer, 7, "e");
        bytes32 digest = _verdictDigest(slashes);
        BLS.G1Point memory signature = _signBy(digest, 13);
        _true(bls.computeVerdictDigest(task, keccak256(abi.encode(slashes))) == digest, "digest");
        slashes[0].amount = 8;
        vm.expectRevert(BlsCommittee.BadAggregate.selector);
        bls.slash(task, slashes, 13, signature);
        slashes[0].amount = 7;
        vm.expectRevert(abi.encodeWithSelector(BlsCommittee.NoQuorum.selector, 2, 3));
        bls.slash(task, slashes, 12, signature);
        bls.slash(task, slashes, 13, signature);
        _equal(arena.getTask(task).burnt, 7, "burnt");
    }

    function test_handsBackToPeople() public {
        _handOver();
        IArena.Certificate memory c = _certificate(2, 3, 1, "root");
        vm.expectRevert(IArena.BadCommittee.selector);
        this.settleByPeople(c); // they handed over
        c.nextCommittee = keccak256(abi.encodePacked(committee));
        _settleBls(c, 7, _signBy(arena.computeDigest(c), 7));
        c = _certificate(3, 3, 1, "root");
        BLS.G1Point memory signature = _signBy(arena.computeDigest(c), 7);
        vm.expectRevert(IArena.BadCommittee.selector);
        _settleBls(c, 7, signature);
        this.settleByPeople(c);
    }

    function settleByPeople(IArena.Certificate memory c) external {
        _settle(c);
    }

    // ---- keys

    /// key = K - (the others'): its owner could sign for all four alone. It cannot prove it.
    function test_aRogueKeyIsRefused() public {
        BLS.G2Point memory others = BLS.add(BLS.add(_key(secrets[0]), _key(secrets[1])), _key(secrets[2]));
        uint256 mine = 77;
        BLS.G2Point memory rogue = BLS.add(_key(mine), _times(others, ORDER - 1));
        bytes32 message = bls.computeProofMessage(committee[3], keccak256(abi.encode(rogue)));
        BLS.G1Point memory proof = _signBls(message, PROVE, mine);
        vm.expectRevert(BlsCommittee.BadProof.selector);
        _register(3, rogue, proof);
    }

    function test_aProofIsOfOneMemberKeyContractAndTag() public {
        BLS.G2Point memory key = _key(secrets[0]);
        bytes32 message = bls.computeProofMessage(committee[0], keccak256(abi.encode(key)));
        BLS.G1Point memory proof = _signBls(message, PROVE, secrets[0]);
        vm.expectRevert(BlsCommittee.BadProof.selector);
        _register(1, key, proof); // copied by another member
        BLS.G2Point memory other = _key(secrets[1]);
        vm.expectRevert(BlsCommittee.BadProof.selector);
        _register(0, other, proof);
        BLS.G1Point memory signed = _signBls(message, SIGN, secrets[0]);
        vm.expectRevert(BlsCommittee.BadProof.selector);
        _register(0, key, signed);
        BlsCommittee first = bls;
        bls = _deployFor(committee);
        vm.expectRevert(BlsCommittee.BadProof.selector);
        _register(0, key, proof);
        bls = first;
        _register(0, key, proof);
        vm.expectRevert(
            abi.encodeWithSelector(BlsCommittee.AlreadyRegistered.selector, committee[0])
        );
        _register(0, key, proof);
    }

    function test_noKeyOutsideTheSubgroup() public {
        BLS.G2Point memory key;
        BLS.G1Point memory proof;
        vm.expectRevert(BlsCommittee.BadKey.selector);
        _register(0, key, proof); // infinity
        vm.expectRevert(BLS.PairingFailed.selector);
        _register(0, abi.decode(Vectors.OUTSIDE_G2, (BLS.G2Point)), proof);
        key.x_c0_b = bytes32(uint256(1));
        vm.expectRevert(BLS.PairingFailed.selector);
        _register(0, key, proof);
    }

    function test_onlyAMemberRegistersItsOwn() public {
        BLS.G2Point memory key = _key(secrets[0]);
        bytes32 message = bls.computeProofMessage(committee[0], keccak256(abi.encode(key)));
        BLS.G1Point memory proof = _signBls(message, PROVE, secrets[0]);
        vm.expectRevert(abi.encodeWithSelector(BlsCommittee.NotMember.selector, customer));
        vm.prank(customer);
        bls.register(0, key, proof);
        vm.expectRevert(abi.encodeWithSelector(BlsCommittee.NotMember.selector, customer));
        vm.prank(customer);
        bls.register(4, key, proof);
    }

    function test_isSealedOnceAndWhole() public {
        IArena.Certificate memory c = _certificate(1, 3, 1, "root");
        BLS.G1Point memory signature = _signBy(arena.computeDigest(c), 15);
        vm.expectRevert(BlsCommittee.NotSealed.selector);
        _settleBls(c, 15, signature);
        for (uint256 i; i < 3; ++i) {
            _registerOwn(i);
        }
        BLS.G2Point[] memory all = _allKeys();
        vm.expectRevert(abi.encodeWithSelector(BlsCommittee.NotRegistered.selector, committee[3]));
        bls.seal(all);
        _registerOwn(3);
        (all[0], all[1]) = (all[1], all[0]);
        vm.expectRevert(abi.encodeWithSelector(BlsCommittee.NotRegistered.selector, committee[0]));
        bls.seal(all);
        vm.expectRevert(BlsCommittee.BadSigners.selector);
        bls.seal(new BLS.G2Point[](3));
        (all[0], all[1]) = (all[1], all[0]);
        bls.seal(all);
        vm.expectRevert(BlsCommittee.AlreadySealed.selector);
        bls.seal(all);
    }

    function test_quorumsOfEverySize() public {
        for (uint256 n = 1; n <= 94; n += n < 8 ? 1 : 43) {
            (, address[] memory members) = _people(n, 20_000);
            uint256 required = n;
            while (2 * (required - 1) > n + (n - 1) / 3) --required;
            _equal(_deployFor(members).required(), required, "required");
        }
    }

    function test_membersAreAscendingAndFew() public {
        (, address[] memory members) = _people(95, 20_000);
        vm.expectRevert(BlsCommittee.BadMembers.selector);
        new BlsCommittee(arena, members);
        vm.expectRevert(BlsCommittee.BadMembers.selector);
        new BlsCommittee(arena, new address[](0));
        members = committee;
        members[1] = members[0];
        vm.expectRevert(BlsCommittee.BadMembers.selector);
        new BlsCommittee(arena, members);
    }

    // ---- steps

    function _deployFor(address[] memory members) private returns (BlsCommittee) {
        return new BlsCommittee(arena, members);
    }

    /// All register and seal, and the people's certificate of round 1 names the contract.
    function _handOver() private {
        for (uint256 i; i < 4; ++i) {
            _registerOwn(i);
        }
        bls.seal(_allKeys());
        IArena.Certificate memory c = _certificate(1, 1, 0, 0);
        c.nextCommittee = bls.committee();
        _settle(c);
    }

    function _registerOwn(uint256 index) private {
        BLS.G2Point memory key = _key(secrets[index]);
        bytes32 message = bls.computeProofMessage(committee[index], keccak256(abi.encode(key)));
        _register(index, key, _signBls(message, PROVE, secrets[index]));
        _true(bls.getKeyHash(index) == keccak256(abi.encode(key)), "key");
    }

    function _register(uint256 index, BLS.G2Point memory key, BLS.G1Point memory proof) private {
        vm.prank(committee[index]);
        bls.register(index, key, proof);
    }

    function _allKeys() private view returns (BLS.G2Point[] memory all) {
        all = new BLS.G2Point[](4);
        for (uint256 i; i < 4; ++i) {
            all[i] = _key(secrets[i]);
        }
    }

    function _settleBls(IArena.Certificate memory c, uint256 signers, BLS.G1Point memory signature)
        private
    {
        bls.settle(c, new IArena.Slash[](0), signers, signature);
    }

    /// The sum of the signatures of those in `signers`.
    function _signBy(bytes32 digest, uint256 signers) private view returns (BLS.G1Point memory) {
        uint256 sum;
        for (uint256 i; i < 4; ++i) {
            if ((signers >> i) & 1 != 0) sum = addmod(sum, secrets[i], ORDER);
        }
        return _signBls(digest, SIGN, sum);
    }

    function _signBls(bytes32 message, bytes memory tag, uint256 secret)
        private
        view
        returns (BLS.G1Point memory)
    {
        BLS.G1Point[] memory points = new BLS.G1Point[](1);
        bytes32[] memory scalars = new bytes32[](1);
        points[0] = HashToG1.hash(message, tag);
        scalars[0] = bytes32(secret);
        return BLS.msm(points, scalars);
    }

    function _key(uint256 secret) private view returns (BLS.G2Point memory) {
        return _times(_generator(), secret);
    }

    function _times(BLS.G2Point memory point, uint256 scalar)
        private
        view
        returns (BLS.G2Point memory)
    {
        BLS.G2Point[] memory points = new BLS.G2Point[](1);
        bytes32[] memory scalars = new bytes32[](1);
        points[0] = point;
        scalars[0] = bytes32(scalar);
        return BLS.msm(points, scalars);
    }

    function _generator() private pure returns (BLS.G2Point memory) {
        return abi.decode(Vectors.GENERATOR, (BLS.G2Point));
    }

    function _same(bytes memory got, bytes memory expected) private pure {
        _true(keccak256(got) == keccak256(expected), "as the other implementation");
    }
}
