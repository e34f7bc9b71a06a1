"""Following logs on a real anvil: each once, and taken back where the chain took them back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.adapters.evm.anvil import Anvil, run_anvil
from tests.adapters.evm.bell import (
    ACCOUNTS,
    ADVICE,
    BYTECODE,
    CHAIN_ID,
    ERRORS,
    EVENTS,
    Rung,
    TooLoud,
    ring,
    ring_times,
    rings,
    scold,
)

from kumiai.adapters.evm.abi import Call, decode_log
from kumiai.adapters.evm.accounts import Transaction, compute_contract_address
from kumiai.adapters.evm.errors import (
    LyingNodeError,
    RetriableChainError,
    RevertedError,
    TooManyResultsError,
)
from kumiai.adapters.evm.fees import GWEI
from kumiai.adapters.evm.follow import Cursor, Follower, Step, decode_cursor, start_cursor
from kumiai.adapters.evm.node import LogFilter, Node
from kumiai.adapters.evm.transport import HttpTransport
from kumiai.base.errors import InputError

OWNER = ACCOUNTS[0]
BELL = compute_contract_address(OWNER.address, 0)
WANTED = LogFilter((BELL,), (Rung.TOPIC,))


class Ringer:
    """Rings the bell, a block for each transaction."""

    def __init__(self, anvil: Anvil, node: Node) -> None:
        self.anvil, self.node = anvil, node

    async def send(self, to: str | None, data: bytes, gas: int = 5_000_000) -> str:
        nonce = await self.node.get_nonce(OWNER.address)
        transaction = Transaction(CHAIN_ID, nonce, 100 * GWEI, GWEI, gas, to, 0, data)
        signed = OWNER.sign_transaction(transaction)
        assert await self.node.send_raw([signed.raw]) == [signed.hash]
        self.anvil.request("anvil_mine", "0x1")
        return signed.hash

    async def ring(self, note: bytes) -> None:
        await self.send(BELL, ring(note).data)


def play(body: Callable[[Anvil, Node, Ringer], Awaitable[None]]) -> None:
    async def run(anvil: Anvil) -> None:
        async with HttpTransport(anvil.url) as transport:
            node = Node(transport, CHAIN_ID, errors=ERRORS, advice=ADVICE)
            ringer = Ringer(anvil, node)
            await ringer.send(None, BYTECODE)
            await body(anvil, node, ringer)

    with run_anvil("--no-mining") as anvil:
        asyncio.run(asyncio.wait_for(run(anvil), 60))


async def follow(follower: Follower) -> Iterator[Step]:
    steps = []
    while (step := await follower.step()) is not None:
        steps.append(step)
    return iter(steps)


def notes_of(steps: Iterator[Step]) -> list[bytes]:
    events = [decode_log(log, EVENTS) for step in steps for log in step.logs]
    return [event.note for event in events if isinstance(event, Rung)]


def test_logs_are_told_once_and_when_they_are_deep_enough() -> None:
    async def body(anvil: Anvil, node: Node, ringer: Ringer) -> None:
        follower = Follower(node, WANTED, await start_cursor(node, 0), confirmations=3)
        for n in range(5):
            await ringer.ring(b"%d" % n)
        assert notes_of(await follow(follower)) == [b"0", b"1", b"2"]
        assert notes_of(await follow(follower)) == []
        anvil.request("anvil_mine", "0x2")
        kept = decode_cursor(follower.cursor.encode())  # as after a restart
        again = Follower(node, WANTED, kept, confirmations=3)
        assert notes_of(await follow(again)) == [b"3", b"4"]

    play(body)


def test_a_reorganisation_takes_events_back() -> None:
    async def body(anvil: Anvil, node: Node, ringer: Ringer) -> None:
        follower = Follower(node, WANTED, await start_cursor(node, 0), confirmations=1)
        for n in range(14):
            await ringer.ring(b"%d" % n)
        assert len(notes_of(await follow(follower))) == 14
        before = follower.cursor
        anvil.request("anvil_reorg", 10, [])
        anvil.request("anvil_dropAllTransactions")
        step = await follower.step()
        assert step is not None and step.logs == ()
        assert step.vanished_above == 5  # one block of the contract's, then notes 0 to 3
        vanished = [decode_log(log, EVENTS) for log in step.vanished]
        assert [e.note for e in vanished if isinstance(e, Rung)] == [
            b"%d" % n for n in range(4, 14)
        ]
        await ringer.ring(b"new")
        assert notes_of(await follow(follower)) == [b"new"]
        # A process that begins with the cursor of before says from where on all is void.
        late = await Follower(node, WANTED, before, confirmations=1).step()
        assert late is not None and late.vanished_above == 5

    play(body)


def test_deeper_than_the_trail_no_node_is_believed() -> None:
    async def body(anvil: Anvil, node: Node, ringer: Ringer) -> None:
        cursor = await start_cursor(node, 1)
        follower = Follower(node, WANTED, cursor, confirmations=1, trail_max=4)
        anvil.request("anvil_mine", "0xc")
        await follow(follower)
        anvil.request("anvil_reorg", 10, [])
        with pytest.raises(LyingNodeError, match="deeper"):
            await follower.step()

    play(body)


def test_ranges_are_halved_where_there_is_too_much() -> None:
    async def body(anvil: Anvil, node: Node, ringer: Ringer) -> None:
        asked: list[int] = []
        real = node.get_logs

        async def narrow(wanted: LogFilter, first: int, last: int) -> Any:
            asked.append(last - first + 1)
            logs = await real(wanted, first, last)
            if len(logs) > 3:
                raise TooManyResultsError("query returned more than 3 results")
            return logs

        node.get_logs = narrow  # type: ignore[method-assign]
        for n in range(20):
            await ringer.ring(b"%d" % n)
        follower = Follower(node, WANTED, await start_cursor(node, 0), confirmations=1)
        assert notes_of(await follow(follower)) == [b"%d" % n for n in range(20)]
        assert len(asked) < 30
        await ringer.send(BELL, ring_times(4).data)
        with pytest.raises(TooManyResultsError):  # one block, and still too much
            await follow(follower)

    play(body)


def test_a_chain_that_changes_under_the_question_is_asked_again() -> None:
    async def body(anvil: Anvil, node: Node, ringer: Ringer) -> None:
        await ringer.ring(b"0")
        follower = Follower(node, WANTED, await start_cursor(node, 0), confirmations=1)
        real = node.get_logs

        async def late(wanted: LogFilter, first: int, last: int) -> Any:
            logs = await real(wanted, first, last)
            anvil.request("anvil_reorg", 1, [])
            return logs

        node.get_logs = late  # type: ignore[method-assign]
        with pytest.raises(RetriableChainError, match="changed while"):
            await follower.step()
        node.get_logs = real  # type: ignore[method-assign]
        await follow(follower)

    play(body)


def test_blocks_that_do_not_follow_each_other_are_not_believed() -> None:
    async def body(anvil: Anvil, node: Node, ringer: Ringer) -> None:
        anvil.request("anvil_mine", "0x5")
        follower = Follower(node, WANTED, await start_cursor(node, 0), confirmations=1)
        real = node.get_headers

        async def torn(blocks: Any) -> Any:
            found = await real(blocks)
            return [replace(h, parent="0x" + "ab" * 32) if h.number == 4 else h for h in found]

        node.get_headers = torn  # type: ignore[method-assign]
        with pytest.raises(RetriableChainError, match="changed while"):
            await follower.step()
        node.get_headers = real  # type: ignore[method-assign]
        assert await follower.step() is not None

    play(body)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[[1]]", '[[2, "0x"], [1, "0x"]]', "[" * 70_000, "[[1, 2, 3]]", "7"]
)
def test_a_broken_cursor_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cursor"):
        decode_cursor(text)


def test_many_reads_are_of_one_block() -> None:
    async def body(anvil: Anvil, node: Node, ringer: Ringer) -> None:
        await ringer.ring(b"0")
        block = await node.get_block_number()
        await ringer.ring(b"1")
        calls: list[tuple[str, Call[Any]]] = [(BELL, rings())] * 450
        assert await node.read(calls) == [2] * 450
        assert await node.read(calls, block) == [1] * 450
        answers = await node.read([(BELL, rings()), (BELL, scold()), (BELL, ring_times(2000))])
        assert answers[0] == 2
        assert isinstance(answers[1], RevertedError) and "not now" in str(answers[1])
        assert isinstance(answers[2], RevertedError) and answers[2].error == TooLoud(2000, 1000)
        real = node.transport.batch
        moved: list[int] = []

        async def moving(calls: Any) -> Any:
            if calls[0][0] == "eth_call":
                moved.append(1)
                if len(moved) == 2:  # between the first part of the calls and the second
                    anvil.request("anvil_reorg", 1, [])
            return await real(calls)

        node.transport.batch = moving  # type: ignore[method-assign]
        assert await node.read(calls) == [1] * 450  # all asked again after the reorganisation
        assert len(moved) == 6

    play(body)


def test_a_cursor_knows_its_last_place() -> None:
    cursor = decode_cursor('[[1, "0xa"], [5, "0xb"]]')
    assert isinstance(cursor, Cursor) and cursor.last.number == 5
