"""The same client on the embedded chain, without HTTP between: outbox, logs and typed refusals."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.adapters.evm.bell import (
    ACCOUNTS,
    ADVICE,
    BYTECODE,
    CHAIN_ID,
    ERRORS,
    Rung,
    ring,
    ring_times,
    rings,
)
from tests.adapters.evm.embedded import make_genesis

from kumiai.adapters.evm.accounts import compute_contract_address
from kumiai.adapters.evm.chain.chain import Options, open_chain
from kumiai.adapters.evm.chain.doors import EmbeddedTransport
from kumiai.adapters.evm.errors import MethodMissingError, RevertedError
from kumiai.adapters.evm.follow import Follower, start_cursor
from kumiai.adapters.evm.in_process import InProcessTransport
from kumiai.adapters.evm.node import LogFilter, Node
from kumiai.adapters.evm.outbox import Outbox
from kumiai.adapters.evm.outbox_request import OutboxPolicy, Request

OWNER = ACCOUNTS[0]
BELL = compute_contract_address(OWNER.address, 0)


def test_outbox_follower_and_refusals(tmp_path: Path) -> None:
    async def body(doors: EmbeddedTransport) -> None:
        node = Node(InProcessTransport(doors), CHAIN_ID, errors=ERRORS, advice=ADVICE)
        policy = OutboxPolicy(confirmations=1, poll_seconds=0.01)
        box = Outbox(tmp_path / "box.db", node, [OWNER], policy)
        box.submit(OWNER.address, [Request("deploy", None, BYTECODE)])
        asked = [Request(f"r{n}", BELL, ring(b"%d" % n).data, gas=80_000) for n in range(10)]
        running = asyncio.create_task(box.run())
        await box.wait("deploy")
        box.submit(OWNER.address, asked)
        for request in asked:
            assert (await box.wait(request.key)).is_success
        box.submit(OWNER.address, [Request("loud", BELL, ring_times(5_000).data)])
        with pytest.raises(RevertedError, match=r"TooLoud\(given = 5000.*Ring less often"):
            await box.wait("loud")
        running.cancel()
        assert await node.read([(BELL, rings())]) == [10]
        wanted = LogFilter((BELL,), (Rung.TOPIC,))
        follower = Follower(node, wanted, await start_cursor(node, 0), confirmations=1)
        step = await follower.step()
        assert step is not None
        assert [Rung.from_log(log).number for log in step.logs] == list(range(1, 11))
        with pytest.raises(MethodMissingError):
            await node.transport.request("no_such", [])
        box.close()

    chain = open_chain(tmp_path / "chain.db", make_genesis(), Options(is_dev=True))
    doors = EmbeddedTransport(chain)
    try:
        asyncio.run(asyncio.wait_for(body(doors), 60))
    finally:
        asyncio.run(doors.close())
        chain.close()
