"""From what waits to a block: who comes in, in which order, and the header over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import rlp  # type: ignore[import-untyped]

from kumiai.adapters.evm.chain.blocks import (
    Header,
    compute_base_fee,
    compute_bloom,
    compute_root,
    encode_receipt,
)
from kumiai.adapters.evm.chain.engine import (
    BlockContext,
    Engine,
    InvalidTransactionError,
    Nodes,
    Outcome,
)
from kumiai.adapters.evm.chain.genesis import Genesis
from kumiai.adapters.evm.chain.store import SealedBlock
from kumiai.adapters.evm.chain.transactions import Transaction
from kumiai.base.keys import keccak256


@dataclass(frozen=True)
class Builder:
    """Makes blocks on `nodes`; the same parent, time and transactions make the same block."""

    engine: Engine
    nodes: Nodes
    genesis: Genesis
    ancestor_hash: Callable[[int], bytes]

    def make_context(self, parent: Header, timestamp: int) -> BlockContext:
        """What contracts read in the block behind `parent`."""
        return BlockContext(
            chain_id=self.genesis.chain_id,
            number=parent.number + 1,
            timestamp=timestamp,
            gas_limit=self.genesis.gas_limit,
            base_fee=self.compute_next_base_fee(parent),
            coinbase=self.genesis.coinbase,
            randomness=keccak256(parent.hash),
            ancestor_hash=self.ancestor_hash,
        )

    def compute_next_base_fee(self, parent: Header) -> int:
        """Wei per gas of the block behind `parent`."""
        if self.genesis.is_free:
            return 0
        return compute_base_fee(parent, self.genesis.base_fee_floor)

    def build(
        self,
        parent: Header,
        timestamp: int,
        transactions: Sequence[Transaction],
        get_nonce: Callable[[bytes], int],
    ) -> SealedBlock:
        """Execute what fits, the first that came first, each sender's in the order of nonces.

        get_nonce: the next nonce of a sender in the state of `parent`. What has no place now (a
        gap before it, a fee too low, a full block) is left out; the caller lets it wait.
        """
        context = self.make_context(parent, timestamp)
        execution = self.engine.execute(self.nodes, parent.state_root, context)
        entries: list[tuple[Transaction, Outcome]] = []
        for turn in _Queue(transactions, get_nonce):
            try:
                entries.append((turn.it, execution.apply(turn.it)))
            except InvalidTransactionError:
                continue
            turn.is_done = True
        return self._close(parent, context, entries, execution.close())

    def _close(
        self,
        parent: Header,
        context: BlockContext,
        entries: Sequence[tuple[Transaction, Outcome]],
        state_root: bytes,
    ) -> SealedBlock:
        receipts, gas_used = [], 0
        for it, outcome in entries:
            gas_used += outcome.gas_used
            receipts.append(
                encode_receipt(it.kind, outcome.failure is None, gas_used, outcome.logs)
            )
        header = Header(
            parent_hash=parent.hash,
            number=context.number,
            timestamp=context.timestamp,
            gas_limit=context.gas_limit,
            gas_used=gas_used,
            base_fee=context.base_fee,
            coinbase=context.coinbase,
            state_root=state_root,
            transactions_root=compute_root([it.raw for it, _ in entries]),
            receipts_root=compute_root(receipts),
            bloom=compute_bloom([log for _, outcome in entries for log in outcome.logs]),
            extra=self.genesis.extra,
            randomness=context.randomness,
        )
        body = [rlp.decode(header.encode()), [it.raw for it, _ in entries], [], []]
        return SealedBlock(header, tuple(entries), len(rlp.encode(body)))


@dataclass(slots=True)
class _Turn:
    it: Transaction
    is_done: bool = False


class _Queue:
    """Goes through what waits; a transaction done lets its sender's next one follow at once."""

    def __init__(
        self, transactions: Sequence[Transaction], get_nonce: Callable[[bytes], int]
    ) -> None:
        self._transactions = transactions
        self._get_nonce = get_nonce

    def __iter__(self) -> Iterator[_Turn]:
        expected: dict[bytes, int] = {}
        later: dict[tuple[bytes, int], Transaction] = {}
        for first in self._transactions:
            it: Transaction | None = first
            if first.sender not in expected:
                expected[first.sender] = self._get_nonce(first.sender)
            if first.nonce != expected[first.sender]:
                later[first.sender, first.nonce] = first
                continue
            while it is not None:
                turn = _Turn(it)
                yield turn
                if not turn.is_done:
                    break
                expected[it.sender] += 1
                it = later.pop((it.sender, expected[it.sender]), None)


def make_call_context(builder: Builder, header: Header, *, is_free: bool) -> BlockContext:
    """What a call on the state of an existing block reads: that block. is_free: BASEFEE is 0."""
    parent_context = BlockContext(
        chain_id=builder.genesis.chain_id,
        number=header.number,
        timestamp=header.timestamp,
        gas_limit=header.gas_limit,
        base_fee=header.base_fee,
        coinbase=header.coinbase,
        randomness=header.randomness,
        ancestor_hash=builder.ancestor_hash,
    )
    return replace(parent_context, base_fee=0) if is_free else parent_context
