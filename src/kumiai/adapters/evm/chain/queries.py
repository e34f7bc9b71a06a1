"""Reading the chain's file: transactions, receipts and logs of committed blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.adapters.evm.chain.engine import Log
from kumiai.adapters.evm.chain.errors import LIMITED, RpcError
from kumiai.adapters.evm.chain.store import Store

LOGS_MAX = 10_000
LOG_BLOCKS_MAX = 100_000
_COLUMNS = (
    "t.number, t.position, t.hash, t.raw, t.sender, t.is_ok, t.gas_used, t.gas_cumulative, "
    "t.created"
)


@dataclass(frozen=True, slots=True)
class TransactionRow:
    """A transaction in its block."""

    block_hash: bytes
    number: int
    position: int
    hash: bytes
    raw: bytes
    sender: bytes
    is_ok: bool
    gas_used: int
    gas_cumulative: int
    created: bytes | None


@dataclass(frozen=True, slots=True)
class LogRow:
    """A log in its block; position: its transaction's, index: its own among the block's logs."""

    number: int
    index: int
    position: int
    log: Log


def find_number(store: Store, block_hash: bytes) -> int | None:
    """The number of the block with this hash."""
    row = store.reader.execute("select number from blocks where hash = ?", (block_hash,)).fetchone()
    return None if row is None else int(row[0])


def find_size(store: Store, number: int) -> int:
    """Bytes of a block's RLP."""
    row = store.reader.execute("select size from blocks where number = ?", (number,)).fetchone()
    return int(row[0])


def find_transaction(store: Store, transaction_hash: bytes) -> TransactionRow | None:
    """A transaction in a block, by its hash."""
    row = store.reader.execute(
        f"select b.hash, {_COLUMNS} from transactions t join blocks b using(number) "  # noqa: S608
        "where t.hash = ?",
        (transaction_hash,),
    ).fetchone()
    return None if row is None else _read_row(row)


def list_transactions(store: Store, number: int) -> list[TransactionRow]:
    """A block's transactions in their order."""
    rows = store.reader.execute(
        f"select b.hash, {_COLUMNS} from transactions t join blocks b using(number) "  # noqa: S608
        "where t.number = ? order by t.position",
        (number,),
    )
    return [_read_row(row) for row in rows]


def _read_row(row: Sequence[object]) -> TransactionRow:
    block_hash, number, position, it_hash, raw, sender, is_ok, used, cumulative, created = row
    return TransactionRow(
        block_hash,  # type: ignore[arg-type]
        number,  # type: ignore[arg-type]
        position,  # type: ignore[arg-type]
        it_hash,  # type: ignore[arg-type]
        raw,  # type: ignore[arg-type]
        sender,  # type: ignore[arg-type]
        bool(is_ok),
        used,  # type: ignore[arg-type]
        cumulative,  # type: ignore[arg-type]
        created,  # type: ignore[arg-type]
    )


def list_block_logs(store: Store, number: int, position: int | None = None) -> list[LogRow]:
    """A block's logs, or those of one of its transactions."""
    where, given = "number = ?", [number]
    if position is not None:
        where, given = "number = ? and position = ?", [number, position]
    return _fetch_logs(store, where, given)


def list_logs(
    store: Store,
    first: int,
    last: int,
    addresses: Sequence[bytes],
    topics: Sequence[Sequence[bytes]],
) -> list[LogRow]:
    """The logs of blocks first..last from these addresses and with these topics; empty: any.

    RpcError where the range or the answer is larger than one answer may be: ask for less.
    """
    if last - first >= LOG_BLOCKS_MAX:
        said = f"{last - first + 1} blocks, at most {LOG_BLOCKS_MAX}"
        raise RpcError(LIMITED, f"query exceeds max block range: {said}")
    where, given = ["number between ? and ?"], [first, last]
    columns = ["address", "topic0", "topic1", "topic2", "topic3"]
    for column, choices in zip(columns, [addresses, *topics], strict=False):
        if choices:
            where.append(f"{column} in ({','.join('?' * len(choices))})")
            given.extend(choices)  # type: ignore[arg-type]
    if topics and not topics[-1]:  # a trailing "any" asks that the topic is there
        where.append(f"topic{len(topics) - 1} is not null")
    rows = _fetch_logs(store, " and ".join(where), given, LOGS_MAX + 1)
    if len(rows) > LOGS_MAX:
        raise RpcError(
            LIMITED, f"query returned more than {LOGS_MAX} results: ask for fewer blocks"
        )
    return rows


def _fetch_logs(
    store: Store, where: str, given: Sequence[object], count_max: int = -1
) -> list[LogRow]:
    rows = store.reader.execute(
        "select number, log_index, position, address, topic0, topic1, topic2, topic3, data "  # noqa: S608
        f"from logs where {where} order by number, log_index limit {count_max}",
        given,
    )
    return [
        LogRow(
            number,
            index,
            position,
            Log(address, tuple(topic for topic in topics if topic is not None), data),
        )
        for number, index, position, address, *topics, data in rows
    ]


def map_hashes(store: Store, rows: Sequence[LogRow]) -> dict[int, dict[int, bytes]]:
    """By block and position, the hashes of the transactions that these logs came from."""
    found: dict[int, dict[int, bytes]] = {}
    for number in {row.number for row in rows}:
        pairs = store.reader.execute(
            "select position, hash from transactions where number = ?", (number,)
        )
        found[number] = dict(pairs.fetchall())
    return found
