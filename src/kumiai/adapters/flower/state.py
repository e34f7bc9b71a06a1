"""A `RecordDict` as bytes and back: what a ClientApp keeps in `context.state` survives a crash.

Between a grid and its workers, messages and replies travel so too.

    8 bytes: length of the head; the head, JSON; then all buffers, one after the other

Numbers and texts stand in the head; of arrays and bytes their sizes do. Nothing is executed when it
is read, and it is read only from the member's own store or a process of one's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from kumiai.adapters.flower.arrays import build_array

LENGTH_BYTES = 8
STATE_BYTES_MAX = 2**30


def encode_records(records: RecordDict) -> bytes:
    """Return the records as bytes; ValueError above `STATE_BYTES_MAX`."""
    buffers: list[bytes] = []

    def keep(data: bytes) -> int:
        buffers.append(bytes(data))
        return len(data)

    head = json.dumps({name: _encode(record, keep) for name, record in records.items()}).encode()
    size = LENGTH_BYTES + len(head) + sum(map(len, buffers))
    if size > STATE_BYTES_MAX:
        raise ValueError(f"context.state has {size} bytes, at most {STATE_BYTES_MAX} are kept")
    return b"".join([len(head).to_bytes(LENGTH_BYTES, "big"), head, *buffers])


def decode_records(data: bytes) -> RecordDict:
    """Undo `encode_records`; ValueError if the bytes do not add up."""
    begin = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
    if len(data) < begin:
        raise ValueError(f"a state of {len(data)} bytes whose head ends at {begin}")
    place = begin

    def take(size: int) -> bytes:
        nonlocal place
        place += size
        return data[place - size : place]

    head = json.loads(data[LENGTH_BYTES:begin])
    records = RecordDict({name: _decode(kind, part, take) for name, (kind, part) in head.items()})
    if place != len(data):
        raise ValueError(f"a state of {len(data)} bytes whose buffers end at {place}")
    return records


def _encode(record: Any, keep: Callable[[bytes], int]) -> list[Any]:
    if isinstance(record, ArrayRecord):
        arrays = {
            name: [a.dtype, list(a.shape), a.stype, keep(a.data)] for name, a in record.items()
        }
        return ["arrays", arrays]
    values = {name: _encode_value(value, keep) for name, value in record.items()}
    return ["metrics" if isinstance(record, MetricRecord) else "config", values]


def _encode_value(value: Any, keep: Callable[[bytes], int]) -> Any:
    if isinstance(value, bytes):
        return {"bytes": keep(value)}
    if isinstance(value, list) and any(isinstance(item, bytes) for item in value):
        return [{"bytes": keep(item)} for item in value]
    return value


def _decode(kind: str, part: dict[str, Any], take: Callable[[int], bytes]) -> Any:
    if kind == "arrays":
        record = ArrayRecord()
        for name, (dtype, shape, stype, size) in part.items():
            record[name] = build_array(dtype, tuple(shape), stype, take(size))
        return record
    values = {name: _decode_value(value, take) for name, value in part.items()}
    return MetricRecord(values) if kind == "metrics" else ConfigRecord(values)


def _decode_value(value: Any, take: Callable[[int], bytes]) -> Any:
    if isinstance(value, dict):
        return take(value["bytes"])
    if isinstance(value, list):
        return [take(item["bytes"]) if isinstance(item, dict) else item for item in value]
    return value
