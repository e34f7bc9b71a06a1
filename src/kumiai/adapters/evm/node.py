"""A node, asked with care: typed answers, one chain id, and no answer that contradicts another.

What is checked, because a node may be wrong, behind, or hostile:

- the chain id on the first question and after each new connection (`check_chain`);
- that the head does not fall behind by more than `reorg_blocks_max`;
- that a receipt's block is the canonical one of its number;
- that logs are of the blocks, the address and the topics that were asked for.

A reorganisation between two questions looks like a contradiction, so each is asked three times
before the node is called a liar. Nobody can check here that the state itself is right: who must not
trust a node at all runs one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.evm import shapes
from kumiai.adapters.evm.abi import Call, ErrorTypes, Log, explain_revert
from kumiai.adapters.evm.errors import (
    ChainError,
    LyingNodeError,
    RetriableChainError,
    RevertedError,
    UnexplainedError,
    WrongChainIdError,
)
from kumiai.adapters.evm.shapes import Header, Receipt
from kumiai.adapters.evm.transport import Transport

REORG_BLOCKS_MAX = 64
CONTRADICTIONS_MAX = 3
PAUSE_SECONDS = 0.2
CALLS_PER_BATCH_MAX = 200
LOGS_MAX = 50_000  # of one answer


@dataclass(frozen=True, slots=True)
class Fees:
    """What the next block asks, in wei per gas."""

    base: int
    tip: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the chain stands for a sender: the head, its count there and with the pool, fees."""

    head: int
    count: int
    count_pending: int
    fees: Fees


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which logs: of any of these addresses, with any of these first topics (none: all)."""

    addresses: tuple[str, ...]
    topics: tuple[bytes, ...] = ()


class Node:
    """One node of one chain. Every call raises ChainError; a liar raises LyingNodeError."""

    def __init__(
        self,
        transport: Transport,
        chain_id: int,
        *,
        errors: ErrorTypes | None = None,
        advice: Mapping[str, str] | None = None,
        reorg_blocks_max: int = REORG_BLOCKS_MAX,
    ) -> None:
        """errors, advice: how a contract's refusals are decoded, and what to do about each."""
        self.transport, self.chain_id = transport, chain_id
        self.reorg_blocks_max = reorg_blocks_max
        self._errors, self._advice = errors or {}, advice or {}
        self._checked_at = -1  # the transport's connections when the chain id was last right
        self._head_max = 0

    @property
    def connections(self) -> int:
        """How many connections were made so far: a new one may lead to another node."""
        return int(getattr(self.transport, "connections", 0))

    async def check_chain(self) -> None:
        """Ask for the chain id where it was not asked since the last connection was made."""
        before = self.connections
        if before == self._checked_at:
            return
        given = shapes.read_int(await self._ask("eth_chainId"))
        if given != self.chain_id:
            raise WrongChainIdError(self.chain_id, given)
        # The question itself may have made the connection.
        self._checked_at = self.connections

    async def get_block_number(self) -> int:
        """Return the head's number; LyingNodeError where it fell behind beyond the bound."""
        await self.check_chain()
        return self._check_head(shapes.read_int(await self._ask("eth_blockNumber")))

    def _check_head(self, head: int) -> int:
        self._head_max = max(self._head_max, head)
        if head < self._head_max - self.reorg_blocks_max:
            raise LyingNodeError(f"the head went back from {self._head_max} to {head}")
        return head

    async def get_header(self, block: int | str) -> Header | None:
        """Return the header of a number or tag, or None where the node has none."""
        (header,) = await self.get_headers([block])
        return header

    async def get_headers(self, blocks: Sequence[int | str]) -> list[Header | None]:
        """Return headers in the order of `blocks`, None where the node has none."""
        await self.check_chain()
        tags = [hex(b) if isinstance(b, int) else b for b in blocks]
        answers = await self._ask_many([("eth_getBlockByNumber", (tag, False)) for tag in tags])
        found = [None if a is None else shapes.read_header(a) for a in answers]
        for block, header in zip(blocks, found, strict=True):
            if header is not None and isinstance(block, int) and header.number != block:
                raise LyingNodeError(f"block {header.number} was given for {block}")
        return found

    async def get_nonce(self, address: str, block: int | str = "latest") -> int:
        """Return how many transactions of the address the chain has up to a block or tag."""
        await self.check_chain()
        tag = hex(block) if isinstance(block, int) else block
        return shapes.read_int(await self._ask("eth_getTransactionCount", address, tag))

    async def get_balance(self, address: str) -> int:
        """Return the address's coin in wei."""
        await self.check_chain()
        return shapes.read_int(await self._ask("eth_getBalance", address, "latest"))

    async def get_standing(self, address: str) -> Standing:
        """Return all that a sender asks before it acts, in one question."""
        await self.check_chain()
        count = "eth_getTransactionCount"
        block, latest, pending, tip = await self._ask_many(
            [
                ("eth_getBlockByNumber", ("latest", False)),
                (count, (address, "latest")),
                (count, (address, "pending")),
                ("eth_maxPriorityFeePerGas", ()),
            ],
            may_fail=True,
        )
        for answer in (block, latest, pending):
            if isinstance(answer, ChainError):
                raise answer
        header = shapes.read_header(block)
        # Some chains know no tip: then the caller's minimum counts.
        fees = Fees(header.base_fee, 0 if isinstance(tip, ChainError) else shapes.read_int(tip))
        counts = shapes.read_int(latest), shapes.read_int(pending)
        return Standing(self._check_head(header.number), *counts, fees)

    async def estimate_gas(self, sender: str, to: str | None, value: int, data: bytes) -> int:
        """Return the gas that the call needs on top of what is pending; RevertedError explained."""
        await self.check_chain()
        call = shapes.write_call(to, data, sender=sender, value=value)
        return shapes.read_int(await self._ask("eth_estimateGas", call, "pending"))

    async def get_receipts(self, hashes: Sequence[str]) -> list[Receipt | None]:
        """Return receipts in the order of `hashes`, None for none; their blocks are canonical."""
        await self.check_chain()
        for attempt in range(CONTRADICTIONS_MAX):
            calls = [("eth_getTransactionReceipt", (h,)) for h in hashes]
            answers = await self._ask_many(calls)
            found = [None if a is None else shapes.read_receipt(a) for a in answers]
            for asked, receipt in zip(hashes, found, strict=True):
                if receipt is not None and receipt.transaction_hash != asked:
                    raise LyingNodeError("a receipt is of another transaction")
            numbers = sorted({r.block for r in found if r is not None})
            headers = zip(numbers, await self.get_headers(numbers), strict=True)
            canonical = {n: h.hash for n, h in headers if h is not None}
            wrong = [r for r in found if r and canonical.get(r.block) != r.block_hash]
            if not wrong:
                return found
            await asyncio.sleep(PAUSE_SECONDS * attempt)
        raise LyingNodeError(
            f"the receipt of {wrong[0].transaction_hash} is of block {wrong[0].block_hash}, which"
            f" is not block {wrong[0].block}"
        )

    async def get_logs(self, wanted: LogFilter, first: int, last: int) -> list[Log]:
        """Return the logs of blocks first..last in the chain's order."""
        await self.check_chain()
        query: dict[str, Any] = {"fromBlock": hex(first), "toBlock": hex(last)}
        query["address"] = list(wanted.addresses)
        if wanted.topics:
            query["topics"] = [["0x" + topic.hex() for topic in wanted.topics]]
        answers = await self._ask("eth_getLogs", query)
        logs = shapes.read_logs(answers, LOGS_MAX)
        for log in logs:
            if not first <= log.block <= last:
                raise LyingNodeError(f"a log of block {log.block} was given for {first}..{last}")
            if log.address not in wanted.addresses:
                raise LyingNodeError(f"a log of {log.address} was given, which was not asked for")
            if wanted.topics and (not log.topics or log.topics[0] not in wanted.topics):
                raise LyingNodeError(f"a log of {log.transaction_hash} has another topic")
        logs.sort(key=lambda log: (log.block, log.index))
        places = {(log.block, log.index) for log in logs}
        if len(places) != len(logs):
            raise LyingNodeError("two logs have the same place in a block")
        return logs

    async def read(
        self, calls: Sequence[tuple[str, Call[Any]]], block: int | None = None
    ) -> list[Any]:
        """Ask contracts (address, call) at ONE block (default: the head); return what they return.

        A refused call stands in the list as its RevertedError. The block's hash is compared before
        and after, so that all answers are of the same state.
        """
        number = await self.get_block_number() if block is None else block
        bodies = [
            ("eth_call", (shapes.write_call(to, call.data), hex(number))) for to, call in calls
        ]
        for _ in range(CONTRADICTIONS_MAX):
            before = await self.get_header(number)
            answers: list[Any] = []
            for first in range(0, len(bodies), CALLS_PER_BATCH_MAX):
                part = bodies[first : first + CALLS_PER_BATCH_MAX]
                answers += await self._ask_many(part, may_fail=True)
            if before is not None and before == await self.get_header(number):
                pairs = zip(calls, answers, strict=True)
                return [self._read_answer(call, answer) for (_, call), answer in pairs]
            if block is None:
                number = await self.get_block_number()
        raise RetriableChainError(f"block {number} was replaced while it was read")

    async def call(self, to: str, call: Call[Any], *, sender: str | None = None) -> Any:
        """Ask one contract at the head; RevertedError explained."""
        await self.check_chain()
        body = shapes.write_call(to, call.data, sender=sender)
        return call.decode(shapes.read_bytes(await self._ask("eth_call", body, "latest")))

    async def replay(
        self, sender: str, to: str | None, value: int, data: bytes, block: int
    ) -> RevertedError:
        """Return why a transaction failed in `block`, as far as the states around it tell.

        Its parent's state comes first: it is what the transaction met, but for those before it in
        its block and for the block's own time, which the block's state has.
        """
        call = shapes.write_call(to, data, sender=sender, value=value)
        try:
            for number in (max(0, block - 1), block):
                await self._ask("eth_call", call, hex(number))
        except RevertedError as error:
            return error
        except ChainError as error:
            return UnexplainedError(f"; the reason cannot be had ({error.detail})")
        return UnexplainedError(", though it would pass alone: out of gas, or a race")

    async def send_raw(self, raws: Sequence[bytes]) -> list[str | ChainError]:
        """Hand signed transactions over; for each its hash as the node says it, or its error."""
        await self.check_chain()
        calls = [("eth_sendRawTransaction", ("0x" + raw.hex(),)) for raw in raws]
        answers = await self._ask_many(calls, may_fail=True)
        return [a if isinstance(a, ChainError) else shapes.read_hash(a) for a in answers]

    async def get_transaction(self, transaction_hash: str) -> Mapping[str, Any] | None:
        """Return a transaction as the node gives it, or None."""
        await self.check_chain()
        answer = await self._ask("eth_getTransactionByHash", transaction_hash)
        return None if answer is None else shapes.read_object(answer)

    async def get_senders(self, block: int) -> list[tuple[str, int, str]]:
        """Return (sender, nonce, hash) of each transaction in a block."""
        await self.check_chain()
        answer = await self._ask("eth_getBlockByNumber", hex(block), True)
        return [] if answer is None else shapes.read_senders(answer)

    def _read_answer(self, call: Call[Any], answer: Any) -> Any:
        if isinstance(answer, RevertedError):
            return answer
        if isinstance(answer, ChainError):
            raise answer
        return call.decode(shapes.read_bytes(answer))

    async def _ask(self, method: str, *params: Any) -> Any:
        try:
            return await self.transport.request(method, params)
        except RevertedError as error:
            raise explain_revert(error, self._errors, self._advice) from None

    async def _ask_many(
        self, calls: Sequence[tuple[str, Sequence[Any]]], *, may_fail: bool = False
    ) -> list[Any]:
        """Ask a batch; an error in it is raised, or stands in the list where calls may fail."""
        if not calls:
            return []
        answers = await self.transport.batch(calls)
        if len(answers) != len(calls):
            raise LyingNodeError(f"{len(answers)} answers to {len(calls)} questions")
        explained: list[Any] = []
        for answer in answers:
            if isinstance(answer, RevertedError):
                explained.append(explain_revert(answer, self._errors, self._advice))
            elif isinstance(answer, ChainError) and not may_fail:
                raise answer
            else:
                explained.append(answer)
        return explained
