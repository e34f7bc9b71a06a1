"""What the chain needs from an EVM, and nothing more: the engine can be replaced.

An engine is pure but for the node store it is handed: the same nodes, root and transactions give
the same outcomes. Blocks, signatures, receipts, fees and the pool's rules are the chain's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kumiai.adapters.evm.chain.transactions import Transaction


class Nodes(MutableMapping[bytes, bytes]):
    """Trie nodes and code by their hash: once written, never changed."""


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What contracts can read about the block they run in. `ancestor_hash` answers BLOCKHASH."""

    chain_id: int
    number: int
    timestamp: int  # Unix seconds
    gas_limit: int
    base_fee: int  # wei per gas
    coinbase: bytes
    randomness: bytes  # PREVRANDAO: no secret and no lottery, everybody can compute it
    ancestor_hash: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Log:
    """One event that a contract emitted."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction did; `failure`: None, "revert", or the word for why it failed."""

    gas_used: int
    failure: str | None
    output: bytes
    logs: tuple[Log, ...]
    created: bytes | None  # the new contract's address
    refund: int = 0  # gas given back at the end: an estimate must be able to pay it first


@dataclass(frozen=True, slots=True)
class Account:
    """An address at one state."""

    nonce: int
    balance: int
    code_hash: bytes


class InvalidTransactionError(ValueError):
    """It cannot stand in this block at this state: nothing was changed by it."""


class EngineError(Exception):
    """The engine itself broke on a transaction: the block must be given up and made without it."""

    def __init__(self, transaction: Transaction, detail: str) -> None:
        super().__init__(f"the engine broke on 0x{transaction.hash.hex()}: {detail}")
        self.transaction = transaction


class Execution(Protocol):
    """A block being executed: apply transactions one by one, then close."""

    def apply(self, transaction: Transaction) -> Outcome:
        """Execute; InvalidTransactionError where it has no place here (nonce, funds, fee).

        EngineError where the engine breaks: nothing can be applied or closed after it.
        """

    def close(self) -> bytes:
        """Write the new nodes; the state root after the last transaction."""


class View(Protocol):
    """One state, read."""

    def get_account(self, address: bytes) -> Account:
        """Nonce, balance and code hash; zeros where there is nothing."""

    def get_code(self, address: bytes) -> bytes:
        """The contract's code; empty where there is none."""

    def get_storage(self, address: bytes, slot: int) -> int:
        """One slot of a contract."""


class Engine(Protocol):
    """An EVM."""

    name: str

    def make_genesis(self, nodes: Nodes, accounts: Mapping[bytes, GenesisAccount]) -> bytes:
        """Write the first state; its root."""

    def execute(self, nodes: Nodes, root: bytes, context: BlockContext) -> Execution:
        """Begin a block on the state of `root`."""

    def call(
        self, nodes: Nodes, root: bytes, context: BlockContext, transaction: Transaction
    ) -> Outcome:
        """Execute without writing; the nonce and the signature are not looked at."""

    def view(self, nodes: Nodes, root: bytes) -> View:
        """Read a state; KeyError where the root is unknown."""


@dataclass(frozen=True, slots=True)
class GenesisAccount:
    """What an address begins with: wei, code, storage by slot."""

    balance: int = 0
    nonce: int = 0
    code: bytes = b""
    storage: Sequence[tuple[int, int]] = ()
