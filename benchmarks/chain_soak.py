"""Does the outbox survive a node that comes and goes: minutes of random restarts, nothing stuck.

    python benchmarks/chain_soak.py [--minutes 10] [--seed 0] [--save FOLDER]

anvil seals a block each second and writes its state each second; every few seconds it is ended,
by SIGTERM or SIGKILL (then it comes back without its last blocks: a reorganisation), stays away for
a moment, or drops its pool. Three senders keep paying a fresh amount to one address, under keys of
their own, now and then a key twice. At the end the node stays, and everything must be settled:
each key once, the receiver's money exactly the sum, no nonce stuck, no nonce used beyond the keys.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from pathlib import Path

from rich.table import Table

from anvil_node import CHAIN_ID, SECRETS, AnvilNode
from kumiai.adapters.evm.accounts import Account
from kumiai.adapters.evm.node import Node
from kumiai.adapters.evm.outbox import Outbox
from kumiai.adapters.evm.outbox_request import OutboxPolicy, Request
from kumiai.adapters.evm.transport import HttpTransport
from saved_tables import Printout, add_save_option

TARGET = "0x" + "d0" * 20
END_SECONDS_MAX = 120


def is_whole(text: bytes) -> bool:
    """Tell whether a state file was written to its end."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def read_state(file: Path) -> bytes:
    """Return the state file once it is whole; the node is writing it again and again."""
    while not (file.exists() and is_whole(text := file.read_bytes())):
        time.sleep(0.05)
    return text


async def disturb(
    node: AnvilNode, state: Path, luck: random.Random, until: float
) -> dict[str, int]:
    """End and start the node at random; return how often each."""
    done = {"terminated": 0, "killed": 0, "pool dropped": 0}
    while time.monotonic() < until:
        await asyncio.sleep(luck.uniform(2.0, 7.0))
        what = luck.choice(list(done))
        if what == "pool dropped":
            await asyncio.to_thread(node.request, "anvil_dropAllTransactions")
        else:
            good = await asyncio.to_thread(read_state, state) if what == "killed" else b""
            await asyncio.to_thread(node.end, kill=what == "killed")
            if what == "killed" and not is_whole(state.read_bytes()):
                state.write_bytes(good)  # anvil does not write it in one piece
            await asyncio.sleep(luck.choice([0.0, 0.5, 2.0]))
            await asyncio.to_thread(node.start)
        done[what] += 1
    return done


async def pay(box: Outbox, sender: str, luck: random.Random, until: float) -> dict[str, int]:
    """Submit payments under fresh keys, some of them twice; return the amounts by key."""
    amounts: dict[str, int] = {}
    while time.monotonic() < until:
        names = [f"{sender}-{len(amounts) + n}" for n in range(luck.randint(1, 12))]
        requests = []
        for name in names:
            amounts[name] = luck.randint(1, 10**6)
            requests.append(Request(name, TARGET, value=amounts[name], gas=21_000))
        box.submit(sender, requests)
        if luck.random() < 0.3:
            again = luck.choice(list(amounts))
            box.submit(sender, [Request(again, TARGET, value=amounts[again], gas=21_000)])
        await asyncio.sleep(luck.uniform(0.2, 1.0))
    return amounts


async def soak(seconds: float, seed: int, folder: Path) -> dict[str, object]:
    """Run it; return what was counted."""
    luck = random.Random(seed)
    accounts = [Account(secret) for secret in SECRETS[:3]]
    node = AnvilNode("-b", "1", "--state", str(folder / "state.json"), "--state-interval", "1")
    try:
        async with HttpTransport(node.url, timeout_seconds=5.0, attempts_max=2) as transport:
            reader = Node(transport, CHAIN_ID)
            policy = OutboxPolicy(
                confirmations=12, patience_seconds=6.0, rebroadcast_seconds=3.0, poll_seconds=0.2
            )
            box = Outbox(folder / "box.db", reader, accounts, policy)
            running = asyncio.create_task(box.run())
            until = time.monotonic() + seconds
            payers = [pay(box, a.address, random.Random(seed + n), until)
                      for n, a in enumerate(accounts)]  # fmt: skip
            disturbed, *paid = await asyncio.gather(
                disturb(node, folder / "state.json", luck, until), *payers
            )
            deadline = time.monotonic() + END_SECONDS_MAX
            while sum(map(box.count_open, (a.address for a in accounts))):
                if running.done() or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.2)
            stuck = sum(box.count_open(a.address) for a in accounts)
            ended = running.exception() if running.done() else None
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            keys = [key for amounts in paid for key in amounts]
            outcomes = [box.get_outcome(key) for key in keys]
            counts = [await reader.get_nonce(a.address) for a in accounts]
            result = {
                "seconds": round(seconds),
                **disturbed,
                "keys": len(keys),
                "settled": sum(o is not None and o.state == "settled" for o in outcomes),
                "stuck": stuck,
                "ended": 0 if ended is None else repr(ended)[:300],
                "transactions": sum(counts),
                "paid": await reader.get_balance(TARGET),
                "owed": sum(sum(amounts.values()) for amounts in paid),
            }
            box.close()
            return result
    finally:
        node.end()


def main() -> None:
    """Soak, print the table, fail where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    add_save_option(parser, "chain_soak")
    chosen = parser.parse_args()
    printout = Printout("chain_soak", chosen.save)
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(soak(60 * chosen.minutes, chosen.seed, Path(folder)))
    table = Table(title=f"outbox under random restarts, seed {chosen.seed}")
    table.add_column("what")
    table.add_column("", justify="right")
    for name, value in result.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    printout.show(table)
    is_good = (
        result["settled"] == result["keys"]
        and result["paid"] == result["owed"]
        and result["stuck"] == 0
        and result["transactions"] == result["keys"]
    )
    printout.say("every key once, nothing stuck" if is_good else "WRONG: see the table")
    printout.save(result)
    raise SystemExit(0 if is_good else 1)


if __name__ == "__main__":
    main()
