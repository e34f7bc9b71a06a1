"""A chain executed again from its genesis: every header must come out as it stands in the file.

Receipts, logs and state are compared too. `replay` keeps nothing; `rebuild` writes what came out to
a file of its own, so that whoever asks that one believes nothing of the first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kumiai.adapters.evm.chain.blocks import Header, decode_header
from kumiai.adapters.evm.chain.chain import EmbeddedChain, Options, open_chain
from kumiai.adapters.evm.chain.engine import Engine, Nodes
from kumiai.adapters.evm.chain.genesis import Genesis, read_genesis
from kumiai.adapters.evm.chain.sealing import Builder
from kumiai.adapters.evm.chain.store import SealedBlock, has_only, is_stored, list_nodes
from kumiai.adapters.evm.chain.transactions import Transaction, decode_transaction
from kumiai.base.errors import StoreError, VerificationError


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was executed again."""

    blocks: int
    transactions: int
    head: bytes  # the last block's hash


class Memory(dict[bytes, bytes], Nodes):
    """Nodes that are kept for the length of a replay."""


def replay(chain: EmbeddedChain) -> Replayed:
    """Execute all blocks again; VerificationError names the first that comes out differently.

    Cost: as much as making them; memory grows with the state's history.
    """
    nodes, store = Memory(), chain.store
    blocks = _execute(store.path, store.reader, chain.genesis, chain.engine, nodes)
    count = sum(len(block.entries) for block in blocks)
    head = chain.head
    _check_rest(store.path, store.reader, nodes, head.number, count)
    return Replayed(head.number + 1, count, head.hash)


def replay_file(path: Path) -> Replayed:
    """The same for a chain that nobody has open."""
    chain = open_chain(path, options=Options())
    try:
        return replay(chain)
    finally:
        chain.close()


def rebuild(source: Path, target: Path, options: Options | None = None) -> EmbeddedChain:
    """Execute the chain of `source` into a new file, and open that; `source` is only read.

    Taken from `source`: genesis, signed transactions and the blocks' times; the rest is compared.
    VerificationError where something comes out differently or cannot be read.
    """
    try:
        with closing(_open_only_to_read(source)) as reader:
            (text,) = reader.execute("select value from meta where key = 'genesis'").fetchone()
            chain = open_chain(target, read_genesis(text), options)
            try:
                count, number, store = 0, 0, chain.store
                for block in _execute(source, reader, chain.genesis, chain.engine, store.nodes):
                    count, number = count + len(block.entries), block.header.number
                    if number > 0:
                        store.commit(block)
                _check_rest(source, reader, list_nodes(store.reader), number, count)
            finally:
                chain.close()
    except (VerificationError, StoreError):
        raise
    except Exception as error:  # the file is a stranger's: any failure to read is the finding
        said = f"{source} cannot be read: {type(error).__name__}: {error}"
        raise VerificationError(said) from error
    return open_chain(target, None, options)


def _execute(
    path: Path, reader: sqlite3.Connection, genesis: Genesis, engine: Engine, nodes: Nodes
) -> Iterator[SealedBlock]:
    """Make each block of a file anew, from its genesis on; VerificationError at a difference."""
    hashes: list[bytes] = []
    nonces: dict[bytes, int] = {}

    def find_hash(number: int) -> bytes:
        return hashes[number] if 0 <= number < len(hashes) else bytes(32)

    builder = Builder(engine, nodes, genesis, find_hash)
    parent = genesis.make_header(engine.make_genesis(nodes, genesis.accounts))
    block = SealedBlock(parent, (), len(parent.encode()))
    (last,) = reader.execute("select max(number) from blocks").fetchone()
    for number in range(last + 1):
        stored = _find_header(reader, number)
        if number > 0 and stored is not None and stored.timestamp >= parent.timestamp:
            waiting = _list_transactions(reader, number, genesis.chain_id)
            block = builder.build(
                parent, stored.timestamp, waiting, lambda sender: nonces.get(sender, 0)
            )
            nonces.update({it.sender: it.nonce + 1 for it, _ in block.entries})
            parent = block.header
        if stored is None or parent.hash != stored.hash:
            raise VerificationError(f"block {number} of {path} is not what it does")
        if not is_stored(reader, block):
            raise VerificationError(
                f"block {number} of {path}: its receipts or logs are not what it does"
            )
        hashes.append(parent.hash)
        yield block


def _open_only_to_read(path: Path) -> sqlite3.Connection:
    """Open a chain's file so that nothing is written beside it, where it was closed properly."""
    is_closed = not Path(f"{path}-wal").exists()
    how = "immutable=1" if is_closed else "mode=ro"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True)


def _check_rest(
    path: Path,
    reader: sqlite3.Connection,
    nodes: Mapping[bytes, bytes],
    last: int,
    transactions: int,
) -> None:
    if not has_only(reader, nodes, last + 1, transactions):
        raise VerificationError(f"{path}: its state, or more, is not what its blocks have made")


def _find_header(reader: sqlite3.Connection, number: int) -> Header | None:
    found = reader.execute("select header from blocks where number = ?", (number,)).fetchone()
    return None if found is None else decode_header(found[0])


def _list_transactions(reader: sqlite3.Connection, number: int, chain_id: int) -> list[Transaction]:
    rows = reader.execute(
        "select raw from transactions where number = ? order by position", (number,)
    )
    return [decode_transaction(raw, chain_id) for (raw,) in rows]
