"""Transactions that wait: by sender and nonce, in the order in which they came.

Pure but for its own tables. What is refused here is refused in geth's words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kumiai.adapters.evm.chain.engine import Account
from kumiai.adapters.evm.chain.errors import refuse
from kumiai.adapters.evm.chain.transactions import INITCODE_BYTES_MAX, Transaction
from kumiai.base.keys import keccak256

WAITING_MAX = 10_000
WAITING_PER_SENDER_MAX = 2_000
REPLACEMENT_PERCENT = 110  # of the fee cap and of the tip, as geth
EMPTY_CODE_HASH = keccak256(b"")


@dataclass(frozen=True, slots=True)
class _Waiting:
    order: int
    transaction: Transaction


class Pool:
    """What is not in a block yet. Bounded; the chain's lock guards it."""

    def __init__(self) -> None:
        self._by_sender: dict[bytes, dict[int, _Waiting]] = {}
        self._by_hash: dict[bytes, Transaction] = {}
        self._costs: dict[bytes, int] = {}  # by sender: the sum of what waits
        self._next_order = 0

    def __len__(self) -> int:
        return len(self._by_hash)

    def __iter__(self) -> Iterator[Transaction]:
        return iter(list(self._by_hash.values()))

    def find(self, transaction_hash: bytes) -> Transaction | None:
        """A waiting transaction by its hash."""
        return self._by_hash.get(transaction_hash)

    def count_from(self, sender: bytes, nonce: int) -> int:
        """The first nonce from `nonce` on that nothing waits with."""
        waiting = self._by_sender.get(sender, {})
        while nonce in waiting:
            nonce += 1
        return nonce

    def get_replaced(self, transaction: Transaction) -> Transaction | None:
        """The waiting one with its sender and nonce."""
        found = self._by_sender.get(transaction.sender, {}).get(transaction.nonce)
        return None if found is None else found.transaction

    def check(self, it: Transaction, account: Account) -> None:
        """RpcError where it may not wait here; account: its sender's, at the last block."""
        if it.hash in self._by_hash:
            raise refuse("already known")
        if it.nonce < account.nonce:
            said = f"next nonce {account.nonce}, tx nonce {it.nonce}"
            raise refuse(f"nonce too low: {said}")
        if account.code_hash != EMPTY_CODE_HASH:  # EIP-3607; a fresh account has zeros or this
            raise refuse("sender not an eoa: there is code at its address")
        waiting = self._by_sender.get(it.sender, {})
        replaced = waiting.get(it.nonce)
        if replaced is not None:
            self._check_replacement(replaced.transaction, it)
        else:
            self._check_room(it, account, waiting)
        others = self._costs.get(it.sender, 0)
        if replaced is not None:
            others -= replaced.transaction.cost_max
        if account.balance < it.cost_max + others:
            said = f"balance {account.balance}, tx cost {it.cost_max}"
            queued = f", queued cost {others}" if others else ""
            raise refuse(f"insufficient funds for gas * price + value: {said}{queued}")

    def _check_replacement(self, old: Transaction, new: Transaction) -> None:
        for before, after in (
            (old.gas_fee_cap, new.gas_fee_cap),
            (old.gas_tip_cap, new.gas_tip_cap),
        ):
            if after * 100 < before * REPLACEMENT_PERCENT or after <= before:
                raise refuse("replacement transaction underpriced")

    def _check_room(self, it: Transaction, account: Account, waiting: dict[int, _Waiting]) -> None:
        if len(waiting) >= WAITING_PER_SENDER_MAX:
            raise refuse(f"account limit exceeded: {WAITING_PER_SENDER_MAX} transactions wait")
        if it.nonce - account.nonce > WAITING_PER_SENDER_MAX:
            raise refuse(f"nonce too high: next nonce {account.nonce}, tx nonce {it.nonce}")
        if len(self._by_hash) >= WAITING_MAX:
            raise refuse("txpool is full")

    def add(self, it: Transaction) -> None:
        """Let a checked transaction wait; one with its sender and nonce leaves."""
        waiting = self._by_sender.setdefault(it.sender, {})
        old = waiting.get(it.nonce)
        cost = self._costs.get(it.sender, 0) + it.cost_max
        if old is not None:
            del self._by_hash[old.transaction.hash]
            cost -= old.transaction.cost_max
        self._costs[it.sender] = cost
        waiting[it.nonce] = _Waiting(self._next_order, it)
        self._by_hash[it.hash] = it
        self._next_order += 1

    def remove(self, transactions: Iterable[Transaction]) -> None:
        """They are in a block, or were never acknowledged."""
        for it in transactions:
            waiting = self._by_sender.get(it.sender, {})
            found = waiting.get(it.nonce)
            if found is None or found.transaction.hash != it.hash:
                continue
            del waiting[it.nonce], self._by_hash[it.hash]
            self._costs[it.sender] -= it.cost_max
            if not waiting:
                del self._by_sender[it.sender], self._costs[it.sender]

    def list_by_arrival(self) -> list[Transaction]:
        """All that wait, the first that came first."""
        waiting = [w for by_nonce in self._by_sender.values() for w in by_nonce.values()]
        return [w.transaction for w in sorted(waiting, key=lambda w: w.order)]


def check_shape(it: Transaction, gas_limit: int, base_fee: int) -> None:
    """RpcError for what no state is needed to refuse; base_fee: of the block to come."""
    if it.gas > gas_limit:
        raise refuse(f"exceeds block gas limit: {it.gas}, the block has {gas_limit}")
    if it.gas < it.intrinsic_gas:
        said = f"gas {it.gas}, minimum needed {it.intrinsic_gas}"
        raise refuse(f"intrinsic gas too low: {said}")
    if it.gas < it.floor_gas:  # EIP-7623
        said = f"gas {it.gas}, minimum needed {it.floor_gas}"
        raise refuse(f"insufficient gas for floor data gas cost: {said}")
    if not it.to and len(it.data) > INITCODE_BYTES_MAX:
        said = f"code size {len(it.data)}, limit {INITCODE_BYTES_MAX}"
        raise refuse(f"max initcode size exceeded: {said}")
    if it.gas_tip_cap > it.gas_fee_cap:
        said = f"maxPriorityFeePerGas: {it.gas_tip_cap}, maxFeePerGas: {it.gas_fee_cap}"
        raise refuse(f"max priority fee per gas higher than max fee per gas: {said}")
    if it.nonce >= 2**64 - 1:
        raise refuse("nonce has max value")
    if it.gas_fee_cap < base_fee:
        said = f"maxFeePerGas: {it.gas_fee_cap}, baseFee: {base_fee}"
        raise refuse(f"max fee per gas less than block base fee: {said}")
