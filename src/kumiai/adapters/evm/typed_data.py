"""EIP-712: what a signature is over, for flat types; and the types that the arena knows.

    digest = keccak(0x19 0x01 || domain separator || keccak(typehash || the encoded fields))

Fields are of bytesN, uintN, bool, address, string or bytes; nested types and arrays are hashed by
whoever needs them first (the arena has none). A test holds this against eth-account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode

from kumiai.base.keys import keccak256


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature counts: one contract on one chain."""

    chain_id: int
    contract: str
    name: str = "Kumiai Arena"
    version: str = "1"


@dataclass(frozen=True, slots=True)
class TypedStruct:
    """A type: its name and its fields, (name, type) in their order."""

    name: str
    fields: tuple[tuple[str, str], ...]

    def encode_type(self) -> str:
        """Return the text that is hashed for the type, as Admission(bytes32 task,...)."""
        return f"{self.name}({','.join(f'{kind} {name}' for name, kind in self.fields)})"


def _struct(text: str) -> TypedStruct:
    name, _, rest = text.rstrip(")").partition("(")
    pairs = (field.strip().split(" ") for field in rest.split(","))
    return TypedStruct(name, tuple((field, kind) for kind, field in pairs))


CERTIFICATE = _struct(
    "Certificate(bytes32 task,uint32 round,uint32 attempt,bool isFinal,bytes32 body,"
    "bytes32 submissions,bytes32 payments,uint128 paid,uint128 locked,bytes32 slashes,"
    "bytes32 nextCommittee)"
)
VERDICT = _struct("Verdict(bytes32 task,bytes32 slashes)")
ORDER = _struct(
    "Order(bytes32 task,uint8 action,uint40 until,uint32 nonce,uint40 deadline,string reason)"
)
ADMISSION = _struct("Admission(bytes32 task,address member,uint8 role,uint40 deadline)")
ENROLMENT = _struct(
    "Enrolment(bytes32 task,address member,uint8 role,uint128 amount,bytes32 document,"
    "uint40 deadline)"
)
_DOMAIN = _struct(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)


def compute_digest(domain: Domain, struct: TypedStruct, values: Mapping[str, Any]) -> bytes:
    """Return the 32 bytes to sign; ValueError if a field is missing, unknown or of another type."""
    where = {
        "name": domain.name,
        "version": domain.version,
        "chainId": domain.chain_id,
        "verifyingContract": domain.contract,
    }
    return keccak256(b"\x19\x01" + hash_struct(_DOMAIN, where) + hash_struct(struct, values))


def hash_struct(struct: TypedStruct, values: Mapping[str, Any]) -> bytes:
    """Return keccak(typehash || fields); ValueError as in compute_digest."""
    if values.keys() != {name for name, _ in struct.fields}:
        raise ValueError(f"{struct.name} has the fields {[name for name, _ in struct.fields]}")
    kinds, encoded = ["bytes32"], [keccak256(struct.encode_type().encode())]
    for name, kind in struct.fields:
        value = values[name]
        if kind in {"string", "bytes"}:
            value = keccak256(value.encode() if isinstance(value, str) else value)
            kind = "bytes32"  # noqa: PLW2901 - dynamic types stand as their hash
        if kind == "bytes32" and len(value) != 32:  # eth_abi would pad a shorter one
            raise ValueError(f"{struct.name}.{name} has 32 bytes, not {len(value)}")
        kinds.append(kind)
        encoded.append(value)
    return keccak256(encode(kinds, encoded))
