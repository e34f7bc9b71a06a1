"""One suite over the embedded chain and over a real anvil: what standard clients rely on.

The embedded chain may stand in for a node only because it passes what a node passes.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest
from eth_account import Account
from tests.adapters.evm.anvil import KEYS, run_anvil
from tests.adapters.evm.embedded import run_embedded
from tests.adapters.evm.probe import (
    ADDRESSES,
    GWEI,
    SUPPLY,
    Node,
    decode_result,
    deploy,
    deploy_data,
    encode_call,
    send,
    sign,
    wait_for_receipt,
)

from kumiai.adapters.evm.chain.rendering import to_checksum

OTHER = to_checksum(bytes.fromhex("12ab").rjust(20, b"\0"))


@pytest.fixture(scope="module", params=["embedded", "anvil"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    if request.param == "anvil":
        with run_anvil() as anvil:
            yield anvil
    else:
        with run_embedded() as embedded:
            yield embedded


@pytest.fixture(scope="module")
def probe(node: Node) -> str:
    return deploy(node)


def number(node: Node, method: str, *params: object) -> int:
    return int(str(node.request(method, *params)), 16)


def call(node: Node, probe: str, name: str, *values: object, block: object = "latest") -> object:
    request = {"from": ADDRESSES[0], "to": probe, "data": encode_call(name, *values)}
    return node.request("eth_call", request, block)


def get_error(node: Node, method: str, *params: object) -> dict[str, object]:
    with pytest.raises(RuntimeError) as caught:
        node.request(method, *params)
    said = caught.value.args[0]
    assert isinstance(said, dict)
    return said


def test_the_chain_names_itself(node: Node) -> None:
    assert node.request("eth_chainId") == hex(31337)
    assert node.request("net_version") == "31337"
    assert isinstance(node.request("web3_clientVersion"), str)
    assert node.request("eth_syncing") is False
    assert isinstance(node.request("eth_accounts"), list)
    empty = "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert node.request("web3_sha3", "0x") == empty


def test_a_transfer_moves_money_and_costs_what_the_receipt_says(node: Node) -> None:
    before = number(node, "eth_getBalance", ADDRESSES[1], "latest")
    nonce = number(node, "eth_getTransactionCount", ADDRESSES[1], "latest")
    receipt = send(node, KEYS[1], to=OTHER, value=7, gas=21_000)
    assert receipt["status"] == "0x1" and receipt["gasUsed"] == hex(21_000)
    assert str(receipt["from"]).lower() == ADDRESSES[1].lower() and receipt["type"] == "0x2"
    cost = 21_000 * int(str(receipt["effectiveGasPrice"]), 16) + 7
    assert number(node, "eth_getBalance", ADDRESSES[1], "latest") == before - cost
    assert number(node, "eth_getTransactionCount", ADDRESSES[1], "pending") == nonce + 1
    assert number(node, "eth_getBalance", OTHER, "latest") == 7


def test_all_three_kinds_of_transaction_are_mined_and_shown(node: Node) -> None:
    slots = [{"address": OTHER, "storageKeys": ["0x" + "00" * 32]}]
    for kind, fields in (
        ("0x0", {"gasPrice": 5 * GWEI}),
        ("0x1", {"gasPrice": 5 * GWEI, "accessList": slots}),
        ("0x2", {"accessList": slots}),
    ):
        receipt = send(node, KEYS[1], to=OTHER, gas=60_000, **fields)
        shown = node.request("eth_getTransactionByHash", receipt["transactionHash"])
        assert isinstance(shown, dict)
        assert shown["type"] == kind == receipt["type"]
        assert shown["gasPrice"] == receipt["effectiveGasPrice"]
        assert {"r", "s", "v", "input", "chainId", "blockHash", "transactionIndex"} <= set(shown)
        assert len(shown.get("accessList") or []) == (0 if kind == "0x0" else 1)


def test_a_block_holds_its_transactions_and_the_head_is_its_child(node: Node) -> None:
    receipt = send(node, KEYS[1], to=OTHER, gas=21_000)
    by_number = node.request("eth_getBlockByNumber", receipt["blockNumber"], False)
    by_hash = node.request("eth_getBlockByHash", receipt["blockHash"], True)
    assert isinstance(by_number, dict) and isinstance(by_hash, dict)
    assert by_number["hash"] == by_hash["hash"] == receipt["blockHash"]
    assert by_number["transactions"] == [receipt["transactionHash"]]
    assert by_hash["transactions"][0]["hash"] == receipt["transactionHash"]
    parent = node.request("eth_getBlockByHash", by_number["parentHash"], False)
    assert isinstance(parent, dict)
    assert int(parent["number"], 16) + 1 == int(by_number["number"], 16)
    assert int(parent["timestamp"], 16) <= int(by_number["timestamp"], 16)
    assert node.request("eth_getBlockReceipts", receipt["blockNumber"]) == [receipt]
    assert node.request("eth_getBlockByNumber", "0xffffff", False) is None
    assert node.request("eth_getTransactionReceipt", "0x" + "ab" * 32) is None
    assert node.request("eth_getTransactionByHash", "0x" + "ab" * 32) is None


def test_a_contract_is_made_called_and_read(node: Node, probe: str) -> None:
    assert len(str(node.request("eth_getCode", probe, "latest"))) > 1_000
    assert node.request("eth_getCode", OTHER, "latest") == "0x"
    assert decode_result("balanceOf", call(node, probe, "balanceOf", ADDRESSES[0])) == (SUPPLY,)
    receipt = send(node, KEYS[0], to=probe, data=encode_call("keep", 3, 99, b"said"))
    (log,) = receipt["logs"]  # type: ignore[misc]
    assert log["address"].lower() == probe.lower() and len(log["topics"]) == 3
    assert log["blockHash"] == receipt["blockHash"] and log["removed"] is False
    assert decode_result("slots", call(node, probe, "slots", 3)) == (99,)
    assert int(str(node.request("eth_getStorageAt", probe, "0x2", "latest")), 16) >= 99


def test_an_older_state_can_be_asked(node: Node, probe: str) -> None:
    first = send(node, KEYS[0], to=probe, data=encode_call("keep", 4, 1, b""))
    second = send(node, KEYS[0], to=probe, data=encode_call("keep", 4, 2, b""))
    old = call(node, probe, "slots", 4, block=first["blockNumber"])
    new = call(node, probe, "slots", 4, block=second["blockNumber"])
    by_hash = call(node, probe, "slots", 4, block={"blockHash": first["blockHash"]})
    assert decode_result("slots", old) == decode_result("slots", by_hash) == (1,)
    assert decode_result("slots", new) == (2,)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("failWithText", (), "no such luck"),
        ("failWithError", (5,), "execution reverted"),
        ("failWithPanic", (0,), "division or modulo by zero"),
    ],
)
def test_a_revert_says_why_with_its_data(
    node: Node, probe: str, name: str, values: tuple[int, ...], said: str
) -> None:
    request = {"from": ADDRESSES[0], "to": probe, "data": encode_call(name, *values)}
    for method in ("eth_call", "eth_estimateGas"):
        error = get_error(node, method, request)
        assert error["code"] == 3
        assert (
            str(error["message"]).startswith("execution reverted") or said == "execution reverted"
        )
        assert said.split(maxsplit=1)[0] in str(error["message"])
        assert len(str(error["data"])) > 10
    receipt = send(node, KEYS[0], to=probe, data=encode_call(name, *values), gas=100_000)
    assert receipt["status"] == "0x0" and receipt["logs"] == []


def test_an_invalid_instruction_is_no_revert(node: Node, probe: str) -> None:
    error = get_error(node, "eth_call", {"to": probe, "data": encode_call("failInvalid")})
    assert error["code"] != 3 and "data" not in error


def test_what_cannot_be_mined_is_refused_in_the_words_that_clients_know(node: Node) -> None:
    nonce = number(node, "eth_getTransactionCount", ADDRESSES[2], "pending")
    send(node, KEYS[2], to=OTHER, gas=21_000)
    cases = [
        (sign(KEYS[2], nonce, to=OTHER, gas=21_000), "nonce too low"),
        (sign(KEYS[2], nonce + 1, to=OTHER, value=10**24, gas=21_000), "insufficient funds"),
        (sign(KEYS[2], nonce + 1, to=OTHER, gas=20_000), "intrinsic gas too low"),
        (sign(KEYS[2], nonce + 1, to=OTHER, gas=90_000_000), "gas"),
        (sign(KEYS[2], nonce + 1, to=OTHER, chain_id=5), "chain id"),
        (
            sign(KEYS[2], nonce + 1, to=OTHER, maxFeePerGas=1, maxPriorityFeePerGas=1),
            "max fee per gas less than block base fee",
        ),
    ]
    for raw, said in cases:
        assert said in str(get_error(node, "eth_sendRawTransaction", raw)["message"]).lower()
    assert number(node, "eth_getTransactionCount", ADDRESSES[2], "pending") == nonce + 1


def test_a_gap_waits_and_follows_and_a_replacement_must_pay_more(node: Node) -> None:
    nonce = number(node, "eth_getTransactionCount", ADDRESSES[2], "latest")
    later = node.request("eth_sendRawTransaction", sign(KEYS[2], nonce + 1, to=OTHER, value=1))
    assert node.request("eth_getTransactionReceipt", later) is None
    waiting = node.request("eth_getTransactionByHash", later)
    assert isinstance(waiting, dict) and waiting["blockNumber"] is None
    assert number(node, "eth_getTransactionCount", ADDRESSES[2], "pending") == nonce
    cheap = sign(KEYS[2], nonce + 1, to=OTHER, value=2)
    error = get_error(node, "eth_sendRawTransaction", cheap)
    assert error["message"] == "replacement transaction underpriced"
    fees = {"maxFeePerGas": 200 * GWEI, "maxPriorityFeePerGas": 2 * GWEI}
    better = node.request(
        "eth_sendRawTransaction", sign(KEYS[2], nonce + 1, to=OTHER, value=3, **fees)
    )
    send(node, KEYS[2], to=OTHER, gas=21_000)
    assert wait_for_receipt(node, better)["status"] == "0x1"
    assert node.request("eth_getTransactionReceipt", later) is None
    assert number(node, "eth_getTransactionCount", ADDRESSES[2], "latest") == nonce + 2


def test_an_estimate_is_enough_and_not_much_more(node: Node, probe: str) -> None:
    clear = encode_call("clear", 1_000, 10)
    for slot in range(1_000, 1_010):
        send(node, KEYS[0], to=probe, data=encode_call("keep", slot, 1, b""))
    for data in (encode_call("keep", 2_000, 1, b"x"), clear, encode_call("tryAll")):
        request = {"from": ADDRESSES[0], "to": probe, "data": data}
        gas = number(node, "eth_estimateGas", request)
        receipt = send(node, KEYS[0], to=probe, data=data, gas=gas)
        assert receipt["status"] == "0x1", "the estimate was too small"
    transfer = {"from": ADDRESSES[0], "to": OTHER, "value": "0x1"}
    assert number(node, "eth_estimateGas", transfer) == 21_000
    assert number(node, "eth_estimateGas", {"from": ADDRESSES[0], "data": deploy_data()}) > 900_000


def test_fees_are_told(node: Node) -> None:
    for _ in range(3):  # this test may be the first that its node meets
        node.request("evm_mine")
    head = node.request("eth_getBlockByNumber", "latest", False)
    assert isinstance(head, dict)
    price, tip = number(node, "eth_gasPrice"), number(node, "eth_maxPriorityFeePerGas")
    assert 0 < tip <= price
    history = node.request("eth_feeHistory", "0x3", "latest", [10, 50])
    assert isinstance(history, dict)
    assert len(history["baseFeePerGas"]) == 4 and len(history["gasUsedRatio"]) == 3
    assert history["baseFeePerGas"][2] == head["baseFeePerGas"]
    assert all(len(rewards) == 2 for rewards in history["reward"])


def test_logs_are_found_by_address_topic_and_range(node: Node, probe: str) -> None:
    first = send(node, KEYS[0], to=probe, data=encode_call("keep", 500, 1, b""))
    send(node, KEYS[0], to=probe, data=encode_call("keep", 501, 2, b""))
    last = send(node, KEYS[0], to=probe, data=encode_call("transfer", OTHER, 3))
    span = {"fromBlock": first["blockNumber"], "toBlock": last["blockNumber"]}
    kept = first["logs"][0]["topics"][0]  # type: ignore[index]
    moved = last["logs"][0]["topics"][0]  # type: ignore[index]

    def count(**criteria: object) -> int:
        found = node.request("eth_getLogs", {**span, **criteria})
        assert isinstance(found, list)
        return len(found)

    slot = "0x" + (501).to_bytes(32, "big").hex()
    assert count() == count(address=probe) == count(address=[probe, OTHER]) == 3
    assert count(address=OTHER) == 0
    assert count(topics=[kept]) == 2 and count(topics=[[kept, moved]]) == 3
    assert count(topics=[kept, None, slot]) == 1 and count(topics=[None, None, slot]) == 1
    assert node.request("eth_getLogs", {"blockHash": first["blockHash"]}) == first["logs"]
    assert count(toBlock=first["blockNumber"]) == 1


def test_a_filter_tells_only_what_is_new(node: Node, probe: str) -> None:
    logs = node.request("eth_newFilter", {"address": probe})
    blocks = node.request("eth_newBlockFilter")
    assert node.request("eth_getFilterChanges", logs) == []
    receipt = send(node, KEYS[0], to=probe, data=encode_call("keep", 9, 9, b""))
    assert node.request("eth_getFilterChanges", logs) == receipt["logs"]
    assert node.request("eth_getFilterChanges", blocks) == [receipt["blockHash"]]
    assert node.request("eth_getFilterChanges", logs) == []
    assert node.request("eth_uninstallFilter", logs) is True
    assert node.request("eth_uninstallFilter", logs) is False


def test_time_can_be_moved_on_a_developers_chain(node: Node) -> None:
    head = node.request("eth_getBlockByNumber", "latest", False)
    assert isinstance(head, dict)
    wanted = int(head["timestamp"], 16) + 5_000
    node.request("evm_setNextBlockTimestamp", wanted)
    node.request("evm_mine")
    head = node.request("eth_getBlockByNumber", "latest", False)
    assert isinstance(head, dict) and int(head["timestamp"], 16) == wanted
    node.request("evm_increaseTime", 100)
    node.request("evm_mine")
    head = node.request("eth_getBlockByNumber", "latest", False)
    assert isinstance(head, dict) and wanted + 100 <= int(head["timestamp"], 16) < wanted + 200


def test_a_batch_is_answered_in_full_and_nonsense_has_the_standard_codes(node: Node) -> None:
    def post(body: object) -> object:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        call = urllib.request.Request(node.url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(call, timeout=60) as answer:
            return json.loads(answer.read())

    one = {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId", "params": []}
    two = {"jsonrpc": "2.0", "id": 2, "method": "no_such", "params": []}
    answers = post([one, two])
    assert isinstance(answers, list)
    by_id = {it["id"]: it for it in answers}
    assert by_id["a"]["result"] == hex(31337)
    assert by_id[2]["error"]["code"] == -32601
    bad = post({"jsonrpc": "2.0", "id": 3, "method": "eth_getBalance", "params": ["0x12"]})
    assert isinstance(bad, dict) and bad["error"]["code"] == -32602


def test_a_signature_recovers_to_its_account(node: Node) -> None:
    fresh = Account.create()
    send(node, KEYS[0], to=fresh.address, value=10**18, gas=21_000)
    receipt = send(node, "0x" + bytes(fresh.key).hex(), to=OTHER, value=1, gas=21_000)
    assert str(receipt["from"]).lower() == fresh.address.lower()
