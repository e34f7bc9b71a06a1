"""Calls of Arena; generated."""

from __future__ import annotations

from kumiai.adapters.evm.abi import Call, Structs, make_function
from kumiai.adapters.evm.bindings.tasks.structs import Bounds

_STRUCTS: Structs = {"Bounds": Bounds}
_CONSTRUCTOR = make_function("constructor(address owner_, address arbiter_)", "()", _STRUCTS)
_ACCEPT_OWNERSHIP = make_function("acceptOwnership()", "()", _STRUCTS)
_COMPUTE_TASK_ID = make_function(
    "computeTaskId(address owner, bytes32 document)", "(bytes32 value_0)", _STRUCTS
)
_GET_BOUNDS = make_function("getBounds()", "(Bounds value_0)", _STRUCTS)
_OWNER = make_function("owner()", "(address value_0)", _STRUCTS)
_PENDING_OWNER = make_function("pendingOwner()", "(address value_0)", _STRUCTS)
_RENOUNCE_OWNERSHIP = make_function("renounceOwnership()", "()", _STRUCTS)
_SET_BOUNDS = make_function("setBounds(Bounds bounds)", "()", _STRUCTS)
_TRANSFER_OWNERSHIP = make_function("transferOwnership(address newOwner)", "()", _STRUCTS)


def constructor(bytecode: bytes, owner_: str, arbiter_: str) -> bytes:
    """Return the code of a creation with its arguments."""
    return bytecode + Call(_CONSTRUCTOR, (owner_, arbiter_)).data[4:]


def accept_ownership() -> Call[None]:
    """Make the call acceptOwnership."""
    return Call(_ACCEPT_OWNERSHIP, ())


def compute_task_id(owner: str, document: bytes) -> Call[bytes]:
    """Make the call computeTaskId."""
    return Call(_COMPUTE_TASK_ID, (owner, document))


def get_bounds() -> Call[Bounds]:
    """Make the call getBounds."""
    return Call(_GET_BOUNDS, ())


def owner() -> Call[str]:
    """Make the call owner."""
    return Call(_OWNER, ())


def pending_owner() -> Call[str]:
    """Make the call pendingOwner."""
    return Call(_PENDING_OWNER, ())


def renounce_ownership() -> Call[None]:
    """Make the call renounceOwnership."""
    return Call(_RENOUNCE_OWNERSHIP, ())


def set_bounds(bounds: Bounds) -> Call[None]:
    """Make the call setBounds."""
    return Call(_SET_BOUNDS, (bounds,))


def transfer_ownership(newOwner: str) -> Call[None]:
    """Make the call transferOwnership."""
    return Call(_TRANSFER_OWNERSHIP, (newOwner,))
