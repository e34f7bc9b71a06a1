"""The tests' own contract (Probe.sol, compiled into Probe.json), its calls, and signing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Protocol

from eth_abi import decode, encode
from eth_account import Account
from tests.adapters.evm.anvil import KEYS

from kumiai.adapters.evm.chain.rendering import to_checksum
from kumiai.base.keys import keccak256

MADE = json.loads((Path(__file__).parent / "Probe.json").read_text())
BYTECODE = "0x" + MADE["bytecode"]
FUNCTIONS = {it["name"]: it for it in MADE["abi"] if it["type"] == "function"}
GWEI = 10**9
SUPPLY = 10**24
RECEIPT_SECONDS_MAX = 60.0
ADDRESSES = tuple(Account.from_key(key).address for key in KEYS)


class Node(Protocol):
    """What both kinds of node offer."""

    url: str

    def request(self, method: str, *params: object) -> object: ...


def encode_call(name: str, *values: object) -> str:
    """Selector and arguments."""
    types = [it["type"] for it in FUNCTIONS[name]["inputs"]]
    selector = keccak256(f"{name}({','.join(types)})".encode())[:4]
    return "0x" + (selector + encode(types, values)).hex()


def decode_result(name: str, data: object) -> tuple[object, ...]:
    """What a function returned."""
    types = [it["type"] for it in FUNCTIONS[name]["outputs"]]
    assert isinstance(data, str)
    return decode(types, bytes.fromhex(data[2:]))


def deploy_data(supply: int = SUPPLY) -> str:
    """The creation of a Probe."""
    return BYTECODE + encode(["uint256"], [supply]).hex()


def sign(key: str, nonce: int, *, chain_id: int = 31337, **fields: object) -> str:
    """A raw transaction; EIP-1559 unless a gasPrice is given."""
    said: dict[str, object] = {
        "data": "0x",
        "nonce": nonce,
        "chainId": chain_id,
        "gas": 1_000_000,
        "value": 0,
    }
    if "gasPrice" not in fields:
        said.update(type=2, maxFeePerGas=100 * GWEI, maxPriorityFeePerGas=GWEI)
    said.update(fields)
    if "to" in said:
        said["to"] = to_checksum(bytes.fromhex(str(said["to"])[2:]))
    if fields.get("accessList") is not None and "gasPrice" in fields:
        said["type"] = 1
    return "0x" + bytes(Account.sign_transaction(said, key).raw_transaction).hex()


def send(node: Node, key: str, **fields: object) -> dict[str, object]:
    """Sign with the next nonce, send, and the receipt."""
    sender = Account.from_key(key).address
    nonce = int(str(node.request("eth_getTransactionCount", sender, "pending")), 16)
    name = node.request("eth_sendRawTransaction", sign(key, nonce, **fields))
    return wait_for_receipt(node, name)


def wait_for_receipt(node: Node, name: object) -> dict[str, object]:
    """The embedded chain has it at once; anvil mines a moment after it answered."""
    deadline = time.monotonic() + RECEIPT_SECONDS_MAX
    while not isinstance(receipt := node.request("eth_getTransactionReceipt", name), dict):
        assert time.monotonic() < deadline, "no receipt"
        time.sleep(0.002)
    return receipt


def deploy(node: Node, key: str = KEYS[0]) -> str:
    """A new Probe's address."""
    receipt = send(node, key, data=deploy_data(), gas=3_000_000)
    assert receipt["status"] == "0x1"
    return str(receipt["contractAddress"])
