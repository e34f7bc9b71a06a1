"""Calls of Disputes; generated."""

from __future__ import annotations

from kumiai.adapters.evm.abi import Call, Structs, make_function

_STRUCTS: Structs = {}
_CONSTRUCTOR = make_function("constructor(address arena_, address owner_)", "()", _STRUCTS)
_OPEN_MAX = make_function("OPEN_MAX()", "(uint256 value_0)", _STRUCTS)
_ACCEPT_OWNERSHIP = make_function("acceptOwnership()", "()", _STRUCTS)
_ARENA = make_function("arena()", "(address value_0)", _STRUCTS)
_EIP712_DOMAIN = make_function(
    "eip712Domain()",
    "(bytes1 fields, string name, string version, uint256 chainId, address verifyingContract, bytes32 salt, uint256[] extensions)",
    _STRUCTS,
)
_OWNER = make_function("owner()", "(address value_0)", _STRUCTS)
_PENDING_OWNER = make_function("pendingOwner()", "(address value_0)", _STRUCTS)
_RENOUNCE_OWNERSHIP = make_function("renounceOwnership()", "()", _STRUCTS)
_TRANSFER_OWNERSHIP = make_function("transferOwnership(address newOwner)", "()", _STRUCTS)


def constructor(bytecode: bytes, arena_: str, owner_: str) -> bytes:
    """Return the code of a creation with its arguments."""
    return bytecode + Call(_CONSTRUCTOR, (arena_, owner_)).data[4:]


def open_max() -> Call[int]:
    """Make the call OPEN_MAX."""
    return Call(_OPEN_MAX, ())


def accept_ownership() -> Call[None]:
    """Make the call acceptOwnership."""
    return Call(_ACCEPT_OWNERSHIP, ())


def arena() -> Call[str]:
    """Make the call arena."""
    return Call(_ARENA, ())


def eip712_domain() -> Call[tuple[bytes, str, str, int, str, bytes, tuple[int, ...]]]:
    """Make the call eip712Domain."""
    return Call(_EIP712_DOMAIN, ())


def owner() -> Call[str]:
    """Make the call owner."""
    return Call(_OWNER, ())


def pending_owner() -> Call[str]:
    """Make the call pendingOwner."""
    return Call(_PENDING_OWNER, ())


def renounce_ownership() -> Call[None]:
    """Make the call renounceOwnership."""
    return Call(_RENOUNCE_OWNERSHIP, ())


def transfer_ownership(newOwner: str) -> Call[None]:
    """Make the call transferOwnership."""
    return Call(_TRANSFER_OWNERSHIP, (newOwner,))
