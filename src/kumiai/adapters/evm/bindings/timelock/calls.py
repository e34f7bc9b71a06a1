"""Calls of Timelock; generated."""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.adapters.evm.abi import Call, Structs, make_function

_STRUCTS: Structs = {}
_CONSTRUCTOR = make_function("constructor(uint256 minDelay, address[] guardians)", "()", _STRUCTS)
_CANCELLER_ROLE = make_function("CANCELLER_ROLE()", "(bytes32 value_0)", _STRUCTS)
_DEFAULT_ADMIN_ROLE = make_function("DEFAULT_ADMIN_ROLE()", "(bytes32 value_0)", _STRUCTS)
_DELAY_MIN = make_function("DELAY_MIN()", "(uint256 value_0)", _STRUCTS)
_EXECUTOR_ROLE = make_function("EXECUTOR_ROLE()", "(bytes32 value_0)", _STRUCTS)
_GUARDIANS_MAX = make_function("GUARDIANS_MAX()", "(uint256 value_0)", _STRUCTS)
_PROPOSER_ROLE = make_function("PROPOSER_ROLE()", "(bytes32 value_0)", _STRUCTS)
_CANCEL = make_function("cancel(bytes32 id)", "()", _STRUCTS)
_EXECUTE = make_function(
    "execute(address target, uint256 value, bytes payload, bytes32 predecessor, bytes32 salt)",
    "()",
    _STRUCTS,
)
_EXECUTE_BATCH = make_function(
    "executeBatch(address[] targets, uint256[] values, bytes[] payloads, bytes32 predecessor, bytes32 salt)",
    "()",
    _STRUCTS,
)
_GET_MIN_DELAY = make_function("getMinDelay()", "(uint256 value_0)", _STRUCTS)
_GET_OPERATION_STATE = make_function("getOperationState(bytes32 id)", "(uint8 value_0)", _STRUCTS)
_GET_ROLE_ADMIN = make_function("getRoleAdmin(bytes32 role)", "(bytes32 value_0)", _STRUCTS)
_GET_TIMESTAMP = make_function("getTimestamp(bytes32 id)", "(uint256 value_0)", _STRUCTS)
_GRANT_ROLE = make_function("grantRole(bytes32 role, address account)", "()", _STRUCTS)
_HAS_ROLE = make_function("hasRole(bytes32 role, address account)", "(bool value_0)", _STRUCTS)
_HASH_OPERATION = make_function(
    "hashOperation(address target, uint256 value, bytes data, bytes32 predecessor, bytes32 salt)",
    "(bytes32 value_0)",
    _STRUCTS,
)
_HASH_OPERATION_BATCH = make_function(
    "hashOperationBatch(address[] targets, uint256[] values, bytes[] payloads, bytes32 predecessor, bytes32 salt)",
    "(bytes32 value_0)",
    _STRUCTS,
)
_IS_OPERATION = make_function("isOperation(bytes32 id)", "(bool value_0)", _STRUCTS)
_IS_OPERATION_DONE = make_function("isOperationDone(bytes32 id)", "(bool value_0)", _STRUCTS)
_IS_OPERATION_PENDING = make_function("isOperationPending(bytes32 id)", "(bool value_0)", _STRUCTS)
_IS_OPERATION_READY = make_function("isOperationReady(bytes32 id)", "(bool value_0)", _STRUCTS)
_ON_ERC1155_BATCH_RECEIVED = make_function(
    "onERC1155BatchReceived(address value_0, address value_1, uint256[] value_2, uint256[] value_3, bytes value_4)",
    "(bytes4 value_0)",
    _STRUCTS,
)
_ON_ERC1155_RECEIVED = make_function(
    "onERC1155Received(address value_0, address value_1, uint256 value_2, uint256 value_3, bytes value_4)",
    "(bytes4 value_0)",
    _STRUCTS,
)
_ON_ERC721_RECEIVED = make_function(
    "onERC721Received(address value_0, address value_1, uint256 value_2, bytes value_3)",
    "(bytes4 value_0)",
    _STRUCTS,
)
_RENOUNCE_ROLE = make_function(
    "renounceRole(bytes32 role, address callerConfirmation)", "()", _STRUCTS
)
_REVOKE_ROLE = make_function("revokeRole(bytes32 role, address account)", "()", _STRUCTS)
_SCHEDULE = make_function(
    "schedule(address target, uint256 value, bytes data, bytes32 predecessor, bytes32 salt, uint256 delay)",
    "()",
    _STRUCTS,
)
_SCHEDULE_BATCH = make_function(
    "scheduleBatch(address[] targets, uint256[] values, bytes[] payloads, bytes32 predecessor, bytes32 salt, uint256 delay)",
    "()",
    _STRUCTS,
)
_SUPPORTS_INTERFACE = make_function(
    "supportsInterface(bytes4 interfaceId)", "(bool value_0)", _STRUCTS
)
_UPDATE_DELAY = make_function("updateDelay(uint256 newDelay)", "()", _STRUCTS)


def constructor(bytecode: bytes, minDelay: int, guardians: Sequence[str]) -> bytes:
    """Return the code of a creation with its arguments."""
    return bytecode + Call(_CONSTRUCTOR, (minDelay, guardians)).data[4:]


def canceller_role() -> Call[bytes]:
    """Make the call CANCELLER_ROLE."""
    return Call(_CANCELLER_ROLE, ())


def default_admin_role() -> Call[bytes]:
    """Make the call DEFAULT_ADMIN_ROLE."""
    return Call(_DEFAULT_ADMIN_ROLE, ())


def delay_min() -> Call[int]:
    """Make the call DELAY_MIN."""
    return Call(_DELAY_MIN, ())


def executor_role() -> Call[bytes]:
    """Make the call EXECUTOR_ROLE."""
    return Call(_EXECUTOR_ROLE, ())


def guardians_max() -> Call[int]:
    """Make the call GUARDIANS_MAX."""
    return Call(_GUARDIANS_MAX, ())


def proposer_role() -> Call[bytes]:
    """Make the call PROPOSER_ROLE."""
    return Call(_PROPOSER_ROLE, ())


def cancel(id: bytes) -> Call[None]:
    """Make the call cancel."""
    return Call(_CANCEL, (id,))


def execute(target: str, value: int, payload: bytes, predecessor: bytes, salt: bytes) -> Call[None]:
    """Make the call execute, which takes value."""
    return Call(_EXECUTE, (target, value, payload, predecessor, salt))


def execute_batch(
    targets: Sequence[str],
    values: Sequence[int],
    payloads: Sequence[bytes],
    predecessor: bytes,
    salt: bytes,
) -> Call[None]:
    """Make the call executeBatch, which takes value."""
    return Call(_EXECUTE_BATCH, (targets, values, payloads, predecessor, salt))


def get_min_delay() -> Call[int]:
    """Make the call getMinDelay."""
    return Call(_GET_MIN_DELAY, ())


def get_operation_state(id: bytes) -> Call[int]:
    """Make the call getOperationState."""
    return Call(_GET_OPERATION_STATE, (id,))


def get_role_admin(role: bytes) -> Call[bytes]:
    """Make the call getRoleAdmin."""
    return Call(_GET_ROLE_ADMIN, (role,))


def get_timestamp(id: bytes) -> Call[int]:
    """Make the call getTimestamp."""
    return Call(_GET_TIMESTAMP, (id,))


def grant_role(role: bytes, account: str) -> Call[None]:
    """Make the call grantRole."""
    return Call(_GRANT_ROLE, (role, account))


def has_role(role: bytes, account: str) -> Call[bool]:
    """Make the call hasRole."""
    return Call(_HAS_ROLE, (role, account))


def hash_operation(
    target: str, value: int, data: bytes, predecessor: bytes, salt: bytes
) -> Call[bytes]:
    """Make the call hashOperation."""
    return Call(_HASH_OPERATION, (target, value, data, predecessor, salt))


def hash_operation_batch(
    targets: Sequence[str],
    values: Sequence[int],
    payloads: Sequence[bytes],
    predecessor: bytes,
    salt: bytes,
) -> Call[bytes]:
    """Make the call hashOperationBatch."""
    return Call(_HASH_OPERATION_BATCH, (targets, values, payloads, predecessor, salt))


def is_operation(id: bytes) -> Call[bool]:
    """Make the call isOperation."""
    return Call(_IS_OPERATION, (id,))


def is_operation_done(id: bytes) -> Call[bool]:
    """Make the call isOperationDone."""
    return Call(_IS_OPERATION_DONE, (id,))


def is_operation_pending(id: bytes) -> Call[bool]:
    """Make the call isOperationPending."""
    return Call(_IS_OPERATION_PENDING, (id,))


def is_operation_ready(id: bytes) -> Call[bool]:
    """Make the call isOperationReady."""
    return Call(_IS_OPERATION_READY, (id,))


def on_erc1155_batch_received(
    value_0: str, value_1: str, value_2: Sequence[int], value_3: Sequence[int], value_4: bytes
) -> Call[bytes]:
    """Make the call onERC1155BatchReceived."""
    return Call(_ON_ERC1155_BATCH_RECEIVED, (value_0, value_1, value_2, value_3, value_4))


def on_erc1155_received(
    value_0: str, value_1: str, value_2: int, value_3: int, value_4: bytes
) -> Call[bytes]:
    """Make the call onERC1155Received."""
    return Call(_ON_ERC1155_RECEIVED, (value_0, value_1, value_2, value_3, value_4))


def on_erc721_received(value_0: str, value_1: str, value_2: int, value_3: bytes) -> Call[bytes]:
    """Make the call onERC721Received."""
    return Call(_ON_ERC721_RECEIVED, (value_0, value_1, value_2, value_3))


def renounce_role(role: bytes, callerConfirmation: str) -> Call[None]:
    """Make the call renounceRole."""
    return Call(_RENOUNCE_ROLE, (role, callerConfirmation))


def revoke_role(role: bytes, account: str) -> Call[None]:
    """Make the call revokeRole."""
    return Call(_REVOKE_ROLE, (role, account))


def schedule(
    target: str, value: int, data: bytes, predecessor: bytes, salt: bytes, delay: int
) -> Call[None]:
    """Make the call schedule."""
    return Call(_SCHEDULE, (target, value, data, predecessor, salt, delay))


def schedule_batch(
    targets: Sequence[str],
    values: Sequence[int],
    payloads: Sequence[bytes],
    predecessor: bytes,
    salt: bytes,
    delay: int,
) -> Call[None]:
    """Make the call scheduleBatch."""
    return Call(_SCHEDULE_BATCH, (targets, values, payloads, predecessor, salt, delay))


def supports_interface(interfaceId: bytes) -> Call[bool]:
    """Make the call supportsInterface."""
    return Call(_SUPPORTS_INTERFACE, (interfaceId,))


def update_delay(newDelay: int) -> Call[None]:
    """Make the call updateDelay."""
    return Call(_UPDATE_DELAY, (newDelay,))
