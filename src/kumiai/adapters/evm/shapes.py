"""The shapes of a node's answers: read strictly, because anybody may have written them.

A field that is missing, of another type or too long raises LyingNodeError with its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.evm.abi import Log
from kumiai.adapters.evm.errors import LyingNodeError

WORD_DIGITS_MAX = 64
TOPICS_MAX = 4


@dataclass(frozen=True, slots=True)
class Header:
    """A block's place in the chain; base_fee in wei per gas, 0 where the chain has none."""

    number: int
    hash: str
    parent: str
    timestamp: int
    base_fee: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction. `fee`: wei paid for gas; `contract`: the one it made."""

    transaction_hash: str
    block: int
    block_hash: str
    is_success: bool
    gas_used: int
    fee: int
    contract: str | None
    logs: tuple[Log, ...]


def read_int(value: object) -> int:
    """Return a quantity, 0x and hex digits, below 2**256."""
    if isinstance(value, str) and value[:2] == "0x" and 1 <= len(value) - 2 <= WORD_DIGITS_MAX:
        try:
            return int(value[2:], 16)
        except ValueError:
            pass
    raise LyingNodeError(f"{_shown(value)} is no quantity")


def read_bytes(value: object) -> bytes:
    """Return data, 0x and an even number of hex digits."""
    if isinstance(value, str) and value[:2] == "0x":
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise LyingNodeError(f"{_shown(value)} is no data")


def read_hash(value: object) -> str:
    """Return 32 bytes as lower-case hex with 0x."""
    return "0x" + _sized(value, 32).hex()


def read_address(value: object) -> str:
    """Return 20 bytes as lower-case hex with 0x."""
    return "0x" + _sized(value, 20).hex()


def read_object(value: object) -> Mapping[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise LyingNodeError(f"{_shown(value)} is no object")
    return value


def read_header(value: object) -> Header:
    """Return a block's header; its transactions are not looked at."""
    block = read_object(value)
    return Header(
        number=read_int(block.get("number")),
        hash=read_hash(block.get("hash")),
        parent=read_hash(block.get("parentHash")),
        timestamp=read_int(block.get("timestamp")),
        base_fee=read_int(block.get("baseFeePerGas") or "0x0"),
    )


def read_receipt(value: object) -> Receipt:
    """Return a receipt; its logs must be of its own block and transaction."""
    body = read_object(value)
    made = body.get("contractAddress")
    gas_used = read_int(body.get("gasUsed"))
    receipt = Receipt(
        transaction_hash=read_hash(body.get("transactionHash")),
        block=read_int(body.get("blockNumber")),
        block_hash=read_hash(body.get("blockHash")),
        is_success=read_int(body.get("status")) == 1,
        gas_used=gas_used,
        fee=gas_used * read_int(body.get("effectiveGasPrice") or "0x0"),
        contract=None if made is None else read_address(made),
        logs=tuple(read_logs(body.get("logs"), 10_000)),
    )
    for log in receipt.logs:
        if (log.block_hash, log.transaction_hash) != (receipt.block_hash, receipt.transaction_hash):
            raise LyingNodeError("a receipt holds a log of another transaction")
    return receipt


def read_logs(value: object, count_max: int) -> list[Log]:
    """Return a list of logs, at most so many."""
    if not isinstance(value, list):
        raise LyingNodeError(f"{_shown(value)} is no list of logs")
    if len(value) > count_max:
        raise LyingNodeError(f"{len(value)} logs at once, above {count_max}")
    return [_read_log(item) for item in value]


def read_senders(value: object) -> list[tuple[str, int, str]]:
    """Return (sender, nonce, hash) of a block's transactions."""
    items = read_object(value).get("transactions")
    if not isinstance(items, list):
        raise LyingNodeError("a block has no list of transactions")
    bodies = [read_object(item) for item in items]
    return [
        (read_address(b.get("from")), read_int(b.get("nonce")), read_hash(b.get("hash")))
        for b in bodies
    ]


def write_call(
    to: str | None, data: bytes, *, sender: str | None = None, value: int = 0
) -> dict[str, str]:
    """Return the object that eth_call and eth_estimateGas take."""
    call = {"data": "0x" + data.hex()}
    if to is not None:
        call["to"] = to
    if sender is not None:
        call["from"] = sender
    if value:
        call["value"] = hex(value)
    return call


def _read_log(value: object) -> Log:
    body = read_object(value)
    topics = body.get("topics")
    if not isinstance(topics, list) or len(topics) > TOPICS_MAX:
        raise LyingNodeError("a log has no list of at most four topics")
    if body.get("removed") is True:
        raise LyingNodeError("a log that was removed is given as one that stands")
    return Log(
        address=read_address(body.get("address")),
        topics=tuple(_sized(topic, 32) for topic in topics),
        data=read_bytes(body.get("data")),
        block=read_int(body.get("blockNumber")),
        block_hash=read_hash(body.get("blockHash")),
        transaction_hash=read_hash(body.get("transactionHash")),
        index=read_int(body.get("logIndex")),
    )


def _sized(value: object, size: int) -> bytes:
    data = read_bytes(value)
    if len(data) != size:
        raise LyingNodeError(f"{_shown(value)} has not {size} bytes")
    return data


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
