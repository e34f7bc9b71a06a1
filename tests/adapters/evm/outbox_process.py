"""A process that works through an outbox and is killed (SIGKILL) at a given place.

    python outbox_process.py URL FILE {none,before-send,after-send,after-receipt} COUNT TARGET

It submits COUNT transactions under fixed keys and steps until all are settled.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.accounts import Account
from kumiai.adapters.evm.node import Node
from kumiai.adapters.evm.outbox import Outbox
from kumiai.adapters.evm.outbox_request import OutboxPolicy, Request
from kumiai.adapters.evm.transport import HttpTransport

SECRET = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
VALUE = 1_000


class Deadly(HttpTransport):
    """Ends the process before, or after, a request of a kind was answered."""

    place = "none"

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        method = calls[0][0] if calls else ""
        is_send, is_receipt = "sendRaw" in method, "Receipt" in method
        if is_send and self.place == "before-send":
            os.kill(os.getpid(), signal.SIGKILL)
        answers = await super().batch(calls)
        if (is_send and self.place == "after-send") or (
            is_receipt and self.place == "after-receipt" and any(answers)
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        return answers


async def main(url: str, file: str, place: str, count: str, target: str) -> None:
    account = Account(SECRET)
    async with Deadly(url) as transport:
        transport.place = place
        policy = OutboxPolicy(confirmations=1, in_flight_max=3, poll_seconds=0.01)
        box = Outbox(Path(file), Node(transport, 31337), [account], policy)
        requests = [Request(f"pay-{n}", target, value=VALUE, gas=21_000) for n in range(int(count))]
        box.submit(account.address, requests)
        while box.count_open(account.address):
            await box.step()
            await asyncio.sleep(0.01)
        box.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
