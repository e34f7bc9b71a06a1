"""Calls of BlsCommittee; generated."""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.adapters.evm.abi import Call, Structs, make_function
from kumiai.adapters.evm.bindings.bls.structs import G1Point, G2Point
from kumiai.adapters.evm.bindings.iarena.structs import Certificate, Slash

_STRUCTS: Structs = {
    "Certificate": Certificate,
    "G1Point": G1Point,
    "G2Point": G2Point,
    "Slash": Slash,
}
_CONSTRUCTOR = make_function("constructor(address arena_, address[] members)", "()", _STRUCTS)
_PROOF_TAG = make_function("PROOF_TAG()", "(bytes value_0)", _STRUCTS)
_SIGNATURE_TAG = make_function("SIGNATURE_TAG()", "(bytes value_0)", _STRUCTS)
_SIZE_MAX = make_function("SIZE_MAX()", "(uint256 value_0)", _STRUCTS)
_ARENA = make_function("arena()", "(address value_0)", _STRUCTS)
_COMMITTEE = make_function("committee()", "(bytes32 value_0)", _STRUCTS)
_COMPUTE_PROOF_MESSAGE = make_function(
    "computeProofMessage(address member, bytes32 keyHash)", "(bytes32 value_0)", _STRUCTS
)
_COMPUTE_VERDICT_DIGEST = make_function(
    "computeVerdictDigest(bytes32 task, bytes32 slashes)", "(bytes32 value_0)", _STRUCTS
)
_GET_KEY_HASH = make_function("getKeyHash(uint256 index)", "(bytes32 value_0)", _STRUCTS)
_GET_MEMBERS = make_function("getMembers()", "(address[] value_0)", _STRUCTS)
_KEY_STORE = make_function("keyStore()", "(address value_0)", _STRUCTS)
_REGISTER = make_function("register(uint256 index, G2Point key, G1Point proof)", "()", _STRUCTS)
_REQUIRED = make_function("required()", "(uint256 value_0)", _STRUCTS)
_SEAL = make_function("seal(G2Point[] keys)", "()", _STRUCTS)
_SETTLE = make_function(
    "settle(Certificate certificate, Slash[] slashes, uint256 signers, G1Point signature)",
    "()",
    _STRUCTS,
)
_SLASH = make_function(
    "slash(bytes32 task, Slash[] slashes, uint256 signers, G1Point signature)", "()", _STRUCTS
)


def constructor(bytecode: bytes, arena_: str, members: Sequence[str]) -> bytes:
    """Return the code of a creation with its arguments."""
    return bytecode + Call(_CONSTRUCTOR, (arena_, members)).data[4:]


def proof_tag() -> Call[bytes]:
    """Make the call PROOF_TAG."""
    return Call(_PROOF_TAG, ())


def signature_tag() -> Call[bytes]:
    """Make the call SIGNATURE_TAG."""
    return Call(_SIGNATURE_TAG, ())


def size_max() -> Call[int]:
    """Make the call SIZE_MAX."""
    return Call(_SIZE_MAX, ())


def arena() -> Call[str]:
    """Make the call arena."""
    return Call(_ARENA, ())


def committee() -> Call[bytes]:
    """Make the call committee."""
    return Call(_COMMITTEE, ())


def compute_proof_message(member: str, keyHash: bytes) -> Call[bytes]:
    """Make the call computeProofMessage."""
    return Call(_COMPUTE_PROOF_MESSAGE, (member, keyHash))


def compute_verdict_digest(task: bytes, slashes: bytes) -> Call[bytes]:
    """Make the call computeVerdictDigest."""
    return Call(_COMPUTE_VERDICT_DIGEST, (task, slashes))


def get_key_hash(index: int) -> Call[bytes]:
    """Make the call getKeyHash."""
    return Call(_GET_KEY_HASH, (index,))


def get_members() -> Call[tuple[str, ...]]:
    """Make the call getMembers."""
    return Call(_GET_MEMBERS, ())


def key_store() -> Call[str]:
    """Make the call keyStore."""
    return Call(_KEY_STORE, ())


def register(index: int, key: G2Point, proof: G1Point) -> Call[None]:
    """Make the call register."""
    return Call(_REGISTER, (index, key, proof))


def required() -> Call[int]:
    """Make the call required."""
    return Call(_REQUIRED, ())


def seal(keys: Sequence[G2Point]) -> Call[None]:
    """Make the call seal."""
    return Call(_SEAL, (keys,))


def settle(
    certificate: Certificate, slashes: Sequence[Slash], signers: int, signature: G1Point
) -> Call[None]:
    """Make the call settle."""
    return Call(_SETTLE, (certificate, slashes, signers, signature))


def slash(task: bytes, slashes: Sequence[Slash], signers: int, signature: G1Point) -> Call[None]:
    """Make the call slash."""
    return Call(_SLASH, (task, slashes, signers, signature))
