"""The embedded chain: transactions come in, blocks come out, and what was answered is on disk.

A transaction is answered when it stands in a committed block (or, where it must wait for another
one, in the committed pool). Who comes while a block is made waits and shares the next one: idle,
each transaction is sealed at once; under load, a block takes everything that waits.
"""

from __future__ import annotations

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kumiai.adapters.evm.chain.blocks import Header
from kumiai.adapters.evm.chain.clock import Clock, read_wall_clock
from kumiai.adapters.evm.chain.engine import Account, Engine, EngineError, View
from kumiai.adapters.evm.chain.errors import INTERNAL, RpcError
from kumiai.adapters.evm.chain.genesis import Genesis, read_genesis
from kumiai.adapters.evm.chain.pool import Pool, check_shape
from kumiai.adapters.evm.chain.sealing import Builder
from kumiai.adapters.evm.chain.store import VERSION, SealedBlock, Store
from kumiai.adapters.evm.chain.transactions import Transaction, decode_transaction
from kumiai.base.errors import InputError, StoreError

RECENT_HASHES = 256
BLOCKS_IN_A_ROW_MAX = 64  # full ones, or empty ones that let the base fee fall for what waits

Listener = Callable[[SealedBlock], None]


@dataclass(slots=True, eq=False)
class _Ticket:
    """One transaction between its arrival and its answer."""

    it: Transaction
    is_done: bool = False
    error: Exception | None = None
    replaced: Transaction | None = None


@dataclass(frozen=True)
class Options:
    """How a chain is opened; none of it is part of the chain.

    clock: Unix seconds. is_dev: methods that move time and seal empty blocks answer. is_synced:
    every answer waits for the disk, also against power cuts; without it kill -9 loses nothing.
    """

    clock: Callable[[], int] = read_wall_clock
    is_dev: bool = False
    is_synced: bool = False
    engine: Engine | None = None  # None: py-evm


def open_chain(
    path: Path | None, genesis: Genesis | None = None, options: Options | None = None
) -> EmbeddedChain:
    """Open the chain of a file, or begin one.

    path: None keeps it for this process only. genesis: needed for a new file; for an old one None,
    or the same as at its beginning (InputError else). StoreError where the disk fails.
    """
    options = options or Options()
    folder = None
    if path is None:
        folder = tempfile.TemporaryDirectory(prefix="kumiai-chain-")
        path = Path(folder.name) / "chain.sqlite"
    engine = options.engine or _load_engine()
    store = Store(path, is_synced=options.is_synced)
    try:
        chain = EmbeddedChain(store, engine, _begin(store, engine, genesis), options)
    except BaseException:
        store.close()
        raise
    chain._folder = folder
    return chain


def _load_engine() -> Engine:
    from kumiai.adapters.evm.chain.pyevm import PyEvm

    return PyEvm()


def _begin(store: Store, engine: Engine, genesis: Genesis | None) -> Genesis:
    """The file's genesis; written now where the file is new."""
    saved = store.get_meta("genesis")
    if saved is not None:
        found = read_genesis(saved)
        if genesis is not None and genesis.to_json() != found.to_json():
            raise InputError(
                "genesis", str(store.path), "the file began differently: open it without a genesis"
            )
        return found
    if genesis is None:
        raise InputError("genesis", None, "a new chain needs one: chain id and who owns what")
    root = engine.make_genesis(store.nodes, genesis.accounts)
    header = genesis.make_header(root)
    meta = [("genesis", genesis.to_json()), ("version", VERSION)]
    store.commit(SealedBlock(header, (), len(header.encode())), meta=meta)
    return genesis


@dataclass(eq=False)
class _Head:
    """The last block and what is computed from its state on demand."""

    header: Header
    view: View
    accounts: dict[bytes, Account] = field(default_factory=dict)

    def get_account(self, address: bytes) -> Account:
        found = self.accounts.get(address)
        if found is None:
            found = self.accounts[address] = self.view.get_account(address)
        return found


class EmbeddedChain:
    """A chain of one process. All methods can be called from any thread."""

    def __init__(self, store: Store, engine: Engine, genesis: Genesis, options: Options) -> None:
        self.genesis = genesis
        self.is_dev = options.is_dev
        self.store = store
        self.engine = engine
        self._lock = threading.RLock()
        self._inbox: deque[_Ticket] = deque()
        self._pool = Pool()
        self._listeners: list[Listener] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.builder = Builder(engine, store.nodes, genesis, self.find_hash)
        self.clock = Clock(options.clock, int(store.get_meta("clock_offset") or 0))
        self._hashes: dict[int, bytes] = {}
        header = store.find_head()
        assert header is not None, "a chain begins with its genesis"
        self._set_head(header)
        for raw in store.load_pending():
            self._pool.add(decode_transaction(raw, genesis.chain_id))

    # -- what it is --

    @property
    def head(self) -> Header:
        """The last committed block."""
        return self._head.header

    @property
    def pool(self) -> Pool:
        """What was acknowledged and stands in no block yet."""
        return self._pool

    def find_hash(self, number: int) -> bytes:
        """The hash of a block; of one that is not there, zeros."""
        found = self._hashes.get(number)
        if found is None:
            header = self.store.find_header(number)
            found = b"\0" * 32 if header is None else header.hash
        return found

    def compute_next_base_fee(self) -> int:
        """Wei per gas of the block to come."""
        return self.builder.compute_next_base_fee(self.head)

    def count_nonce(self, sender: bytes) -> int:
        """The sender's next nonce, behind what waits."""
        with self._lock:
            return self._pool.count_from(sender, self._head.get_account(sender).nonce)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each committed block, from the thread that sealed it.

        Returns what ends it. A listener must be quick and must not raise.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def close(self) -> None:
        """Wait for the block being made and close the file."""
        with self._lock:
            self.store.close()
            if self._folder is not None:
                self._folder.cleanup()

    # -- transactions come in --

    def submit(self, raw: bytes) -> bytes:
        """Take a signed transaction; its hash, once that is on disk. RpcError where refused."""
        (answer,) = self.submit_many([raw])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def submit_many(self, raws: Sequence[bytes]) -> list[bytes | Exception]:
        """Take many at once: they share blocks. In place of a hash, why that one was refused."""
        tickets: list[_Ticket | RpcError] = []
        for raw in raws:
            try:
                it = decode_transaction(raw, self.genesis.chain_id)
                check_shape(it, self.genesis.gas_limit, self.compute_next_base_fee())
                tickets.append(_Ticket(it))
            except RpcError as error:
                tickets.append(error)
        waiting = [ticket for ticket in tickets if isinstance(ticket, _Ticket)]
        self._inbox.extend(waiting)
        # Who gets the lock seals for all that came until then; the others find their work done.
        with self._lock:
            if not all(ticket.is_done for ticket in waiting):
                self._drain()
        return [
            (ticket.error or ticket.it.hash) if isinstance(ticket, _Ticket) else ticket
            for ticket in tickets
        ]

    def mine(self, blocks: int = 1) -> None:
        """Seal what waits, or empty blocks (a developer's method)."""
        with self._lock:
            for _ in range(blocks):
                self._seal(())

    def save_clock(self) -> None:
        """Keep the clock's offset over a restart."""
        with self._lock:
            self.store.commit(None, meta=[("clock_offset", str(self.clock.offset))])

    def _drain(self) -> None:
        tickets = [self._inbox.popleft() for _ in range(len(self._inbox))]
        admitted = [ticket for ticket in tickets if self._admit(ticket)]
        try:
            if admitted:
                self._seal_all(admitted)
        except Exception as error:
            self.store.nodes.forget_new()
            for ticket in reversed(admitted):
                ticket.error = _explain(error)
                self._pool.remove([ticket.it])
                if ticket.replaced is not None:
                    self._pool.add(ticket.replaced)
            raise
        finally:
            for ticket in tickets:
                ticket.is_done = True

    def _admit(self, ticket: _Ticket) -> bool:
        try:
            self._pool.check(ticket.it, self._head.get_account(ticket.it.sender))
        except RpcError as error:
            ticket.error = error
            return False
        ticket.replaced = self._pool.get_replaced(ticket.it)
        self._pool.add(ticket.it)
        return True

    def _seal_all(self, fresh: Sequence[_Ticket]) -> None:
        """Blocks until nothing more fits. What still waits is saved with the first of them.

        An error is raised only where nothing was saved: later, what waits is acknowledged already
        and the next transaction brings it into a block.
        """
        self._seal(fresh)
        for _ in range(BLOCKS_IN_A_ROW_MAX):
            if len(self._pool) == 0 or not self._is_ready():
                return
            try:
                self._seal(())
            except StoreError:
                self.store.nodes.forget_new()
                return

    def _is_ready(self) -> bool:
        """Does something wait that the next blocks can take, now or when the base fee falls?"""
        floor = 0 if self.genesis.is_free else self.genesis.base_fee_floor
        return any(
            it.nonce == account.nonce and it.gas_fee_cap >= floor and account.balance >= it.cost_max
            for it in self._pool
            if (account := self._head.get_account(it.sender))
        )

    def _seal(self, fresh: Sequence[_Ticket]) -> None:
        """One block of what waits; `fresh` was not acknowledged yet and is saved with it."""
        parent = self.head
        timestamp = self.clock.compute_timestamp(parent.timestamp)
        block, broken = self._build(parent, timestamp, fresh)
        entered = [it for it, _ in block.entries]
        done = {it.hash for it in entered}
        waiting = [it.it for it in fresh if it.it.hash not in done and self._is_waiting(it.it)]
        if fresh and not done:  # only gaps: an empty block says nothing
            self.store.nodes.forget_new()
            self.store.commit(None, kept=waiting, dropped=broken)
            return
        self.clock.on_sealed(timestamp)
        meta = [("clock_offset", str(self.clock.offset))] if self.is_dev else []
        self.store.commit(block, kept=waiting, dropped=broken, meta=meta)
        self._set_head(block.header)
        self._pool.remove(entered)
        for listener in list(self._listeners):
            listener(block)

    def _build(
        self, parent: Header, timestamp: int, fresh: Sequence[_Ticket]
    ) -> tuple[SealedBlock, list[Transaction]]:
        """The block, and the transactions on which the engine broke: they leave the pool."""
        broken: list[Transaction] = []
        while True:
            try:
                block = self.builder.build(
                    parent,
                    timestamp,
                    self._pool.list_by_arrival(),
                    lambda sender: self._head.get_account(sender).nonce,
                )
            except EngineError as error:
                self.store.nodes.forget_new()
                self._pool.remove([error.transaction])
                broken.append(error.transaction)
                for ticket in fresh:
                    if ticket.it.hash == error.transaction.hash:
                        ticket.error = RpcError(INTERNAL, str(error))
            else:
                return block, broken

    def _is_waiting(self, it: Transaction) -> bool:
        return self._pool.find(it.hash) is not None

    def _set_head(self, header: Header) -> None:
        self._hashes[header.number] = header.hash
        self._hashes.pop(header.number - RECENT_HASHES, None)
        self._head = _Head(header, self.engine.view(self.store.nodes, header.state_root))


def _explain(error: Exception) -> Exception:
    if isinstance(error, StoreError | RpcError):
        return error
    return RpcError(INTERNAL, f"the block was not sealed: {error}")
