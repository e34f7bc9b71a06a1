"""A chain for measurements: many signed transactions in, the gas of each out, and nothing else.

Two kinds, chosen by `--node`: `anvil` (revm, a process of the npm packages in contracts/) and
`embedded` (this project's own chain on py-evm, in this process). Both run the rules of Prague; gas
is free and time stands still unless it is moved, so that a run can be repeated. Blocks are sealed
on request, never by a timer: anvil's automatic mining stalls under many senders.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from kumiai.adapters.evm.accounts import Account, Transaction, compute_contract_address

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ARTIFACTS = ROOT / "src" / "kumiai" / "adapters" / "evm" / "artifacts"
FOUNDRY = CONTRACTS / "node_modules" / "@foundry-rs"
FORGE = FOUNDRY / "forge-linux-amd64" / "bin" / "forge"
GENESIS_TIME = 1_800_000_000  # Unix seconds
COIN = 10**18  # wei
PURSE = 10**9 * COIN  # what each account of the genesis begins with
MAX_FEE = 10**9  # wei per gas that a transaction offers; the chains ask for next to nothing
BATCH = 1_000  # JSON-RPC calls in one request
BODY_MAX = 1_500_000  # characters of a request: anvil refuses more than 2 MiB
ANVIL_BLOCK_GAS = 2 * 10**9  # a block of a measurement may be large
ANVIL_BLOCKS_KEPT = 4  # older transactions and receipts are dropped: nothing asks for them again
ANVIL_TAKEN_MAX = 1_000  # transactions in a block: to list its receipts, anvil takes their square


class Wallet:
    """A key, its address and its next nonce on the one chain it is used on."""

    __slots__ = ("_label", "account", "nonce")

    def __init__(self, label: str) -> None:
        """The same label always gives the same key."""
        self.account = Account(sha256(b"kumiai benchmark " + label.encode()).digest())
        self.nonce = 0
        self._label = label

    @property
    def address(self) -> str:
        return self.account.address

    def __reduce__(self) -> tuple[type[Wallet], tuple[str]]:
        return Wallet, (self._label,)  # another process makes the key again


@dataclass(frozen=True, slots=True)
class Job:
    """A transaction to come. `to` None creates a contract; gas: its limit."""

    wallet: Wallet
    to: str | None
    data: bytes
    value: int = 0
    gas: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Done:
    """What a transaction used, and whether it succeeded."""

    gas: int
    is_ok: bool


class Node(Protocol):
    """A chain that is measured."""

    name: str
    chain_id: int
    block_gas: int

    def send(self, raws: Sequence[bytes], hashes: Sequence[str]) -> list[Done]:
        """Put signed transactions into blocks; what each did, in the order given."""

    def call(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Ask contracts (address, data) at the last block; RuntimeError where one refuses."""

    def balances(self, addresses: Sequence[str]) -> list[int]:
        """What accounts own, in wei."""

    def set_time(self, timestamp: int) -> None:
        """Give the next block this time, the later ones at least this."""


class Lab:
    """A node, and what every measurement does with it."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def run(self, jobs: Sequence[Job], *, may_fail: bool = False) -> list[Done]:
        """Sign and send; RuntimeError where one failed, unless `may_fail`.

        Only one sender's transactions keep their order: a block's maker may mix senders.
        """
        signed = [self._sign(job) for job in jobs]
        done = self.node.send([each.raw for each in signed], [each.hash for each in signed])
        if not may_fail:
            for number, each in enumerate(done):
                if not each.is_ok:
                    raise RuntimeError(f"transaction {number} of {len(jobs)} failed: {each}")
        return done

    def run_phases(self, phases: Sequence[Sequence[Job]]) -> int:
        """Run each phase when the one before it stands in a block; return the gas of all."""
        return sum(done.gas for phase in phases for done in self.run(phase))

    def run_one(self, job: Job) -> int:
        """Send one transaction and return its gas."""
        return self.run([job])[0].gas

    def deploy(self, wallet: Wallet, code: bytes, value: int = 0) -> tuple[str, int]:
        """Return a new contract's address, and the gas of its creation. code: with arguments."""
        address = compute_contract_address(wallet.address, wallet.nonce)
        return address, self.run_one(Job(wallet, None, code, value, gas=12_000_000))

    def _sign(self, job: Job) -> Any:
        nonce, job.wallet.nonce = job.wallet.nonce, job.wallet.nonce + 1
        chain = self.node.chain_id
        return job.wallet.account.sign_transaction(
            Transaction(chain, nonce, MAX_FEE, 0, job.gas, job.to, job.value, job.data)
        )


class AnvilNode:
    """A process of anvil on a free port of 127.0.0.1, and one connection to it."""

    name, chain_id, block_gas = "anvil", 31337, ANVIL_BLOCK_GAS

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def send(self, raws: Sequence[bytes], hashes: Sequence[str]) -> list[Done]:
        done: dict[str, Done] = {}
        for start in range(0, len(raws), ANVIL_TAKEN_MAX):
            part = raws[start : start + ANVIL_TAKEN_MAX]
            self._ask("eth_sendRawTransaction", [["0x" + raw.hex()] for raw in part])
            self._ask("evm_mine", [[]])

            for receipt in self._ask("eth_getBlockReceipts", [["latest"]])[0]:
                is_ok = receipt["status"] == "0x1"
                done[receipt["transactionHash"]] = Done(int(receipt["gasUsed"], 16), is_ok)
        return [done[each] for each in hashes]

    def call(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes]:
        asked = [[{"to": to, "data": "0x" + data.hex()}, "latest"] for to, data in calls]
        return [bytes.fromhex(said[2:]) for said in self._ask("eth_call", asked)]

    def balances(self, addresses: Sequence[str]) -> list[int]:
        asked = [[address, "latest"] for address in addresses]
        return [int(said, 16) for said in self._ask("eth_getBalance", asked)]

    def set_time(self, timestamp: int) -> None:
        self._ask("evm_setNextBlockTimestamp", [[timestamp]])

    def close(self) -> None:
        """End the process."""
        self._line.close()
        self._process.kill()
        self._process.wait()

    def _ask(self, method: str, asked: Sequence[Sequence[Any]]) -> list[Any]:
        results: list[Any] = []
        for bodies in _pack(
            json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            for number, params in enumerate(asked)
        ):
            headers = {"Content-Type": "application/json"}
            self._line.request("POST", "/", f"[{','.join(bodies)}]", headers)
            answers = json.loads(self._line.getresponse().read())
            if not isinstance(answers, list):
                raise RuntimeError(f"{method}: {answers}")
            for answer in sorted(answers, key=lambda each: each["id"]):
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                results.append(answer["result"])
        return results


class EmbeddedNode:
    """The embedded chain, in memory, in this process."""

    name = "embedded"

    def __init__(self, addresses: Sequence[str]) -> None:
        from kumiai.adapters.evm.chain.chain import Options, open_chain
        from kumiai.adapters.evm.chain.engine import GenesisAccount
        from kumiai.adapters.evm.chain.genesis import Genesis

        self._now = GENESIS_TIME
        purses = {bytes.fromhex(each[2:]): GenesisAccount(PURSE) for each in addresses}
        self.block_gas = 60_000_000
        genesis = Genesis(
            accounts=purses, timestamp=GENESIS_TIME, gas_limit=self.block_gas, is_free=True
        )
        options = Options(clock=lambda: self._now, is_dev=True)
        self._chain = open_chain(None, genesis, options)
        self.chain_id = genesis.chain_id
        self._done: dict[bytes, Done] = {}
        self._chain.listen(self._on_sealed)

    def send(self, raws: Sequence[bytes], hashes: Sequence[str]) -> list[Done]:
        for start in range(0, len(raws), BATCH):
            for answer in self._chain.submit_many(raws[start : start + BATCH]):
                if isinstance(answer, Exception):
                    raise RuntimeError(str(answer)) from answer
        return [self._done.pop(bytes.fromhex(each[2:])) for each in hashes]

    def call(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes]:
        from kumiai.adapters.evm.chain.sealing import make_call_context
        from kumiai.adapters.evm.chain.transactions import Transaction as Asked

        chain, head = self._chain, self._chain.head
        context = make_call_context(chain.builder, head, is_free=True)
        results = []
        for to, data in calls:
            place, zero = bytes.fromhex(to[2:]), bytes(20)
            asked = Asked(2, self.chain_id, 0, 0, 0, self.block_gas, place, 0, data, zero)
            outcome = chain.engine.call(chain.store.nodes, head.state_root, context, asked)
            if outcome.failure is not None:
                raise RuntimeError(f"{outcome.failure}: {outcome.output.hex()}")
            results.append(outcome.output)
        return results

    def balances(self, addresses: Sequence[str]) -> list[int]:
        head = self._chain.head
        view = self._chain.engine.view(self._chain.store.nodes, head.state_root)
        return [view.get_account(bytes.fromhex(each[2:])).balance for each in addresses]

    def set_time(self, timestamp: int) -> None:
        self._now = timestamp
        self._chain.mine()

    def close(self) -> None:
        """Forget the chain."""
        self._chain.close()

    def _on_sealed(self, block: Any) -> None:
        for transaction, outcome in block.entries:
            self._done[transaction.hash] = Done(outcome.gas_used, outcome.failure is None)


@contextmanager
def open_lab(kind: str, wallets: Sequence[Wallet]) -> Iterator[Lab]:
    """A fresh chain on which `wallets` own 10^9 coins each. kind: anvil or embedded."""
    addresses = [wallet.address for wallet in wallets]
    node = EmbeddedNode(addresses) if kind == "embedded" else _start_anvil(addresses)
    try:
        yield Lab(node)
    finally:
        node.close()


def _pack(bodies: Iterable[str]) -> Iterator[list[str]]:
    """Split calls into requests of at most `BATCH` calls and about `BODY_MAX` characters."""
    packed: list[str] = []
    size = 0
    for body in bodies:
        if packed and (len(packed) == BATCH or size + len(body) > BODY_MAX):
            yield packed
            packed, size = [], 0
        packed.append(body)
        size += len(body)
    if packed:
        yield packed


def _start_anvil(addresses: Sequence[str]) -> AnvilNode:
    program = FOUNDRY / "anvil-linux-amd64" / "bin" / "anvil"
    if not program.exists():
        raise SystemExit("anvil is not installed: run `make contracts`, or --node embedded")
    with tempfile.TemporaryDirectory() as folder:
        genesis = Path(folder) / "genesis.json"
        genesis.write_text(json.dumps(_make_anvil_genesis(addresses)))
        options = ["--hardfork", "prague", "--no-mining", "--order", "fifo", "--accounts", "0"]
        options += ["--init", str(genesis), "--gas-limit", str(ANVIL_BLOCK_GAS), "--prune-history"]
        options += ["--transaction-block-keeper", str(ANVIL_BLOCKS_KEPT)]
        process = subprocess.Popen(
            [str(program), "--host", "127.0.0.1", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        pipe = process.stdout
        for line in pipe:  # ends when the process does
            if found := re.search(r"Listening on 127\.0\.0\.1:(\d+)", line):
                # an unread pipe would stop the process when it is full
                threading.Thread(target=lambda: [None for _ in pipe], daemon=True).start()
                return AnvilNode(process, int(found.group(1)))
    raise RuntimeError(f"anvil ended with {process.wait()}")


def _make_anvil_genesis(addresses: Sequence[str]) -> Mapping[str, object]:
    return {
        "config": {"chainId": AnvilNode.chain_id},
        "timestamp": hex(GENESIS_TIME),
        "gasLimit": hex(ANVIL_BLOCK_GAS),
        "baseFeePerGas": "0x1",
        "difficulty": "0x0",
        "alloc": {address[2:]: {"balance": hex(PURSE)} for address in addresses},
    }


def load_code(name: str) -> bytes:
    """Return the creation code of a contract of this project, as the package ships it.

    One that is only measured (contracts/src/bench/Naive.sol) is compiled first, by forge.
    """
    shipped = ARTIFACTS / f"{name}.json"
    if shipped.exists():
        return _read_code(shipped)
    if not can_compile():
        raise SystemExit(f"{name} is not compiled: run `make contracts`")
    source = CONTRACTS / "src" / "bench" / f"{name}.sol"
    with tempfile.TemporaryDirectory() as folder:
        options = ["--out", folder, "--cache-path", str(Path(folder) / "cache")]
        command = [str(FORGE), "build", "--quiet", *options, str(source)]
        subprocess.run(command, cwd=CONTRACTS, check=True)
        return _read_code(Path(folder) / f"{name}.sol" / f"{name}.json")


def can_compile() -> bool:
    """Tell whether forge is installed."""
    return FORGE.exists()


def _read_code(path: Path) -> bytes:
    code = json.loads(path.read_text(encoding="utf-8"))["bytecode"]
    text = code["object"] if isinstance(code, dict) else code
    return bytes.fromhex(text.removeprefix("0x"))


def add_node_option(parser: argparse.ArgumentParser, default: str = "embedded") -> None:
    """Add --node, the kind of chain."""
    parser.add_argument("--node", choices=["embedded", "anvil"], default=default)
