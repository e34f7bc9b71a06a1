"""What a committee signs so that a chain pays: a certificate in EIP-712's form, and its digest.

One certificate settles a round for any number of members: the root over everybody's cumulative pay
(`payroll`), what becomes payable and what goes into the locked pot, and who loses stake. It carries
the hash of Kumiai's own certificate, which the same committee signed, so neither can be had without
the other. `contracts/src/IArena.sol` holds the same types; a test compares the two digests.

Source: EIP-712, "Typed structured data hashing and signing" (2017). All fields are of fixed size,
so a struct's hash is the hash of its type's hash and one word a field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.base.keys import keccak256
from kumiai.settlement.payroll import CUMULATIVE_MAX, WORD_BYTES, encode_address

DOMAIN_NAME, DOMAIN_VERSION = "Kumiai Arena", "1"
ZERO_WORD = bytes(WORD_BYTES)

_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_CERTIFICATE_TYPE = (
    "Certificate(bytes32 task,uint32 round,uint32 attempt,bool isFinal,bytes32 body,"
    "bytes32 submissions,bytes32 payments,uint128 paid,uint128 locked,bytes32 slashes,"
    "bytes32 nextCommittee)"
)


@dataclass(frozen=True, slots=True)
class ChainPlace:
    """Which contract on which chain a signature is for. `arena` is an address."""

    chain_id: int
    arena: str


@dataclass(frozen=True, slots=True)
class ChainSlash:
    """Stake that a certificate burns. member: address; evidence: 32 bytes that prove it."""

    member: str
    amount: int
    evidence: bytes


@dataclass(frozen=True, slots=True)
class ChainCertificate:
    """A round, or the end (`is_final`), as the contract takes it; hashes are 32 bytes."""

    task: bytes
    round: int
    attempt: int
    is_final: bool
    body: bytes
    submissions: bytes
    payments: bytes
    paid: int
    locked: int
    slashes: bytes
    next_committee: bytes = ZERO_WORD


def compute_task_key(owner: str, document: bytes) -> bytes:
    """Return a task's id on the chain; `document`: sha256 of the task document."""
    return keccak256(encode_address(owner) + document)


def hash_slashes(slashes: Sequence[ChainSlash]) -> bytes:
    """Return the hash that a certificate binds the slashes with: keccak(abi.encode(Slash[]))."""
    words = [_encode_uint(WORD_BYTES), _encode_uint(len(slashes))]
    for each in slashes:
        words += [encode_address(each.member), _encode_uint(each.amount), each.evidence]
    return keccak256(b"".join(words))


def hash_committee(members: Sequence[str]) -> bytes:
    """Return what stands for a committee on the chain; ValueError unless ascending and distinct."""
    if list(members) != sorted(set(members)):
        raise ValueError("a committee's addresses are ascending and distinct")
    return keccak256(b"".join(encode_address(member) for member in members))


def compute_certificate_digest(certificate: ChainCertificate, place: ChainPlace) -> bytes:
    """Return the 32 bytes that a validator signs."""
    words = [
        certificate.task,
        _encode_uint(certificate.round),
        _encode_uint(certificate.attempt),
        _encode_uint(certificate.is_final),
        certificate.body,
        certificate.submissions,
        certificate.payments,
        _encode_uint(certificate.paid),
        _encode_uint(certificate.locked),
        certificate.slashes,
        certificate.next_committee,
    ]
    if any(len(word) != WORD_BYTES for word in words):
        raise ValueError("a hash in the certificate is not 32 bytes long")
    struct = keccak256(keccak256(_CERTIFICATE_TYPE.encode()) + b"".join(words))
    return keccak256(b"\x19\x01" + compute_domain(place) + struct)


def compute_domain(place: ChainPlace) -> bytes:
    """Return the separator that keeps a signature from counting on another chain or contract."""
    return keccak256(
        keccak256(_DOMAIN_TYPE.encode())
        + keccak256(DOMAIN_NAME.encode())
        + keccak256(DOMAIN_VERSION.encode())
        + place.chain_id.to_bytes(WORD_BYTES, "big")
        + encode_address(place.arena)
    )


def _encode_uint(number: int) -> bytes:
    if not 0 <= number <= CUMULATIVE_MAX:
        raise ValueError(f"{number} is outside 0..2**128-1")
    return int(number).to_bytes(WORD_BYTES, "big")
