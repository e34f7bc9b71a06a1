"""Real clients against the embedded chain: cast, ethers, and web3.py where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import CONTRACTS, KEYS, find_tool
from tests.adapters.evm.embedded import Embedded, run_embedded
from tests.adapters.evm.probe import ADDRESSES, BYTECODE, MADE, deploy

from kumiai.adapters.evm.chain.rendering import to_checksum

HERE = Path(__file__).parent
TO = to_checksum(b"\xac" * 20)


@pytest.fixture(scope="module")
def node() -> Iterator[Embedded]:
    with run_embedded() as embedded:
        yield embedded


def run(*words: object) -> str:
    done = subprocess.run([str(it) for it in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_cast_reads_sends_calls_and_waits(node: Embedded) -> None:
    cast = find_tool("cast")
    at = ("--rpc-url", node.url)
    assert run(cast, "chain-id", *at) == "31337"
    sent = run(cast, "send", *at, "--private-key", KEYS[1], "--value", "3", TO, "--json")
    receipt = json.loads(sent)
    assert receipt["status"] == "0x1"
    assert run(cast, "balance", TO, *at) == "3"
    assert json.loads(run(cast, "receipt", receipt["transactionHash"], *at, "--json")) == receipt
    assert json.loads(run(cast, "block", "latest", *at, "--json"))["hash"] == receipt["blockHash"]
    probe = deploy(node)
    said = run(cast, "call", probe, "balanceOf(address)(uint256)", ADDRESSES[0], *at, "--json")
    assert json.loads(said) == [str(10**24)]
    moved = run(
        cast, "send", *at, "--private-key", KEYS[0], probe, "transfer(address,uint256)", TO, "5"
    )
    assert "1 (success)" in moved
    logs = json.loads(run(cast, "logs", *at, "--address", probe, "--from-block", "0", "--json"))
    assert len(logs) == 1
    failed = subprocess.run(
        [str(cast), "call", probe, "failWithText()", *at],
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode != 0 and "no such luck" in failed.stderr


def test_ethers_does_what_a_wallet_does(node: Embedded) -> None:
    if shutil.which("node") is None or not (CONTRACTS / "node_modules" / "ethers").exists():
        pytest.skip("node or ethers is not installed: run `make contracts`")
    script = CONTRACTS / "test" / "clients" / "talk.mjs"
    seen = json.loads(run("node", script, node.url, KEYS[2], HERE / "Probe.json"))
    assert seen == {
        "chainId": 31337,
        "balance": str(10**18),
        "gasUsed": "21000",
        "total": "1000",
        "event": ["Kept", "42"],
        "slot": "42",
        "found": 1,
        "error": ["CALL_EXCEPTION", "TooSmall", "5"],
        "reason": "no such luck",
        "funds": "INSUFFICIENT_FUNDS",
        "nonce": "NONCE_EXPIRED",
        "pushed": True,
    }


def test_web3_py_works_unchanged(node: Embedded) -> None:
    if find_spec("web3") is None:
        pytest.skip("web3 is not installed; it is an option of the user's")
    from web3 import HTTPProvider, Web3
    from web3.exceptions import ContractCustomError, TransactionNotFound

    web3 = Web3(HTTPProvider(node.url))
    account = web3.eth.account.from_key(KEYS[3])
    factory = web3.eth.contract(abi=MADE["abi"], bytecode=BYTECODE)

    def send(call: object) -> object:
        nonce = web3.eth.get_transaction_count(account.address, "pending")
        made = call.build_transaction({"from": account.address, "nonce": nonce})  # type: ignore[attr-defined]
        name = web3.eth.send_raw_transaction(account.sign_transaction(made).raw_transaction)
        return web3.eth.wait_for_transaction_receipt(name)

    receipt = send(factory.constructor(50))
    contract = web3.eth.contract(receipt["contractAddress"], abi=MADE["abi"])  # type: ignore[index]
    assert contract.functions.balanceOf(account.address).call() == 50
    kept = send(contract.functions.keep(1, 2, b"x"))
    (event,) = contract.events.Kept().process_receipt(kept)
    assert event["args"]["value"] == 2
    assert len(contract.events.Kept().get_logs(from_block=0)) == 1
    with pytest.raises(ContractCustomError):
        contract.functions.failWithError(5).call()
    with pytest.raises(TransactionNotFound):
        web3.eth.get_transaction_receipt("0x" + "ab" * 32)  # type: ignore[arg-type]
    assert web3.eth.fee_history(1, "latest", [50])["oldestBlock"] >= 0
