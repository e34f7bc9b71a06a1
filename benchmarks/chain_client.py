"""Signed submissions a second against a real node, from one process; beside web3.py.

    python benchmarks/chain_client.py [--count 10000] [--web3 PYTHON] [--save FOLDER]

anvil seals a block each second. Each way sends COUNT transfers of an account of its own:
`outbox` writes each down (SQLite, synchronous = FULL), signs, sends and finds its receipt; `client`
signs and sends in batches without an outbox. `accepted`: until the node has taken all; `mined`:
until the chain's count has them all, which includes up to a second of waiting for the last block.
`own work`: processor time of the sending process alone, which a busy machine changes least.
PYTHON: the interpreter of an environment with web3.py; without it only our own rows are shown.
Goal: the outbox accepts and mines >= 1,000 a second. Signing alone is measured against eth-account.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from eth_account import Account as EthAccount
from rich.table import Table

from anvil_node import CHAIN_ID, SECRETS, AnvilNode
from kumiai.adapters.evm.accounts import Account, Transaction
from kumiai.adapters.evm.node import Node
from kumiai.adapters.evm.outbox import Outbox
from kumiai.adapters.evm.outbox_request import OutboxPolicy, Request
from kumiai.adapters.evm.transport import HttpTransport
from saved_tables import Printout, add_save_option

TARGET = "0x" + "d0" * 20
BATCH = 250  # sent at once without an outbox
SUBMITTED = 1_000  # given to the outbox at once
GOAL = 1_000


async def run_outbox(url: str, secret: bytes, count: int, file: Path) -> dict[str, float]:
    """COUNT requests through the outbox, until each has its receipt."""
    account = Account(secret)
    async with HttpTransport(url) as transport:
        node = Node(transport, CHAIN_ID)
        policy = OutboxPolicy(confirmations=1, in_flight_max=2 * count, poll_seconds=0.02)
        box = Outbox(file, node, [account], policy)
        started = time.perf_counter()
        for first in range(0, count, SUBMITTED):
            part = range(first, min(first + SUBMITTED, count))
            requests = [Request(f"n{n}", TARGET, value=1, gas=21_000) for n in part]
            box.submit(account.address, requests)
            await box.step()
        while await node.get_nonce(account.address, "pending") < count:
            await box.step()
        accepted = time.perf_counter() - started
        while box.count_open(account.address):
            if not await box.step():
                await asyncio.sleep(0.02)
        mined = time.perf_counter() - started
        assert await node.get_nonce(account.address) == count, "sent more often than once"
        box.close()
    return {"accepted": accepted, "mined": mined}


def with_work(run: Coroutine[Any, Any, dict[str, float]]) -> dict[str, float]:
    """Run it; add the seconds that this process itself computed."""
    before = time.process_time()
    found = asyncio.run(run)
    return {**found, "work": time.process_time() - before}


async def run_client(url: str, secret: bytes, count: int) -> dict[str, float]:
    """COUNT transactions signed and sent in batches; no outbox."""
    account = Account(secret)
    async with HttpTransport(url) as transport:
        node = Node(transport, CHAIN_ID)
        started = time.perf_counter()
        for first in range(0, count, BATCH):
            part = range(first, min(first + BATCH, count))
            answers = await node.send_raw([account.sign_transaction(transfer(n)).raw for n in part])
            assert all(isinstance(answer, str) for answer in answers), answers[:3]
        accepted = time.perf_counter() - started
        while await node.get_nonce(account.address) < count:
            await asyncio.sleep(0.02)
        return {"accepted": accepted, "mined": time.perf_counter() - started}


def run_web3(python: str, url: str, secret: bytes, count: int) -> dict[str, float]:
    """The same by web3.py in its own environment."""
    script = Path(__file__).with_name("peers") / "web3_sender.py"
    command = [python, str(script), url, secret.hex(), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return dict(json.loads(done.stdout))


def transfer(nonce: int) -> Transaction:
    """What every way sends."""
    return Transaction(CHAIN_ID, nonce, 10**11, 10**9, 21_000, TARGET, 1, b"")


def measure_signing(count: int) -> tuple[float, float]:
    """Return signatures a second: ours, eth-account's."""
    ours, theirs = Account(SECRETS[0]), EthAccount.from_key(SECRETS[0])
    fields = {
        "type": 2, "chainId": CHAIN_ID, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9,
        "gas": 21_000, "to": bytes.fromhex(TARGET[2:]), "value": 1, "data": b"",
    }  # fmt: skip

    def rate(sign: Callable[[int], object]) -> float:
        started = time.perf_counter()
        for nonce in range(count):
            sign(nonce)
        return count / (time.perf_counter() - started)

    return (
        rate(lambda nonce: ours.sign_transaction(transfer(nonce))),
        rate(lambda nonce: theirs.sign_transaction({**fields, "nonce": nonce})),
    )


def main() -> None:
    """Run all ways on one node, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--web3", metavar="PYTHON", default=None)
    add_save_option(parser, "chain_client")
    chosen = parser.parse_args()
    printout = Printout("chain_client", chosen.save)
    count = chosen.count
    node = AnvilNode("-b", "1")
    rows: list[tuple[str, dict[str, float]]] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "box.db"
            rows.append(("outbox", with_work(run_outbox(node.url, SECRETS[0], count, file))))
        rows.append(("client", with_work(run_client(node.url, SECRETS[1], count))))
        if chosen.web3 is not None:
            rows.append(("web3.py", run_web3(chosen.web3, node.url, SECRETS[2], count)))
    finally:
        node.end()
    table = Table(title=f"{count} signed transfers, one process, anvil -b 1")
    for head in ("way", "accepted/s", "mined/s", "own work us each", "work, of the outbox's"):
        table.add_column(head, justify="left" if head == "way" else "right")
    base = rows[0][1]
    for name, seconds in rows:
        rates = [f"{count / seconds[key]:,.0f}" for key in ("accepted", "mined")]
        ratio = f"{seconds['work'] / base['work']:.1f} x"
        table.add_row(name, *rates, f"{1e6 * seconds['work'] / count:,.0f}", ratio)
    printout.show(table)
    ours, theirs = measure_signing(2_000)
    printout.say(
        f"signing alone: {ours:,.0f}/s, eth-account {theirs:,.0f}/s: {ours / theirs:.1f} x"
    )
    rate = count / base["mined"]
    printout.say(f"goal {GOAL:,}/s through the outbox: {'met' if rate >= GOAL else 'MISSED'}")
    printout.save(dict(rows))


if __name__ == "__main__":
    main()
