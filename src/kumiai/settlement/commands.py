"""What a ledger can be asked to do, and the one byte form of each request.

Every command names its `task` and carries a `key`: applying a command twice changes nothing, so a
node that crashed between sending and hearing back simply sends again. Amounts are integers in the
run's smallest unit, any size up to 2**256 - 1 (wei fit); as JSON they travel as decimal text.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from kumiai.base import canonical

COMMAND_SIZE_BYTES_MAX = 64 * 1024 * 1024  # a round that pays a hundred thousand delegators
AMOUNT_MAX = 2**256 - 1  # what an EVM word holds

Payment = tuple[str, int]  # (who, amount)


@dataclass(frozen=True, slots=True)
class Deposit:
    """Money arrives from outside: `account`'s free balance grows."""

    key: str
    task: str
    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Money leaves for the outside: `account`'s free balance shrinks."""

    key: str
    task: str
    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Fund:
    """A customer puts part of its free balance into the task's escrow."""

    key: str
    task: str
    payer: str
    amount: int


@dataclass(frozen=True, slots=True)
class Stake:
    """A trainer or validator binds part of its free balance to its own conduct."""

    key: str
    task: str
    member: str
    amount: int


@dataclass(frozen=True, slots=True)
class Delegate:
    """A delegator backs `node` with part of its free balance; only the delegator gets it back."""

    key: str
    task: str
    delegator: str
    node: str
    amount: int


@dataclass(frozen=True, slots=True)
class SettleRound:
    """One certified round: escrow pays members and the locked pot; slashed stake is burnt.

    `burnt` holds (member, amount); `evidence` the hash that proves each burn, in the same order.
    What the round leaves over stays in escrow until `Refund`.
    """

    key: str
    task: str
    round: int
    payments: tuple[Payment, ...]
    locked: int
    burnt: tuple[Payment, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SettleFinal:
    """The end of a task: the locked pot pays `payments`, its rest returns to escrow.

    Closes the task: afterwards stakes, delegations and the escrow's rest can be released, and
    nothing else can happen. A failed task is closed by a `SettleFinal` without payments.
    """

    key: str
    task: str
    payments: tuple[Payment, ...]
    burnt: tuple[Payment, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refund:
    """What a closed task did not spend goes back to a payer, at most what that payer put in."""

    key: str
    task: str
    payer: str
    amount: int


@dataclass(frozen=True, slots=True)
class ReleaseStake:
    """A closed task gives a member what is left of its stake."""

    key: str
    task: str
    member: str


@dataclass(frozen=True, slots=True)
class ReleaseDelegation:
    """A closed task gives a delegator back what it lent to `node`."""

    key: str
    task: str
    delegator: str
    node: str


LedgerCommand = (
    Deposit
    | Withdraw
    | Fund
    | Stake
    | Delegate
    | SettleRound
    | SettleFinal
    | Refund
    | ReleaseStake
    | ReleaseDelegation
)

_TYPES: dict[str, type[LedgerCommand]] = {
    "deposit": Deposit,
    "withdraw": Withdraw,
    "fund": Fund,
    "stake": Stake,
    "delegate": Delegate,
    "settle_round": SettleRound,
    "settle_final": SettleFinal,
    "refund": Refund,
    "release_stake": ReleaseStake,
    "release_delegation": ReleaseDelegation,
}
_NAMES: dict[type[LedgerCommand], str] = {kind: name for name, kind in _TYPES.items()}


def encode_command(command: LedgerCommand) -> bytes:
    """Return the canonical JSON of `command`; raises ValueError for a value of the wrong type."""
    document: dict[str, Any] = {"type": _NAMES[type(command)]}
    for item in fields(command):
        document[item.name] = _encode_value(item.name, getattr(command, item.name))
    return canonical.encode_checked(document)


def decode_command(data: bytes) -> LedgerCommand:
    """Parse what `encode_command` wrote; raises ValueError on anything else."""
    document = canonical.decode(data, COMMAND_SIZE_BYTES_MAX)
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        raise ValueError("a ledger command is an object with a `type`")
    kind = _TYPES.get(document["type"])
    if kind is None:
        raise ValueError(f"type {document['type']!r} is none of {sorted(_TYPES)}")
    names = {item.name for item in fields(kind)}
    if set(document) != names | {"type"}:
        raise ValueError(f"{document['type']} has exactly the fields {sorted(names)}")
    return kind(**{name: _decode_value(name, document[name]) for name in names})


def compute_digest(command: LedgerCommand) -> str:
    """Return the sha256 of the command's canonical bytes: same digest, same command."""
    return canonical.sha256_hex(encode_command(command))


def _encode_value(name: str, value: Any) -> Any:
    if name in ("amount", "locked"):
        return _encode_amount(value)
    if name in ("payments", "burnt"):
        return [[_encode_text(who), _encode_amount(amount)] for who, amount in value]
    if name == "evidence":
        return [_encode_text(item) for item in value]
    if name == "round":
        return _checked_round(value)
    return _encode_text(value)


def _decode_value(name: str, value: Any) -> Any:
    if name in ("amount", "locked"):
        return _decode_amount(value)
    if name in ("payments", "burnt"):
        return tuple(_decode_payment(item) for item in _checked_list(name, value))
    if name == "evidence":
        return tuple(_encode_text(item) for item in _checked_list(name, value))
    if name == "round":
        return _checked_round(value)
    return _encode_text(value)


def _encode_amount(amount: Any) -> str:
    if not isinstance(amount, int) or isinstance(amount, bool):
        raise ValueError(f"amount {amount!r} is not an integer")
    return str(amount)


def _decode_amount(text: Any) -> int:
    if not isinstance(text, str) or len(text) > 80:
        raise ValueError(f"amount {text!r} is not short decimal text")
    amount = int(text)
    if str(amount) != text:
        raise ValueError(f"amount {text!r} is not plain decimal")
    return amount


def _decode_payment(item: Any) -> Payment:
    if not isinstance(item, list) or len(item) != 2:
        raise ValueError(f"payment {item!r} is not [who, amount]")
    return _encode_text(item[0]), _decode_amount(item[1])


def _encode_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value


def _checked_list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value


def _checked_round(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"round {value!r} is not an integer")
    return value
