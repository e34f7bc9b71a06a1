"""Transactions that are sent once: written down first, then sent until the chain has settled them.

The caller names each transaction by a key. A key never makes a second transaction, whatever
crashes: its nonce and its signed bytes are on the disk before any node sees them, and every later
attempt (again, or with a higher fee) has the same nonce, of which the chain takes one.

One queue a sender: nonces follow the chain's count and what is ours already; a gap is filled, by
the next transaction or by an empty one to ourselves. What is not mined in time is replaced with a
higher fee, up to the cap. A mined transaction whose block vanished is sent again as it is. A nonce
that a foreign transaction took is given up only once that one is found in a block as deep as the
policy's confirmations; so two may happen only where the chain itself reorganises deeper than that.

`run` is the loop. Trouble that can pass (no node, no money, fees above the cap) stops nothing: it
is told by `get_trouble` and tried again. A lying node or a wrong chain ends `run`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kumiai.adapters.evm.accounts import Account, Transaction
from kumiai.adapters.evm.displaced import is_displaced
from kumiai.adapters.evm.errors import (
    AlreadyKnownError,
    ChainError,
    FeeCapError,
    InsufficientFundsError,
    InvalidTransactionError,
    LyingNodeError,
    NonceTooLowError,
    RefusedError,
    RetriableChainError,
    RevertedError,
    UnderpricedError,
)
from kumiai.adapters.evm.fees import PPM, Offer, compute_gas_least, make_offer, raise_offer
from kumiai.adapters.evm.node import Fees, Node, Standing
from kumiai.adapters.evm.outbox_request import OutboxPolicy, Outcome, Request, outcome_of
from kumiai.adapters.evm.outbox_table import Attempt, Mined, OutboxTable, Row

FILLER_GAS = 21_000
BUMPS_MAX = 16  # replaced at once, from the lowest nonce on
LOOK_MAX = 1_000  # receipts asked for at once
SIGN_MAX = 1_000  # signed and sent at once


@dataclass
class _Queue:
    """What a process remembers of one sender between steps; nothing here must survive it."""

    account: Account
    sent_at: dict[int, float] = field(default_factory=dict)  # by row: the last time
    signed_at: dict[int, float] = field(default_factory=dict)
    underpriced: set[int] = field(default_factory=set)
    trouble: ChainError | None = None
    connections: int = -1


class Outbox:
    """The outbox of some accounts on one chain; one process at a time has its file."""

    def __init__(
        self,
        path: Path,
        node: Node,
        accounts: Sequence[Account],
        policy: OutboxPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = OutboxTable(path, node.chain_id)
        self._node, self._policy, self._clock = node, policy or OutboxPolicy(), clock
        self._queues = {a.address: _Queue(a) for a in accounts}
        self._woken = asyncio.Event()
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._fatal: BaseException | None = None

    def close(self) -> None:
        """Close the file. What is under way goes on when it is opened again."""
        self._table.close()

    def submit(self, sender: str, requests: Sequence[Request]) -> None:
        """Write requests down, all or none; they are on the disk when this returns.

        A key that is known adds nothing (a refused one is tried again); ValueError where it stands
        for another transaction.
        """
        if sender not in self._queues:
            raise ValueError(f"{sender} is no account of this outbox")
        self._table.add([(r.key, sender, r.to, r.value, r.data, r.gas) for r in requests])
        self._woken.set()

    def get_outcome(self, key: str) -> Outcome | None:
        """Return where a key's transaction stands, or None where there is none."""
        row = self._table.get(key)
        return None if row is None else outcome_of(row)

    def get_trouble(self, sender: str) -> ChainError | None:
        """Return what holds a sender's queue now, or None."""
        return self._queues[sender].trouble

    def count_open(self, sender: str) -> int:
        """Return how many transactions are not settled and not refused."""
        return self._table.count(sender, "queued", "pending", "mined")

    async def wait(self, key: str, *, is_mined_enough: bool = False) -> Outcome:
        """Wait until the key's transaction is settled (or mined) while `run` runs elsewhere.

        Raises RevertedError with the contract's reason where it failed or was refused, and what
        ended `run`.
        """
        while True:
            row = self._table.get(key)
            if row is None:
                raise ValueError(f"nothing was submitted under the key {key!r}")
            if row.state == "refused":
                raise RefusedError(row.refusal or "refused")
            if row.state == "settled" or (is_mined_enough and row.state == "mined"):
                if row.is_success:
                    return outcome_of(row)
                assert row.block is not None
                raise await self._node.replay(
                    row.sender, row.target, row.value, row.data, row.block
                )
            if self._fatal is not None:
                raise self._fatal
            future = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(key, []).append(future)
            await future

    async def run(self) -> None:
        """Step for ever; ends with the error that no waiting cures, or when cancelled."""
        pause = self._policy.poll_seconds
        try:
            while True:
                self._woken.clear()
                try:
                    is_busy = await self.step()
                except RetriableChainError as error:
                    is_busy = False
                    for queue in self._queues.values():
                        queue.trouble = queue.trouble or error
                if not is_busy:
                    await self._sleep(pause)
        except BaseException as error:
            self._fatal = error
            for key in list(self._waiters):
                self._wake(key)
            raise

    async def step(self) -> bool:
        """Look at the chain once and do what is to be done. True: more could be done at once."""
        is_busy = False
        for queue in self._queues.values():
            is_busy = await self._step_queue(queue) or is_busy
        return is_busy

    async def _step_queue(self, queue: _Queue) -> bool:
        sender = queue.account.address
        if not self._table.count(sender, "queued", "pending", "mined"):
            return False
        standing = await self._node.get_standing(sender)
        if not isinstance(queue.trouble, InsufficientFundsError):  # that one is asked about below
            queue.trouble = None
        await self._confirm(queue, standing.head)
        found = await self._look(queue, standing)
        await self._push(queue, standing)
        signed = await self._sign_queued(queue, standing)
        return bool(found or signed)

    async def _confirm(self, queue: _Queue, head: int) -> None:
        """Blocks with our transactions: settle those deep enough, take back those that vanished."""
        sender = queue.account.address
        blocks = self._table.list_blocks(sender)
        if not blocks:
            return
        final = head + 1 - self._policy.confirmations
        if self._policy.is_finalized_asked:
            tagged = await self._node.get_header("finalized")
            final = -1 if tagged is None else tagged.number
        headers = await self._node.get_headers([number for number, _ in blocks])
        for (number, block_hash), header in zip(blocks, headers, strict=True):
            if header is None or header.hash != block_hash:
                self._table.unmine(sender, number, block_hash)  # sent again in this very step
            elif number <= final:
                for key in self._table.settle(sender, number, block_hash):
                    self._wake(key)

    async def _look(self, queue: _Queue, standing: Standing) -> bool:
        """Find what was mined among the nonces that the chain has."""
        places = self._table.list_places(queue.account.address)[:LOOK_MAX]
        rows = self._table.get_rows([id for id, nonce in places if nonce < standing.count])
        if not rows:
            return False
        attempts = [a for row in rows for a in self._table.list_attempts(row)]
        receipts = await self._node.get_receipts([a.hash for a in attempts])
        found = {
            a.send: Mined(a.send, a.hash, r.block, r.block_hash, r.is_success)
            for a, r in zip(attempts, receipts, strict=True)
            if r is not None
        }
        self._table.mine(list(found.values()))
        for row in rows:
            if row.id in found:
                for memory in (queue.sent_at, queue.signed_at):
                    memory.pop(row.id, None)
                queue.underpriced.discard(row.id)
                self._wake(row.key)
            else:
                ours = {a.hash for a in attempts if a.send == row.id}
                deep = standing.head + 1 - max(1, self._policy.confirmations)
                try:
                    if await is_displaced(self._node, row, ours, deep):
                        self._table.displace(row.id)
                except LyingNodeError:
                    raise
                except ChainError as error:  # a pruned node has not the states that prove it
                    queue.trouble = error
        return bool(found)

    async def _push(self, queue: _Queue, standing: Standing) -> None:
        """Send what no node may know; replace what waits too long, or offered too little."""
        places = self._table.list_places(queue.account.address)
        waiting = [send for send, nonce in places if nonce >= standing.count]
        if not waiting:
            queue.trouble = None  # no money to begin with: the next estimate asks again
            return
        if not await self._has_money(queue, waiting[0]):
            return
        now = self._clock()
        is_new_node = queue.connections != self._node.connections
        queue.connections = self._node.connections
        late = now - self._policy.patience_seconds
        old = now - self._policy.rebroadcast_seconds
        # After a start nobody knows how long it was waited: the patience begins anew.
        slow = [i for i in waiting if queue.signed_at.setdefault(i, now) <= late][:BUMPS_MAX]
        again = dict.fromkeys([*slow, *(i for i in waiting if i in queue.underpriced)])
        rows = self._table.get_rows(list(again))
        raised = [a for a in (self._raise(queue, row, standing.fees) for row in rows) if a]
        self._table.sign(raised)
        done = {attempt.send for attempt, _ in raised}
        resent = [
            self._table.list_attempts(row)[-1]
            for row in self._table.get_rows(
                [i for i in waiting if is_new_node or queue.sent_at.get(i, -1e18) <= old]
            )
            if row.id not in done
        ]
        await self._send(queue, sorted([*resent, *(a for a, _ in raised)], key=lambda a: a.nonce))

    def _raise(self, queue: _Queue, row: Row, fees: Fees) -> tuple[Attempt, int] | None:
        """Sign a row anew with a higher offer; None where the cap leaves no room."""
        newest = self._table.list_attempts(row)[-1]
        offer = raise_offer(self._policy.fees, newest.offer, fees.base, fees.tip)
        if offer is None:
            queue.trouble = FeeCapError(f"nonce {row.nonce} waits: its fee cannot be raised more")
            queue.signed_at[row.id] = self._clock()
            return None
        assert row.gas is not None
        queue.underpriced.discard(row.id)
        return self._sign(queue, row, newest.nonce, row.gas, offer), row.gas

    async def _has_money(self, queue: _Queue, send: int) -> bool:
        """Tell whether a queue that had no money can pay for its first transaction again."""
        if not isinstance(queue.trouble, InsufficientFundsError):
            return True
        (first,) = self._table.get_rows([send])
        assert first.gas is not None
        cost = first.value + first.gas * self._table.list_attempts(first)[-1].offer.max_fee
        if await self._node.get_balance(first.sender) < cost:
            return False
        queue.trouble = None  # what was refused was not noted as sent: it is sent again
        return True

    async def _sign_queued(self, queue: _Queue, standing: Standing) -> bool:
        """Give queued rows nonces, sign them, write them down, and only then send them."""
        sender = queue.account.address
        room = self._policy.in_flight_max - self._table.count(sender, "pending")
        if queue.trouble is not None:
            return False
        rows = self._table.list_rows(sender, "queued", max(0, min(room, SIGN_MAX)))
        fees, start = standing.fees, standing.count_pending
        offer = make_offer(self._policy.fees, fees.base, fees.tip)
        if rows and offer is None:
            queue.trouble = FeeCapError(f"the base fee is {fees.base} wei")
        if offer is None:
            return False
        taken = self._table.list_nonces(sender, start)
        signed: list[tuple[Attempt, int]] = []
        for row in rows:
            gas = await self._get_gas(row, is_first=not signed and not taken)
            if gas is None:
                break
            if gas == 0:
                continue
            start = _find_free(start, taken)
            taken.add(start)
            signed.append((self._sign(queue, row, start, gas, offer), gas))
        self._table.sign(signed)
        if not signed and taken and (gap := _find_free(start, taken)) < max(taken):
            self._fill(sender, gap)
        await self._send(queue, [attempt for attempt, _ in signed])
        return bool(signed)

    async def _get_gas(self, row: Row, *, is_first: bool) -> int | None:
        """Return a row's gas limit; None: wait for those before it; 0: it was refused.

        What fails now may pass once those before it are mined, so only the first is refused.
        """
        if row.gas_asked is not None:
            least = compute_gas_least(row.target, row.data)
            if row.gas_asked >= least:
                return row.gas_asked
            self._refuse(row, InvalidTransactionError(f"gas {row.gas_asked}, below {least}"))
            return 0
        try:
            needed = await self._node.estimate_gas(row.sender, row.target, row.value, row.data)
        except InsufficientFundsError as error:
            self._queues[row.sender].trouble = error
            return None
        except (RevertedError, InvalidTransactionError) as error:
            if not is_first:
                return None
            self._refuse(row, error)
            return 0
        return needed * (PPM + self._policy.gas_margin_ppm) // PPM

    def _refuse(self, row: Row, error: ChainError) -> None:
        self._table.refuse(row.id, str(error))
        self._wake(row.key)

    def _fill(self, sender: str, nonce: int) -> None:
        """Queue an empty transaction: nothing above a gap would ever be mined."""
        key = f"fill:{sender}:{nonce}"
        self._table.add([(key, sender, sender, 0, b"", FILLER_GAS)])
        self._woken.set()

    def _sign(self, queue: _Queue, row: Row, nonce: int, gas: int, offer: Offer) -> Attempt:
        signed = queue.account.sign_transaction(
            Transaction(
                chain_id=self._node.chain_id,
                nonce=nonce,
                max_fee=offer.max_fee,
                tip=offer.tip,
                gas=gas,
                to=row.target,
                value=row.value,
                data=row.data,
            )
        )
        queue.signed_at[row.id] = self._clock()
        return Attempt(signed.hash, row.id, nonce, signed.raw, offer)

    async def _send(self, queue: _Queue, attempts: Sequence[Attempt]) -> None:
        """Send what is written down already; note what the node says to each."""
        if not attempts:
            return
        answers = await self._node.send_raw([a.raw for a in attempts])
        now = self._clock()
        for attempt, answer in zip(attempts, answers, strict=True):
            if isinstance(answer, str) and answer != attempt.hash:
                raise LyingNodeError(f"{answer} was said to be the hash of {attempt.hash}")
            if not isinstance(answer, ChainError) or isinstance(
                answer, AlreadyKnownError | NonceTooLowError
            ):
                queue.sent_at[attempt.send] = now  # too low: mined or displaced, the next look says
            elif isinstance(answer, InsufficientFundsError):
                queue.trouble = answer
            elif isinstance(answer, UnderpricedError):
                queue.underpriced.add(attempt.send)
                queue.sent_at[attempt.send] = now
            elif isinstance(answer, InvalidTransactionError) and (
                key := self._table.refuse_sole_attempt(attempt, str(answer))
            ):
                self._wake(key)
            else:  # whether the node took it is not known: the same bytes are sent again
                queue.trouble = answer

    def _wake(self, key: str) -> None:
        for future in self._waiters.pop(key, []):
            if not future.done():
                future.set_result(None)

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return


def _find_free(start: int, taken: set[int]) -> int:
    while start in taken:
        start += 1
    return start
