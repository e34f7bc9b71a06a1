"""The outbox against a real anvil: every key is sent once, whatever the chain and the node do."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.evm.anvil import Anvil, run_anvil
from tests.adapters.evm.bell import (
    ACCOUNTS,
    ADVICE,
    BYTECODE,
    CHAIN_ID,
    ERRORS,
    RING_GAS,
    TooLoud,
    allow,
    ring,
    ring_times,
    rings,
)

from kumiai.adapters.evm.accounts import Account, Transaction, compute_contract_address
from kumiai.adapters.evm.errors import (
    FeeCapError,
    InsufficientFundsError,
    RetriableChainError,
    RevertedError,
    UnexplainedError,
)
from kumiai.adapters.evm.fees import GWEI, FeePolicy
from kumiai.adapters.evm.node import Node, Standing
from kumiai.adapters.evm.outbox import Outbox
from kumiai.adapters.evm.outbox_request import OutboxPolicy, Request
from kumiai.adapters.evm.transport import HttpTransport
from kumiai.base.errors import StoreError

OWNER, POOR = ACCOUNTS[0], Account(b"\x77" * 32)
BELL = compute_contract_address(OWNER.address, 0)


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    """A node that mines only when it is told to, with the bell in its first block."""
    with run_anvil("--no-mining") as node:
        yield node


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(
    url: str, path: Path, *accounts: Account, clock: Clock | None = None, **policy: Any
) -> AsyncIterator[tuple[Outbox, Node]]:
    async with HttpTransport(url, attempts_max=2, pause_seconds=(0.01, 0.01)) as transport:
        node = Node(transport, CHAIN_ID, errors=ERRORS, advice=ADVICE)
        settings = OutboxPolicy(**{"confirmations": 2, "poll_seconds": 0.01, **policy})
        box = Outbox(path, node, accounts or (OWNER,), settings, clock or Clock())
        try:
            yield box, node
        finally:
            box.close()


def mine(anvil: Anvil, blocks: int = 1) -> None:
    anvil.request("anvil_mine", hex(blocks))


def deploy() -> Request:
    return Request("deploy", None, BYTECODE)


def note(number: int, gas: int | None = RING_GAS) -> Request:
    return Request(f"ring-{number}", BELL, ring(b"%d" % number).data, gas=gas)


async def settle(box: Outbox, anvil: Anvil, sender: str = OWNER.address, steps: int = 20) -> None:
    for _ in range(steps):
        await box.step()
        mine(anvil)
        if not box.count_open(sender):
            return
    raise AssertionError(f"not settled in {steps} blocks")


async def count_rings(node: Node) -> int:
    return int(await node.call(BELL, rings()))


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_keys_are_sent_once_in_their_order(anvil: Anvil, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db") as (box, node):
            box.submit(OWNER.address, [deploy(), *(note(n) for n in range(5))])
            box.submit(OWNER.address, [note(n) for n in range(5)])  # the same keys again
            await settle(box, anvil)
            assert await count_rings(node) == 5
            assert await node.get_nonce(OWNER.address) == 6
            outcomes = [box.get_outcome(f"ring-{n}") for n in range(5)]
            assert [o.nonce for o in outcomes if o] == [1, 2, 3, 4, 5]
            assert all(o and o.state == "settled" and o.is_success for o in outcomes)
            box.submit(OWNER.address, [note(3)])  # settled long ago
            await box.step()
            mine(anvil)
            assert await node.get_nonce(OWNER.address) == 6
            with pytest.raises(ValueError, match="another transaction"):
                box.submit(OWNER.address, [Request("ring-3", BELL, ring(b"other").data)])

    play(body)


def test_a_second_process_cannot_open_the_file(anvil: Anvil, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db"):
            with pytest.raises(StoreError, match="another process"):
                async with opened(anvil.url, tmp_path / "box.db"):
                    pass

    play(body)


def test_it_is_written_down_before_it_is_sent(anvil: Anvil, tmp_path: Path) -> None:
    seen: list[int] = []
    path = tmp_path / "box.db"

    async def body() -> None:
        async with opened(anvil.url, path) as (box, node):
            send = node.send_raw

            async def look_first(raws: list[bytes]) -> Any:
                file = box._table._file  # the only connection that may look while it is open
                kept = {raw for (raw,) in file.execute("SELECT raw FROM attempts")}
                assert not file.in_transaction
                assert set(raws) <= kept
                seen.append(len(raws))
                return await send(raws)

            node.send_raw = look_first  # type: ignore[method-assign,assignment]
            box.submit(OWNER.address, [deploy(), note(0)])
            await settle(box, anvil)

    play(body)
    assert sum(seen) >= 2
    with sqlite3.connect(path) as file:  # what is settled keeps no raw bytes
        assert file.execute("SELECT COUNT(*) FROM attempts").fetchone() == (0,)


def test_a_slow_one_is_replaced_by_a_dearer_one_with_the_same_nonce(
    anvil: Anvil, tmp_path: Path
) -> None:
    async def body() -> None:
        clock = Clock()
        async with opened(anvil.url, tmp_path / "box.db", clock=clock, patience_seconds=30.0) as (
            box,
            node,
        ):
            box.submit(OWNER.address, [deploy()])
            await box.step()
            (row,) = box._table.list_rows(OWNER.address, "pending")
            for second in (31.0, 62.0):
                clock.now = second
                await box.step()
            attempts = box._table.list_attempts(row)
            assert len(attempts) == 3 and {a.nonce for a in attempts} == {0}
            for old, new in itertools.pairwise(attempts):
                assert new.offer.max_fee * 1000 >= old.offer.max_fee * 1125
                assert new.offer.tip * 1000 >= old.offer.tip * 1125
            mine(anvil)
            await settle(box, anvil)
            outcome = box.get_outcome("deploy")
            assert outcome and outcome.hash == attempts[-1].hash
            assert await node.get_nonce(OWNER.address) == 1

    play(body)


def test_the_cap_holds_a_replacement_back_and_says_so(anvil: Anvil, tmp_path: Path) -> None:
    async def body() -> None:
        clock = Clock()
        fees = FeePolicy(cap=3 * GWEI, tip_max=GWEI)
        async with opened(anvil.url, tmp_path / "box.db", clock=clock, fees=fees) as (box, _node):
            box.submit(OWNER.address, [deploy()])
            for second in range(0, 400, 40):
                clock.now = float(second)
                await box.step()
            assert isinstance(box.get_trouble(OWNER.address), FeeCapError)
            (row,) = box._table.list_rows(OWNER.address, "pending")
            assert all(a.offer.max_fee <= 3 * GWEI for a in box._table.list_attempts(row))
            anvil.request("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
            await settle(box, anvil)

    play(body)


def test_an_underpriced_one_is_raised_until_the_pool_takes_it(anvil: Anvil, tmp_path: Path) -> None:
    """Somebody else's dearer transaction waits under our nonce: ours goes above it."""

    async def body() -> None:
        dear = OWNER.sign_transaction(
            Transaction(CHAIN_ID, 0, 5 * GWEI, 2 * GWEI, 21_000, POOR.address, 1, b"")
        )
        async with opened(anvil.url, tmp_path / "box.db") as (box, node):
            real = node.get_standing

            async def blind(address: str) -> Standing:
                standing = await real(address)
                return replace(standing, count_pending=standing.count)

            node.get_standing = blind  # type: ignore[method-assign]  # a node that shows no pool
            await node.send_raw([dear.raw])
            box.submit(OWNER.address, [deploy()])
            for _ in range(12):
                await box.step()
            mine(anvil)
            await settle(box, anvil)
            assert await node.get_balance(POOR.address) == 0
            outcome = box.get_outcome("deploy")
            assert outcome and outcome.nonce == 0 and outcome.is_success

    play(body)


def test_a_stale_nonce_is_given_up_only_for_a_foreign_one_in_a_deep_block(
    anvil: Anvil, tmp_path: Path
) -> None:
    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db", confirmations=3) as (box, node):
            box.submit(OWNER.address, [deploy()])
            await box.step()
            anvil.request("anvil_dropAllTransactions")
            foreign = OWNER.sign_transaction(
                Transaction(CHAIN_ID, 0, 5 * GWEI, 2 * GWEI, 21_000, POOR.address, 1, b"")
            )
            await node.send_raw([foreign.raw])
            mine(anvil)
            await box.step()
            await box.step()
            outcome = box.get_outcome("deploy")
            assert outcome and (outcome.state, outcome.nonce) == ("pending", 0)  # not deep enough
            mine(anvil, 3)
            await settle(box, anvil)
            outcome = box.get_outcome("deploy")
            assert outcome and (outcome.state, outcome.nonce) == ("settled", 1)

    play(body)


def test_a_gap_is_filled(anvil: Anvil, tmp_path: Path) -> None:
    """A form that no node takes leaves its nonce free below others: an empty one goes there."""

    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db") as (box, node):
            too_much = Request("greedy", BELL, ring(b"").data, gas=10**12)
            box.submit(OWNER.address, [deploy(), note(0), too_much, note(1), note(2)])
            await settle(box, anvil)
            assert await count_rings(node) == 3
            refused = box.get_outcome("greedy")
            assert refused and refused.state == "refused" and "gas" in str(refused.refusal)
            assert await node.get_nonce(OWNER.address) == 5  # with the empty one
            box.submit(OWNER.address, [Request("greedy", BELL, ring(b"").data, gas=RING_GAS)])
            await settle(box, anvil)
            assert await count_rings(node) == 4
            # Too little to begin with is seen here: anvil takes it, and drops it without a word.
            box.submit(OWNER.address, [Request("starved", BELL, ring(b"1").data, gas=21_000)])
            await box.step()
            refused = box.get_outcome("starved")
            assert refused and (refused.state, refused.nonce) == ("refused", None)

    play(body)


def test_no_money_stops_the_queue_and_money_resumes_it(anvil: Anvil, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db", OWNER, POOR) as (box, node):
            box.submit(OWNER.address, [deploy()])
            await settle(box, anvil)
            asked = [
                Request(f"poor-{n}", BELL, ring(b"").data, gas=gas)
                for n, gas in enumerate((RING_GAS, None, RING_GAS))
            ]
            box.submit(POOR.address, asked)
            for _ in range(4):
                await box.step()
                mine(anvil)
            trouble = box.get_trouble(POOR.address)
            assert isinstance(trouble, InsufficientFundsError)
            assert "Send the chain's coin" in str(trouble)
            anvil.request("anvil_setBalance", POOR.address, hex(10**18))
            await settle(box, anvil, POOR.address)
            assert box.get_trouble(POOR.address) is None
            assert await count_rings(node) == 3
            assert await node.get_nonce(POOR.address) == 3

    play(body)


def test_a_refusal_is_explained_and_can_be_tried_again(anvil: Anvil, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db") as (box, node):
            box.submit(OWNER.address, [deploy()])
            await settle(box, anvil)
            loud = Request("loud", BELL, ring_times(1001).data)
            box.submit(OWNER.address, [loud])
            await box.step()
            with pytest.raises(
                RevertedError, match=r"TooLoud\(given = 1001.*Ring less often"
            ) as told:
                await box.wait("loud")
            assert str(told.value).count(". ") == 1 and ".." not in str(told.value)
            # With a gas limit of the caller's it is not tried first, and fails on chain.
            failing = Request("failing", BELL, ring_times(2000).data, gas=RING_GAS)
            box.submit(OWNER.address, [failing])
            await settle(box, anvil)
            with pytest.raises(RevertedError) as caught:
                await box.wait("failing")
            assert caught.value.error == TooLoud(2000, 1000)
            assert await node.get_nonce(OWNER.address) == 2

    play(body)


def test_what_failed_by_its_own_block_is_explained_by_it(anvil: Anvil, tmp_path: Path) -> None:
    """The parent's state lets it pass; what came before it in its block does not."""

    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db") as (box, _):
            box.submit(OWNER.address, [deploy()])
            await settle(box, anvil)
            less = Request("less", BELL, allow(5).data, gas=RING_GAS)
            loud = Request("loud", BELL, ring_times(6).data, gas=RING_GAS)
            box.submit(OWNER.address, [less, loud])
            await settle(box, anvil)
            with pytest.raises(RevertedError) as caught:
                await box.wait("loud")
            assert caught.value.error == TooLoud(6, 5)

    play(body)


def test_what_would_pass_alone_is_told_as_a_race(anvil: Anvil, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db") as (box, _):
            box.submit(OWNER.address, [deploy()])
            await settle(box, anvil)
            starved = Request("starved", BELL, ring_times(900).data, gas=RING_GAS)
            box.submit(OWNER.address, [starved])
            await settle(box, anvil)
            with pytest.raises(UnexplainedError, match=r"out of gas, or a race.*Try it again"):
                await box.wait("starved")

    play(body)


def test_what_needs_its_forerunner_waits_for_it(anvil: Anvil, tmp_path: Path) -> None:
    """An estimate fails while the one before it is not mined: that is no refusal."""

    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db") as (box, node):
            box.submit(OWNER.address, [deploy()])
            await settle(box, anvil)
            first = Request("allow", BELL, allow(1002).data, gas=RING_GAS)
            second = Request("loud", BELL, ring_times(1002).data)
            box.submit(OWNER.address, [first, second])
            await settle(box, anvil)
            outcome = box.get_outcome("loud")
            assert outcome and outcome.is_success
            assert await count_rings(node) == 1002

    play(body)


@pytest.mark.parametrize("depth", [1, 10])
def test_a_reorganisation_sends_again_what_it_swept_away(
    anvil: Anvil, tmp_path: Path, depth: int
) -> None:
    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db", confirmations=12) as (box, node):
            box.submit(OWNER.address, [deploy()])
            await settle(box, anvil)
            box.submit(OWNER.address, [note(n) for n in range(3)])
            await box.step()
            mine(anvil)
            await box.step()
            mine(anvil, depth - 1)
            hashes = [o.hash for n in range(3) if (o := box.get_outcome(f"ring-{n}"))]
            assert all(hashes)
            anvil.request("anvil_reorg", depth, [])
            anvil.request("anvil_dropAllTransactions")
            assert await count_rings(node) == 0
            await box.step()
            states = {o.state for n in range(3) if (o := box.get_outcome(f"ring-{n}"))}
            assert states == {"pending"}
            await settle(box, anvil)
            assert await count_rings(node) == 3
            again = [o.hash for n in range(3) if (o := box.get_outcome(f"ring-{n}"))]
            assert again == hashes  # the very same transactions

    play(body)


def test_nothing_is_settled_before_it_is_deep_enough(anvil: Anvil, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db", confirmations=4) as (box, _node):
            box.submit(OWNER.address, [deploy()])
            await box.step()
            states = []
            for _ in range(5):
                mine(anvil)
                await box.step()
                outcome = box.get_outcome("deploy")
                assert outcome
                states.append(outcome.state)
            assert states == ["mined", "mined", "mined", "settled", "settled"]

    play(body)


def test_the_pool_is_not_flooded(anvil: Anvil, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(anvil.url, tmp_path / "box.db", in_flight_max=4) as (box, node):
            box.submit(OWNER.address, [deploy(), *(note(n) for n in range(20))])
            for _ in range(40):
                await box.step()
                ahead = await node.get_nonce(OWNER.address, "pending")
                assert ahead - await node.get_nonce(OWNER.address) <= 4
                mine(anvil)
            assert not box.count_open(OWNER.address)
            assert await count_rings(node) == 20

    play(body)


def test_a_node_killed_midway_gets_everything_again(tmp_path: Path) -> None:
    state = tmp_path / "state.json"

    async def body(anvil: Anvil) -> None:
        async with opened(anvil.url, tmp_path / "box.db") as (box, node):
            box.submit(OWNER.address, [deploy(), note(0), note(1)])
            await box.step()
            mine(anvil)
            await box.step()
            box.submit(OWNER.address, [note(2), note(3)])
            await box.step()  # in the node's pool, in no block
            anvil.stop()  # the pool is not in its file
            with pytest.raises(RetriableChainError):
                await box.step()
            anvil.start()
            await settle(box, anvil)
            assert await count_rings(node) == 4
            assert await node.get_nonce(OWNER.address) == 5

    with run_anvil("--no-mining", "--state", str(state)) as anvil:
        play(lambda: body(anvil))


def test_run_and_wait(tmp_path: Path) -> None:
    async def body(anvil: Anvil) -> None:
        async with opened(anvil.url, tmp_path / "box.db") as (box, node):
            running = asyncio.create_task(box.run())
            box.submit(OWNER.address, [deploy(), *(note(n) for n in range(30))])
            done = await asyncio.gather(*(box.wait(f"ring-{n}") for n in range(30)))
            assert all(outcome.is_success for outcome in done)
            assert await count_rings(node) == 30
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    with run_anvil(block_seconds=1) as anvil:
        play(lambda: body(anvil))
