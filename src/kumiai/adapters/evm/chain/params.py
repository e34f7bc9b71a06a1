"""What callers send, read strictly: quantities, data, addresses, block tags. Faults are -32602."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kumiai.adapters.evm.chain.errors import reject_params
from kumiai.adapters.evm.chain.transactions import AccessList

DATA_BYTES_MAX = 1_000_000
TOPICS_MAX = 4
CHOICES_MAX = 1_000  # addresses or topics of one filter
_HEX = frozenset("0123456789abcdefABCDEF")


def read_quantity(value: object, name: str = "quantity", bits: int = 256) -> int:
    """A number: "0x1f", or 31 as some clients send it."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise reject_params(f"{name}: a hex quantity is expected")
    if isinstance(value, str):
        digits = value[2:]
        if value[:2] not in ("0x", "0X") or not digits or not _HEX.issuperset(digits):
            raise reject_params(f"{name}: hex string without 0x prefix, or no digits")
        if len(digits) > 66:
            raise reject_params(f"{name}: hex number has more than {bits} bits")
        value = int(digits, 16)
    if not 0 <= value < 2**bits:
        raise reject_params(f"{name}: number outside 0 to 2**{bits} - 1")
    return value


def read_data(value: object, name: str = "data", size: int | None = None) -> bytes:
    """Bytes: "0x" and an even number of hex digits; exactly `size` bytes where given."""
    if not isinstance(value, str) or value[:2] not in ("0x", "0X"):
        raise reject_params(f"{name}: hex data with 0x prefix is expected")
    digits = value[2:]
    if len(digits) % 2 or len(digits) > 2 * DATA_BYTES_MAX or not _HEX.issuperset(digits):
        raise reject_params(f"{name}: an even number of hex digits is expected")
    data = bytes.fromhex(digits)
    if size is not None and len(data) != size:
        raise reject_params(f"{name}: {size} bytes are expected, {len(data)} came")
    return data


def read_address(value: object, name: str = "address") -> bytes:
    """20 bytes."""
    return read_data(value, name, 20)


def read_flag(value: object, name: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise reject_params(f"{name}: true or false is expected")
    return value


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A message call as eth_call and eth_estimateGas take it; None: not said."""

    sender: bytes
    to: bytes
    gas: int | None
    gas_price: int | None  # the fee cap where EIP-1559 fees were given
    gas_tip: int | None
    value: int
    data: bytes
    access_list: AccessList


_FEE_FIELDS = {"gas", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas"}
_CALL_FIELDS = _FEE_FIELDS | {"from", "to", "value", "data", "input", "accessList"}
_IGNORED_FIELDS = {"nonce", "type", "chainId"}  # they change nothing in a call


def read_call(value: object) -> CallRequest:
    """The call object; unknown fields are refused, they would change what is meant."""
    if not isinstance(value, Mapping):
        raise reject_params("a call object is expected")
    said = {key: item for key, item in value.items() if item is not None}
    if unknown := sorted(set(said) - _CALL_FIELDS - _IGNORED_FIELDS):
        raise reject_params(f"call object: fields not supported: {', '.join(map(str, unknown))}")
    if "data" in said and "input" in said and said["data"] != said["input"]:
        raise reject_params('both "data" and "input" are set and not equal: use "input"')
    price = said.get("maxFeePerGas", said.get("gasPrice"))
    tip = said.get("maxPriorityFeePerGas", price)
    to = said.get("to", "0x")
    return CallRequest(
        sender=read_address(said.get("from", "0x" + "00" * 20), "from"),
        to=b"" if to in ("", "0x") else read_address(to, "to"),
        gas=read_quantity(said["gas"], "gas", 64) if "gas" in said else None,
        gas_price=None if price is None else read_quantity(price, "gasPrice"),
        gas_tip=None if tip is None else read_quantity(tip, "maxPriorityFeePerGas"),
        value=read_quantity(said.get("value", 0), "value"),
        data=read_data(said.get("input", said.get("data", "0x")), "data"),
        access_list=_read_access_list(said.get("accessList", [])),
    )


def _read_access_list(value: object) -> AccessList:
    if not isinstance(value, list) or len(value) > CHOICES_MAX:
        raise reject_params(f"accessList: a list of at most {CHOICES_MAX} entries is expected")
    entries = []
    for entry in value:
        keys = entry.get("storageKeys", []) if isinstance(entry, Mapping) else None
        if not isinstance(keys, list) or len(keys) > CHOICES_MAX:
            raise reject_params("accessList: an entry is {address, storageKeys}")
        slots = tuple(int.from_bytes(read_data(key, "storageKeys", 32), "big") for key in keys)
        entries.append((read_address(entry.get("address")), slots))
    return tuple(entries)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which logs: blocks (tags as they came), addresses, topics by position; empty: any."""

    from_block: object
    to_block: object
    block_hash: bytes | None
    addresses: tuple[bytes, ...]
    topics: tuple[tuple[bytes, ...], ...]


def read_filter(value: object) -> LogFilter:
    """The filter object of eth_getLogs, eth_newFilter and eth_subscribe."""
    if not isinstance(value, Mapping):
        raise reject_params("a filter object is expected")
    block_hash = value.get("blockHash")
    if block_hash is not None and not (
        value.get("fromBlock") is None and value.get("toBlock") is None
    ):
        raise reject_params("cannot specify both BlockHash and FromBlock/ToBlock, choose one")
    topics = value.get("topics") or []
    if not isinstance(topics, list) or len(topics) > TOPICS_MAX:
        raise reject_params(f"topics: a list of at most {TOPICS_MAX} is expected")
    return LogFilter(
        from_block=value.get("fromBlock"),
        to_block=value.get("toBlock"),
        block_hash=None if block_hash is None else read_data(block_hash, "blockHash", 32),
        addresses=_read_choices(value.get("address"), "address", 20),
        topics=tuple(_read_choices(topic, "topics", 32) for topic in topics),
    )


def _read_choices(value: object, name: str, size: int) -> tuple[bytes, ...]:
    if value is None:
        return ()
    items = value if isinstance(value, list) else [value]
    if len(items) > CHOICES_MAX:
        raise reject_params(f"{name}: at most {CHOICES_MAX} choices")
    if any(item is None for item in items):  # a null among choices means any
        return ()
    return tuple(read_data(item, name, size) for item in items)
