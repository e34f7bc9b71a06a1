"""Contracts onto a chain: what is shipped in `artifacts/` is what is deployed, byte for byte."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from eth_abi import encode

from kumiai.adapters.evm.accounts import Account, compute_contract_address
from kumiai.adapters.evm.outbox_request import Outcome, Request
from kumiai.adapters.evm.sender import Sender


@cache
def load_bytecode(name: str) -> bytes:
    """Return the code that creates the contract called `name`; KeyError if none is shipped."""
    path = files("kumiai.adapters.evm") / "artifacts" / f"{name}.json"
    if not path.is_file():
        raise KeyError(f"no contract named {name!r} is shipped")
    text = json.loads(path.read_text(encoding="utf-8"))["bytecode"]
    return bytes.fromhex(text.removeprefix("0x"))


def submit_creation(
    sender: Sender, deployer: Account, name: str, types: tuple[str, ...] = (), *values: object
) -> str:
    """Write the transaction down that creates a contract; return its key. Twice is once."""
    key = f"deploy/{name}"
    data = load_bytecode(name) + encode(types, values)
    sender.submit(deployer.address, [Request(key, None, data)])
    return key


def find_created(deployer: Account, outcome: Outcome) -> str:
    """Return the address at which a settled creation's contract lives."""
    assert outcome.nonce is not None
    return compute_contract_address(deployer.address, outcome.nonce)
