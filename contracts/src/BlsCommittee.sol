// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SSTORE2} from "solady/utils/SSTORE2.sol";
import {BLS} from "solady/utils/ext/ithaca/BLS.sol";

import {IArena} from "./IArena.sol";
import {HashToG1} from "./bls/HashToG1.sol";

/// A committee that certifies by one aggregated BLS signature (BLS12-381, EIP-2537).
///
/// To the arena it is a committee of one: `committee()` is what a certificate names as its
/// `nextCommittee`. Its members are fixed when it is made. Each registers a key, with a proof that
/// it has the secret; then anybody seals it. Hand over to a sealed one only: nobody else can
/// certify for the task. It has no owner, and hands over again by a certificate of its own.
/// Signatures are points of G1, keys of G2: that is cheaper to check by 35,000 gas than the reverse.
contract BlsCommittee {
    bytes32 private constant VERDICT_TYPEHASH = keccak256("Verdict(bytes32 task,bytes32 slashes)");
    bytes32 private constant DOMAIN_TYPEHASH = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );
    bytes32 private constant DOMAIN_NAME = keccak256("Kumiai Arena");
    bytes32 private constant DOMAIN_VERSION = keccak256("1");
    /// Under which tags messages are hashed to the curve; one signature is never both.
    bytes public constant SIGNATURE_TAG = "KUMIAI-COMMITTEE-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_";
    bytes public constant PROOF_TAG = "KUMIAI-POSSESSION-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_";
    /// The keys and their sum must fit the code of one contract (24,576 bytes).
    uint256 public constant SIZE_MAX = 94;
    uint256 private constant MINUS_ONE =
        0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000;
    uint256 private constant POINT_BYTES = 256;
    uint256 private constant HEAD_BYTES = 64; // offset and length, before an encoded array's items

    IArena public immutable arena;
    uint256 private immutable _size; // of `_members`
    address[] private _members;
    mapping(uint256 index => bytes32) private _keyHashes;
    /// Its code holds the negated sum of all keys, and after it each key; 0: not sealed yet.
    address public keyStore;

    event Registered(address indexed member, BLS.G2Point key);
    event Sealed(bytes32 committee);

    error BadMembers();
    error NotMember(address who);
    error AlreadyRegistered(address member);
    error BadKey();
    error BadProof();
    error NotRegistered(address member);
    error AlreadySealed();
    error NotSealed();
    error BadSigners();
    error NoQuorum(uint256 signatures, uint256 required);
    error BadAggregate();

    /// `members`: ascending, at most SIZE_MAX.
    constructor(IArena arena_, address[] memory members) {
        if (members.length == 0 || members.length > SIZE_MAX) revert BadMembers();
        address last;
        for (uint256 i; i < members.length; ++i) {
            if (members[i] <= last) revert BadMembers();
            last = members[i];
        }
        arena = arena_;
        _size = members.length;
        _members = members;
    }

    /// The member at `index` names its key, once. `proof`: the signature of `computeProofMessage`
    /// under PROOF_TAG. Without it somebody could choose a key that cancels the others' out.
    function register(uint256 index, BLS.G2Point calldata key, BLS.G1Point calldata proof) external {
        if (index >= _size || _members[index] != msg.sender) revert NotMember(msg.sender);
        if (_keyHashes[index] != 0) revert AlreadyRegistered(msg.sender);
        bytes32 keyHash = keccak256(abi.encode(key));
        if (keyHash == keccak256(new bytes(POINT_BYTES))) revert BadKey();
        BLS.G1Point memory point = HashToG1.hash(computeProofMessage(msg.sender, keyHash), PROOF_TAG);
        // the pairing also refuses what lies outside the curve and outside its subgroup
        if (!_isOne(proof, _negatedGenerator(), point, key)) revert BadProof();
        _keyHashes[index] = keyHash;
        emit Registered(msg.sender, key);
    }

    /// Anybody, once, when all have registered: `keys` in the order of the members.
    function seal(BLS.G2Point[] calldata keys) external {
        if (keyStore != address(0)) revert AlreadySealed();
        uint256 n = _size;
        if (keys.length != n) revert BadSigners();
        BLS.G2Point[] memory stored = new BLS.G2Point[](n + 1);
        BLS.G2Point[] memory sum = new BLS.G2Point[](1);
        for (uint256 i; i < n; ++i) {
            if (keccak256(abi.encode(keys[i])) != _keyHashes[i]) revert NotRegistered(_members[i]);
            stored[i + 1] = keys[i];
            sum[0] = BLS.add(sum[0], stored[i + 1]);
        }
        bytes32[] memory scalars = new bytes32[](1);
        scalars[0] = bytes32(MINUS_ONE);
        stored[0] = BLS.msm(sum, scalars);
        keyStore = SSTORE2.write(abi.encode(stored));
        emit Sealed(committee());
    }

    /// Settle by a quorum's aggregated signature of `arena.computeDigest(certificate)`. Bit i of
    /// `signers` stands for member i. Anyone may send it.
    function settle(
        IArena.Certificate calldata certificate,
        IArena.Slash[] calldata slashes,
        uint256 signers,
        BLS.G1Point calldata signature
    ) external {
        _check(arena.computeDigest(certificate), signers, signature);
        arena.settle(certificate, slashes, _quorum());
    }

    /// Burn stake by a quorum's aggregated signature of the arena's Verdict. Anyone may send it.
    function slash(
        bytes32 task,
        IArena.Slash[] calldata slashes,
        uint256 signers,
        BLS.G1Point calldata signature
    ) external {
        _check(computeVerdictDigest(task, keccak256(abi.encode(slashes))), signers, signature);
        arena.slash(task, slashes, _quorum());
    }

    /// The hash that names this contract as a task's committee.
    function committee() public view returns (bytes32) {
        return keccak256(abi.encode(address(this)));
    }

    function getMembers() external view returns (address[] memory) {
        return _members;
    }

    /// keccak256 of the key of the member at `index`; 0: it has not registered.
    function getKeyHash(uint256 index) external view returns (bytes32) {
        return _keyHashes[index];
    }

    /// How many of the members must sign: as IArena.Quorum.
    function required() public view returns (uint256) {
        return (_size + (_size - 1) / 3) / 2 + 1;
    }

    /// What `member` signs to register the key with this hash: here, on this chain, itself.
    function computeProofMessage(address member, bytes32 keyHash) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), member, keyHash));
    }

    /// The arena's EIP-712 digest of Verdict(bytes32 task,bytes32 slashes).
    function computeVerdictDigest(bytes32 task, bytes32 slashes) public view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPEHASH, DOMAIN_NAME, DOMAIN_VERSION, block.chainid, arena)
        );
        bytes32 verdict = keccak256(abi.encode(VERDICT_TYPEHASH, task, slashes));
        return keccak256(abi.encodePacked("\x19\x01", domain, verdict));
    }

    /// Revert unless a quorum signed `digest`.
    function _check(bytes32 digest, uint256 signers, BLS.G1Point calldata signature) private view {
        address store = keyStore;
        if (store == address(0)) revert NotSealed();
        uint256 n = _size;
        if (signers >> n != 0) revert BadSigners();
        BLS.G2Point memory negated = _readPoint(store, 0);
        uint256 count;
        for (uint256 i; i < n; ++i) {
            // more than two thirds are there: taking the absent out is less work than adding up
            if ((signers >> i) & 1 != 0) ++count;
            else negated = BLS.add(negated, _readPoint(store, i + 1));
        }
        if (count < required()) revert NoQuorum(count, required());
        // infinity signs for keys that cancel out: then everybody could
        if (keccak256(abi.encode(signature)) == keccak256(new bytes(128))) revert BadAggregate();
        BLS.G1Point memory point = HashToG1.hash(digest, SIGNATURE_TAG);
        if (!_isOne(signature, _generator(), point, negated)) revert BadAggregate();
    }

    function _readPoint(address store, uint256 place) private view returns (BLS.G2Point memory) {
        uint256 start = HEAD_BYTES + place * POINT_BYTES;
        return abi.decode(SSTORE2.read(store, start, start + POINT_BYTES), (BLS.G2Point));
    }

    /// Whether e(a, b) * e(c, d) = 1.
    function _isOne(
        BLS.G1Point memory a,
        BLS.G2Point memory b,
        BLS.G1Point memory c,
        BLS.G2Point memory d
    ) private view returns (bool) {
        BLS.G1Point[] memory left = new BLS.G1Point[](2);
        BLS.G2Point[] memory right = new BLS.G2Point[](2);
        (left[0], left[1]) = (a, c);
        (right[0], right[1]) = (b, d);
        return BLS.pairing(left, right);
    }

    function _quorum() private view returns (IArena.Quorum memory quorum) {
        quorum.members = new address[](1);
        quorum.members[0] = address(this);
    }

    /// Of G2.
    function _generator() private pure returns (BLS.G2Point memory) {
        return BLS.G2Point({
            x_c0_a: bytes32(uint256(0x24aa2b2f08f0a91260805272dc51051)),
            x_c0_b: 0xc6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8,
            x_c1_a: bytes32(uint256(0x13e02b6052719f607dacd3a088274f65)),
            x_c1_b: 0x596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e,
            y_c0_a: bytes32(uint256(0xce5d527727d6e118cc9cdc6da2e351a)),
            y_c0_b: 0xadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801,
            y_c1_a: bytes32(uint256(0x606c4a02ea734cc32acd2b02bc28b99)),
            y_c1_b: 0xcb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be
        });
    }

    /// Of G2, negated.
    function _negatedGenerator() private pure returns (BLS.G2Point memory) {
        return BLS.G2Point({
            x_c0_a: bytes32(uint256(0x24aa2b2f08f0a91260805272dc51051)),
            x_c0_b: 0xc6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8,
            x_c1_a: bytes32(uint256(0x13e02b6052719f607dacd3a088274f65)),
            x_c1_b: 0x596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e,
            y_c0_a: bytes32(uint256(0xd1b3cc2c7027888be51d9ef691d77bc)),
            y_c0_b: 0xb679afda66c73f17f9ee3837a55024f78c71363275a75d75d86bab79f74782aa,
            y_c1_a: bytes32(uint256(0x13fa4d4a0ad8b1ce186ed5061789213d)),
            y_c1_b: 0x993923066dddaf1040bc3ff59f825c78df74f2d75467e25e0f55f8a00fa030ed
        });
    }
}
