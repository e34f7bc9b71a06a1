"""One list of transactions on the embedded chain and on anvil: gas, logs and results are equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from eth_abi import encode
from tests.adapters.evm.anvil import KEYS, Anvil, run_anvil
from tests.adapters.evm.embedded import Embedded, run_embedded
from tests.adapters.evm.probe import (
    ADDRESSES,
    GWEI,
    deploy_data,
    encode_call,
    sign,
    wait_for_receipt,
)

from kumiai.adapters.evm.chain.rendering import to_checksum

FRESH = to_checksum(b"\x77" * 20)
PROBE = "0x5FbDB2315678afecb367f032d93F642f64180aa3"  # of the first account's first transaction
SALT = b"\x05" * 32
G1 = bytes.fromhex(  # alt_bn128: the generator and (1, 2) doubled by the precompile
    "0000000000000000000000000000000000000000000000000000000000000001"
    "0000000000000000000000000000000000000000000000000000000000000002"
)
BLS_G1 = (
    b"\0" * 16
    + bytes.fromhex(
        "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
    )
    + b"\0" * 16
    + bytes.fromhex(
        "08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1"
    )
)


@dataclass(frozen=True)
class Case:
    name: str
    data: str = "0x"
    to: str | None = PROBE
    value: int = 0
    gas: int = 1_000_000
    key: int = 0


def at(number: int) -> str:
    return to_checksum(number.to_bytes(20, "big"))


def say(name: str, *values: object, **fields: object) -> Case:
    return Case(name, encode_call(name, *values), **fields)  # type: ignore[arg-type]


MODEXP = encode(["uint256"] * 3, [1, 1, 1]) + b"\x03\x05\x07"
CASES = [
    Case("deploy", deploy_data(), to=None, gas=3_000_000),
    Case("transfer to a new account", to=FRESH, value=5, gas=21_000),
    Case("transfer to an old account", to=FRESH, value=5, gas=30_000),
    Case("transfer to oneself", to=ADDRESSES[0], value=5, gas=21_000),
    Case("data to nobody: floor price", "0x" + "ff" * 1_000, to=FRESH, gas=100_000),
    Case("data to nobody: zeros", "0x" + "00" * 2_000, to=FRESH, gas=100_000),
    say("transfer", FRESH, 1_000),
    say("transfer", FRESH, 1_000),
    say("transfer", FRESH, 10**30),
    say("transfer", ADDRESSES[0], 5, key=1),
    say("keep", 1, 5, b"first"),
    say("keep", 1, 6, b"changed"),
    say("keep", 1, 6, b"the same"),
    say("keep", 1, 0, b"cleared: a refund"),
    say("keep", 2, 1, b"x" * 3_000),
    say("keep", 3, 1, b"", gas=40_000),
    *(say("keep", slot, 1, b"") for slot in range(10, 14)),
    say("clear", 10, 4),
    say("clear", 10, 4),
    say("failWithError", 5),
    say("failWithText"),
    say("failWithPanic", 0),
    say("failInvalid"),
    say("burn", 300),
    say("burn", 10_000, gas=100_000),
    say("dive", 10),
    say("dive", 60, gas=3_000_000),
    say("dive", 200, gas=2_000_000),
    say("dive", 1_000, gas=25_000_000),
    say("tryAll"),
    say("spawn", SALT),
    say("spawn", SALT),
    say("destroy", b"\x06" * 32),
    say("lock", 9),
    say("recover", b"\x01" * 32, 27, b"\x02" * 32, b"\x03" * 32),
    say("recover", b"\x01" * 32, 29, b"\x02" * 32, b"\x03" * 32),
    say("precompile", at(4), b"identity" * 9),
    say("precompile", at(5), MODEXP),
    say("precompile", at(6), G1 + G1),
    say("precompile", at(7), G1 + (3).to_bytes(32, "big")),
    say("precompile", at(8), b""),
    say("precompile", at(9), b"\0" * 213),
    say("precompile", at(11), BLS_G1 + BLS_G1),
    say("precompile", at(12), BLS_G1 + (5).to_bytes(32, "big")),
    say("precompile", at(11), b"not a point"),
    say("pay", at(0x9999), value=10**15),
    say("pay", PROBE, value=10**15),
    say("hashOf", 10**6),
    Case("money without words", value=77),
    Case("words that nobody knows", "0xdeadbeef"),
    Case("a creation that runs into the end", "0xfe", to=None, gas=100_000),
    Case("a creation that reverts", "0x60006000fd", to=None, gas=100_000),
    Case("code that begins with 0xef", "0x60ef60005360016000f3", to=None, gas=100_000),
    Case("a long creation", "0x" + "00" * 20_000, to=None, gas=1_000_000),
]


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Embedded, Anvil]]:
    with run_embedded() as embedded, run_anvil() as anvil:
        yield embedded, anvil


def run(node: Embedded | Anvil, case: Case) -> dict[str, object]:
    """What a case is called with returns, is estimated at, and does once it is mined."""
    sender = ADDRESSES[case.key]
    nonce = int(str(node.request("eth_getTransactionCount", sender, "latest")), 16)
    request: dict[str, object] = {"from": sender, "data": case.data, "gas": hex(case.gas)}
    fields: dict[str, object] = {"data": case.data, "value": case.value, "gas": case.gas}
    request["value"] = hex(case.value)
    if case.to is not None:
        request["to"] = fields["to"] = case.to
    fees = {"maxFeePerGas": 100 * GWEI, "maxPriorityFeePerGas": GWEI}
    seen: dict[str, object] = {}
    for method in ("eth_call", "eth_estimateGas"):
        try:
            seen[method] = node.request(method, request)
        except RuntimeError as error:
            said = error.args[0]
            seen[method] = (said["code"] == 3, said.get("data"))
    raw = sign(KEYS[case.key], nonce, **fields, **fees)
    receipt = wait_for_receipt(node, node.request("eth_sendRawTransaction", raw))
    logs = receipt["logs"]
    assert isinstance(logs, list)
    seen["logs"] = [
        (it["address"].lower(), it["topics"], it["data"], it["logIndex"]) for it in logs
    ]
    seen |= {name: receipt[name] for name in ("gasUsed", "status", "logsBloom", "type")}
    seen["contract"] = str(receipt["contractAddress"]).lower()
    return seen


@pytest.mark.filterwarnings("ignore:SELFDESTRUCT")
def test_every_transaction_costs_and_does_the_same_on_both(
    nodes: tuple[Embedded, Anvil],
) -> None:
    embedded, anvil = nodes
    seen = [(case.name, run(embedded, case), run(anvil, case)) for case in CASES]
    estimates = [(name, a.pop("eth_estimateGas"), b.pop("eth_estimateGas")) for name, a, b in seen]
    assert [(name, ours) for name, ours, _ in seen] == [(name, theirs) for name, _, theirs in seen]
    for name, ours, theirs in estimates:
        if isinstance(ours, str) and isinstance(theirs, str):
            mine, other = int(ours, 16), int(theirs, 16)
            assert abs(mine - other) <= other * 0.02, (name, mine, other)
        else:
            assert ours == theirs, name
    balances = [
        [node.request("eth_getStorageAt", PROBE, hex(slot), "latest") for slot in range(8)]
        for node in nodes
    ]
    assert balances[0] == balances[1]
