"""Which EVM in Python the embedded chain runs on: the same transfers of a token on each.

    python benchmarks/chain_engines.py [--transfers 500] [--eels PYTHON] [--save FOLDER]

--eels: the python of an environment of its own with `ethereum-execution==2.20.0` (it pins other
releases of our libraries). Each engine executes the same signed transfers of the tests' token in
blocks of 100, in memory, and computes the state root at each block's end. Signatures are recovered
by both. The roots must be equal, or nothing is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = 100
FIRST = "0x5FbDB2315678afecb367f032d93F642f64180aa3"

# Runs in the other environment: it gets the work as JSON on stdin and knows nothing of Kumiai.
EELS = """
import json, sys, time
from ethereum.forks.prague import fork, vm
from ethereum.forks.prague.fork_types import Account, Address
from ethereum.forks.prague.state import State, set_account, state_root
from ethereum.forks.prague.transactions import decode_transaction
from ethereum_types.bytes import Bytes, Bytes32
from ethereum_types.numeric import U64, U256, Uint
from ethereum.crypto.hash import Hash32
work = json.load(sys.stdin)
state = State()
for address, balance in work["accounts"].items():
    account = Account(nonce=Uint(0), balance=U256(balance), code=Bytes(b""))
    set_account(state, Address(bytes.fromhex(address)), account)
spent, roots = 0.0, 0.0
for number, block in enumerate(work["blocks"], 1):
    output = vm.BlockOutput()
    env = vm.BlockEnvironment(
        chain_id=U64(31337), state=state, block_gas_limit=Uint(30_000_000), block_hashes=[],
        coinbase=Address(b"\\0" * 20), number=Uint(number), base_fee_per_gas=Uint(0),
        time=U256(number), prev_randao=Bytes32(b"\\0" * 32), excess_blob_gas=U64(0),
        parent_beacon_block_root=Hash32(b"\\0" * 32),
    )
    start = time.perf_counter()
    for index, raw in enumerate(block):
        tx = decode_transaction(Bytes(bytes.fromhex(raw[2:])))
        fork.process_transaction(env, output, tx, Uint(index))
    if number > 1:
        spent += time.perf_counter() - start
    start = time.perf_counter()
    root = state_root(state)
    if number > 1:
        roots += time.perf_counter() - start
print(json.dumps({"root": bytes(root).hex(), "execution": spent, "roots": roots}))
"""


def make_work(transfers: int, strangers: int) -> dict[str, object]:
    """Genesis and blocks: the first makes the token, the others move it to many accounts."""
    from eth_account import Account
    from tests.adapters.evm.anvil import KEYS
    from tests.adapters.evm.probe import deploy_data, encode_call, sign

    accounts = {Account.from_key(KEYS[0]).address[2:].lower(): 10**24}
    # money of others: a state's size is what a root computed anew is paid for
    accounts |= {(10**40 + at).to_bytes(20, "big").hex(): 1 for at in range(strangers)}
    made = [sign(KEYS[0], 0, data=deploy_data(), gas=3_000_000)]
    moves = [
        sign(
            KEYS[0],
            nonce,
            to=FIRST,
            gas=100_000,
            data=encode_call("transfer", f"0x{10**30 + nonce % 200:040x}", 5),
        )
        for nonce in range(1, transfers + 1)
    ]
    blocks = [made, *(moves[at : at + BLOCK] for at in range(0, transfers, BLOCK))]
    return {"accounts": accounts, "blocks": blocks}


def run_pyevm(work: dict[str, object]) -> dict[str, object]:
    """The same as EELS's script, on the engine that the chain uses."""
    from kumiai.adapters.evm.chain.blocks import EMPTY_ROOT
    from kumiai.adapters.evm.chain.engine import BlockContext, GenesisAccount
    from kumiai.adapters.evm.chain.pyevm import PyEvm
    from kumiai.adapters.evm.chain.replay import Memory
    from kumiai.adapters.evm.chain.transactions import decode_transaction

    engine, nodes = PyEvm(), Memory()
    accounts = {bytes.fromhex(a): GenesisAccount(b) for a, b in work["accounts"].items()}
    root = engine.make_genesis(nodes, accounts) if accounts else EMPTY_ROOT
    spent = roots = 0.0
    for number, block in enumerate(work["blocks"], 1):
        context = BlockContext(
            31337, number, number, 30_000_000, 0, b"\0" * 20, b"\0" * 32, lambda _: b"\0" * 32
        )
        start = time.perf_counter()
        execution = engine.execute(nodes, root, context)
        for raw in block:
            execution.apply(decode_transaction(bytes.fromhex(raw[2:]), 31337))
        spent += (time.perf_counter() - start) * (number > 1)
        start = time.perf_counter()
        root = execution.close()
        roots += (time.perf_counter() - start) * (number > 1)
    return {"root": root.hex(), "execution": spent, "roots": roots}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--transfers", type=int, default=500)
    parser.add_argument("--eels", type=Path, default=None)
    add_save_option(parser, "chain_engines")
    options = parser.parse_args()
    out = Printout("chain_engines", options.save)
    table = Table(title=f"{options.transfers} transfers of a token, in memory, blocks of {BLOCK}")
    for head in ("engine", "accounts", "executed/s", "with roots/s", "root of a block, ms"):
        table.add_column(head, justify="left" if head == "engine" else "right")
    for strangers in (0, 2_000):
        work = make_work(options.transfers, strangers)
        results = {"py-evm 0.12.1b1 (as the chain uses it)": run_pyevm(work)}
        if options.eels is not None:
            said = subprocess.run(
                [options.eels, "-c", EELS],
                input=json.dumps(work).encode(),
                capture_output=True,
                check=False,
            )
            if said.returncode:
                raise SystemExit(said.stderr.decode()[-2000:])
            results["EELS (ethereum-execution 2.20)"] = json.loads(said.stdout)
        assert len({it["root"] for it in results.values()}) == 1, results
        for name, it in results.items():
            whole = it["execution"] + it["roots"]
            table.add_row(
                name,
                str(len(work["accounts"])),
                f"{options.transfers / it['execution']:.0f}",
                f"{options.transfers / whole:.0f}",
                f"{it['roots'] / (len(work['blocks']) - 1) * 1000:.1f}",
            )
    out.show(table)
    if options.eels is None:
        out.say("EELS was not measured: give --eels")
    out.save()


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    from rich.table import Table

    from saved_tables import Printout, add_save_option

    main()
