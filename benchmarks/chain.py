"""The embedded chain's speed beside anvil's, and beside eth-tester's where it is installed.

    python benchmarks/chain.py [--transactions 1000] [--save FOLDER]

Settled: transfers of the tests' token from four accounts, signed beforehand; the clock runs from
the first one sent to the last receipt had. "Within the process" is the door that Kumiai itself
uses; over HTTP both nodes are asked by the same client (keep-alive, batches of 200, or one at a
time). anvil mines each second there (`--block-time 1`) where many are sent at once: its automine
stalls under load. Ratios are of one run on one machine, and that is what they are good for; "per
CPU second" counts the process's own time, also where other work shares the machine.
The goals: >= 200 settled a second where transactions are pooled; 1,000 transactions opened again
in <= 0.2 s.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BATCH = 200
EVENTS = 600
FIRST = "0x5FbDB2315678afecb367f032d93F642f64180aa3"


def make_transfers(count: int, first_nonces: list[int]) -> list[str]:
    """Signed transfers in turn from each of the tests' accounts."""
    nonces = list(first_nonces)
    raws = []
    for at in range(count):
        who = at % len(KEYS)
        data = encode_call("transfer", f"0x{10**30 + at % 200:040x}", 5)
        raws.append(sign(KEYS[who], nonces[who], to=FIRST, gas=100_000, data=data))
        nonces[who] += 1
    return raws


def prepare(node: object) -> None:
    """The token, and some of it for each account."""
    assert deploy(node).lower() == FIRST.lower()
    for address in ADDRESSES[1:]:
        send(node, KEYS[0], to=FIRST, data=encode_call("transfer", address, 10**18))


async def settle(ask: object, raws: list[str], size: int) -> float:
    """Settled transactions a second: sent in batches of `size`, then all receipts had."""
    start = time.perf_counter()
    names: list[object] = []
    for at in range(0, len(raws), size):
        part = raws[at : at + size]
        names += await ask([("eth_sendRawTransaction", [raw]) for raw in part])
    missing = names
    while missing:
        found = []
        for at in range(0, len(missing), BATCH):
            part = missing[at : at + BATCH]
            found += await ask([("eth_getTransactionReceipt", [name]) for name in part])
        assert all(it is None or it["status"] == "0x1" for it in found)
        missing = [name for name, it in zip(missing, found, strict=True) if it is None]
        if missing:
            await asyncio.sleep(0.02)
    return len(raws) / (time.perf_counter() - start)


def make_http(session: object, url: str) -> object:
    """Batches over one kept connection; errors end the benchmark."""

    async def ask(calls: list[tuple[str, list[object]]]) -> list[object]:
        body = [
            {"jsonrpc": "2.0", "id": at, "method": method, "params": params}
            for at, (method, params) in enumerate(calls)
        ]
        async with session.post(url, json=body[0] if len(body) == 1 else body) as answer:
            said = await answer.json()
        said = [said] if len(body) == 1 else sorted(said, key=lambda it: it["id"])
        assert all("error" not in it for it in said), said[0]
        return [it["result"] for it in said]

    return ask


async def measure_http(url: str, count: int, nonces: list[int], size: int) -> float:
    """Over HTTP."""
    raws = make_transfers(count, nonces)
    async with ClientSession() as session:
        return await settle(make_http(session, url), raws, size)


async def measure_inside(chain: object, raws: list[str], size: int) -> float:
    """Through the door within the process."""
    transport = EmbeddedTransport(chain)
    speed = await settle(transport.batch, raws, size)
    await transport.close()
    return speed


async def measure_calls(url: str, count: int) -> float:
    """eth_call a second, one after the other."""
    request = {"to": FIRST, "data": encode_call("balanceOf", ADDRESSES[0])}
    async with ClientSession() as session:
        ask = make_http(session, url)
        start = time.perf_counter()
        for _ in range(count):
            await ask([("eth_call", [request, "latest"])])
        return count / (time.perf_counter() - start)


def count_nonces(node: object) -> list[int]:
    """The next nonce of each account."""
    return [int(node.request("eth_getTransactionCount", it, "pending"), 16) for it in ADDRESSES]


def measure_embedded(folder: Path, count: int) -> dict[str, float]:
    """All figures of the embedded chain, in a file on the disk."""
    figures: dict[str, float] = {}
    path = folder / "chain.sqlite"
    open_chain(None, make_genesis()).close()  # the engine is imported
    start = time.perf_counter()
    open_chain(path, make_genesis()).close()
    figures["begin, ms"] = (time.perf_counter() - start) * 1000
    with run_embedded(path) as node:
        prepare(node)
        for name, size, share in (("pooled", BATCH, 1), ("one by one", 1, 4)):
            n = count_nonces(node)
            raws = make_transfers(count // share, n)
            cpu = time.process_time()
            figures[f"settled/s, {name}, within"] = asyncio.run(
                measure_inside(node.chain, raws, size)
            )
            cpu = time.process_time() - cpu
            figures[f"settled per CPU second, {name}, within"] = len(raws) / cpu
            n = count_nonces(node)
            figures[f"settled/s, {name}"] = asyncio.run(
                measure_http(node.url, count // share, n, size)
            )
        figures["eth_call/s"] = asyncio.run(measure_calls(node.url, 300))
        figures["getLogs of 600, ms"] = measure_logs(node)
    start = time.perf_counter()
    chain = open_chain(path)
    figures["open again, ms"] = (time.perf_counter() - start) * 1000
    figures["transactions in it"] = chain.store.reader.execute(
        "select count(*) from transactions"
    ).fetchone()[0]
    figures["file, MB"] = path.stat().st_size / 1e6
    chain.close()
    return figures


def measure_anvil(count: int) -> dict[str, float]:
    """anvil: mining each second where many are sent, at once where one is."""
    figures: dict[str, float] = {}
    start = time.perf_counter()
    with run_anvil() as node:
        figures["begin, ms"] = (time.perf_counter() - start) * 1000
        prepare(node)
        figures["settled/s, one by one"] = asyncio.run(
            measure_http(node.url, count // 4, count_nonces(node), 1)
        )
        figures["eth_call/s"] = asyncio.run(measure_calls(node.url, 300))
    with run_anvil(block_seconds=1) as node:
        prepare(node)
        figures["settled/s, pooled"] = asyncio.run(
            measure_http(node.url, count, count_nonces(node), BATCH)
        )
        figures["getLogs of 600, ms"] = measure_logs(node)
    return figures


def measure_logs(node: object) -> float:
    """One eth_getLogs that answers at least 600 events; milliseconds for each 600."""
    start = time.perf_counter()
    logs = node.request("eth_getLogs", {"fromBlock": "0x0", "address": FIRST})
    assert len(logs) >= EVENTS, f"{len(logs)} events: give more --transactions"
    return (time.perf_counter() - start) * 1000 / len(logs) * EVENTS


def measure_eth_tester(count: int) -> dict[str, float]:
    """eth-tester's own door: each transaction is mined as it comes."""
    from eth_tester import EthereumTester, PyEVMBackend

    start = time.perf_counter()
    genesis = PyEVMBackend.generate_genesis_params({"gas_limit": 30_000_000})
    tester = EthereumTester(PyEVMBackend(genesis_parameters=genesis))
    figures = {"begin, ms": (time.perf_counter() - start) * 1000}
    sender = tester.get_accounts()[0]
    made = tester.send_transaction({"from": sender, "gas": 3_000_000, "data": deploy_data()})
    token = tester.get_transaction_receipt(made)["contract_address"]
    start = time.perf_counter()
    for at in range(count // 8):
        data = encode_call("transfer", f"0x{10**30 + at % 200:040x}", 5)
        name = tester.send_transaction({"from": sender, "to": token, "gas": 100_000, "data": data})
        assert tester.get_transaction_receipt(name)["status"] == 1
    figures["settled/s, one by one"] = (count // 8) / (time.perf_counter() - start)
    return figures


def measure_import() -> float:
    """Seconds to import the chain in a new process, less an empty one's."""

    def run(code: str) -> float:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")}
        )
        return time.perf_counter() - start

    return run("import kumiai.adapters.evm.chain.pyevm") - run("pass")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--transactions", type=int, default=1_000)
    add_save_option(parser, "chain")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours = measure_embedded(Path(folder), options.transactions)
    columns = {"embedded": ours, "anvil 1.7.1": measure_anvil(options.transactions)}
    if find_spec("eth_tester") is not None:
        columns["eth-tester"] = measure_eth_tester(options.transactions)
    out = Printout("chain", options.save)
    table = Table(title=f"The embedded chain: {options.transactions} transfers of a token")
    table.add_column("figure")
    for head in [*columns, "embedded / anvil"]:
        table.add_column(head, justify="right")
    for name, value in ours.items():
        theirs = columns["anvil 1.7.1"].get(name)
        cells = [f"{it[name]:.1f}" if name in it else "" for it in columns.values()]
        table.add_row(name, *cells, f"{value / theirs:.2f}" if theirs else "")
    out.show(table)
    out.say(f"Importing the chain's engine takes {measure_import():.2f} s besides.")
    if len(columns) == 2:
        out.say("eth-tester is not installed: not measured.")
    out.save({name: dict(it) for name, it in columns.items()})


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    from aiohttp import ClientSession
    from rich.table import Table
    from tests.adapters.evm.anvil import KEYS, run_anvil
    from tests.adapters.evm.embedded import make_genesis, run_embedded
    from tests.adapters.evm.probe import ADDRESSES, deploy, deploy_data, encode_call, send, sign

    from kumiai.adapters.evm.chain.chain import open_chain
    from kumiai.adapters.evm.chain.doors import EmbeddedTransport
    from saved_tables import Printout, add_save_option

    main()
