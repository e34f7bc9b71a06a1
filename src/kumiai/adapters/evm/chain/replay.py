"""A chain executed again from its genesis: every header must come out as it stands in the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kumiai.adapters.evm.chain import queries
from kumiai.adapters.evm.chain.chain import EmbeddedChain, Options, open_chain
from kumiai.adapters.evm.chain.engine import Nodes
from kumiai.adapters.evm.chain.sealing import Builder
from kumiai.adapters.evm.chain.transactions import Transaction, decode_transaction
from kumiai.base.errors import VerificationError


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
    nodes = Memory()
    genesis = chain.genesis
    parent = genesis.make_header(chain.engine.make_genesis(nodes, genesis.accounts))
    builder = Builder(chain.engine, nodes, genesis, chain.find_hash)
    last = chain.head.number
    nonces: dict[bytes, int] = {}
    count = 0
    for number in range(last + 1):
        stored = chain.store.find_header(number)
        if number > 0 and stored is not None:
            transactions = _load(chain, number)
            count += len(transactions)
            parent = builder.build(
                parent, stored.timestamp, transactions, lambda sender: nonces.get(sender, 0)
            ).header
            for it in transactions:
                nonces[it.sender] = it.nonce + 1
        if stored is None or parent.hash != stored.hash:
            raise VerificationError(f"block {number} of {chain.store.path} is not what it does")
    return Replayed(last + 1, count, parent.hash)


def replay_file(path: Path) -> Replayed:
    """The same for a chain that nobody has open."""
    chain = open_chain(path, options=Options())
    try:
        return replay(chain)
    finally:
        chain.close()


def _load(chain: EmbeddedChain, number: int) -> list[Transaction]:
    rows = queries.list_transactions(chain.store, number)
    return [decode_transaction(row.raw, chain.genesis.chain_id) for row in rows]
