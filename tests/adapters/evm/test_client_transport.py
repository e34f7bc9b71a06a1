"""The way to a node, and the node itself: what fails, lies or floods is told apart, and bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tests.adapters.evm.anvil import Anvil, run_anvil
from tests.adapters.evm.bad_proxy import BadProxy, run_proxy
from tests.adapters.evm.bell import ACCOUNTS, BYTECODE, CHAIN_ID, Rung, ring

from kumiai.adapters.evm import errors as e
from kumiai.adapters.evm.accounts import Transaction, compute_contract_address
from kumiai.adapters.evm.fees import GWEI
from kumiai.adapters.evm.json_input import load_json
from kumiai.adapters.evm.node import LogFilter, Node
from kumiai.adapters.evm.transport import HttpTransport
from kumiai.adapters.evm.web3_provider import Web3Transport

OWNER = ACCOUNTS[0]
BELL = compute_contract_address(OWNER.address, 0)
OTHER = "0x" + "ab" * 32


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    """A node that holds the bell, rung once."""
    with run_anvil() as node:
        for nonce, to, data in ((0, None, BYTECODE), (1, BELL, ring(b"x").data)):
            fields = Transaction(CHAIN_ID, nonce, 10 * GWEI, GWEI, 2_000_000, to, 0, data)
            node.request("eth_sendRawTransaction", "0x" + OWNER.sign_transaction(fields).raw.hex())
            while node.request("eth_getTransactionCount", OWNER.address, "latest") != hex(
                nonce + 1
            ):
                pass
        yield node


Body = Callable[[BadProxy, HttpTransport, Node], Awaitable[None]]


def play(anvil: Anvil, body: Body, **settings: Any) -> None:
    async def run() -> None:
        options = {"pause_seconds": (0.001, 0.002), "attempts_max": 3, **settings}
        async with run_proxy(anvil.url) as proxy, HttpTransport(proxy.url, **options) as transport:
            await body(proxy, transport, Node(transport, CHAIN_ID))

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(
    "fault", ["500", "503", "429", "cut", "html", "half", "deep", "list", "null", "empty",
              "odd-error", "other-id"],
)  # fmt: skip
def test_what_may_pass_is_tried_again(anvil: Anvil, fault: str) -> None:
    async def body(proxy: BadProxy, transport: HttpTransport, node: Node) -> None:
        proxy.faults = [fault, fault]
        assert await transport.request("eth_chainId", []) == hex(CHAIN_ID)
        assert proxy.requests == 3
        proxy.faults = [fault] * 5
        with pytest.raises(e.RetriableChainError):
            await transport.request("eth_chainId", [])
        assert proxy.requests == 6  # and no more often than that

    play(anvil, body)


@pytest.mark.parametrize(("fault", "kind"), [("403", e.PermanentChainError),
                                             ("no-text", e.PermanentChainError),
                                             ("huge", e.AnswerTooBigError)])  # fmt: skip
def test_what_cannot_pass_is_told_at_once(anvil: Anvil, fault: str, kind: type) -> None:
    async def body(proxy: BadProxy, transport: HttpTransport, node: Node) -> None:
        proxy.faults = [fault]
        with pytest.raises(kind):
            await transport.request("eth_chainId", [])
        assert proxy.requests == 1
        assert await transport.request("eth_chainId", []) == hex(CHAIN_ID)

    play(anvil, body)


def test_no_answer_is_waited_for_for_ever(anvil: Anvil) -> None:
    async def body(proxy: BadProxy, transport: HttpTransport, node: Node) -> None:
        proxy.faults = ["hang"]
        assert await transport.request("eth_chainId", []) == hex(CHAIN_ID)
        proxy.faults = ["hang"] * 3
        with pytest.raises(e.NodeUnreachableError, match="Check that the node runs"):
            await transport.request("eth_chainId", [])

    play(anvil, body, timeout_seconds=0.2)


def test_an_url_with_a_key_is_in_no_message() -> None:
    async def body() -> None:
        async with HttpTransport("http://127.0.0.1:9/secret-key", attempts_max=1) as transport:
            with pytest.raises(e.NodeUnreachableError) as caught:
                await transport.request("eth_chainId", [])
            assert "secret-key" not in str(caught.value)

    asyncio.run(body())
    with pytest.raises(ValueError, match="http"):
        HttpTransport("file:///etc/passwd")


def test_a_batch_keeps_its_order_and_its_errors(anvil: Anvil) -> None:
    async def body(proxy: BadProxy, transport: HttpTransport, node: Node) -> None:
        proxy.faults = ["500", "fewer"]
        calls: list[Any] = [("eth_chainId", ()), ("no_such", ()), ("eth_blockNumber", ())] * 300
        answers = await transport.batch(calls)
        assert answers[0::3] == [hex(CHAIN_ID)] * 300
        assert all(isinstance(a, e.MethodMissingError) for a in answers[1::3])
        assert answers[2::3] == ["0x2"] * 300
        assert proxy.requests == 6  # four parts, and two asked again

    play(anvil, body)


def test_another_chain_is_noticed_before_anything_is_signed(anvil: Anvil) -> None:
    async def body(proxy: BadProxy, transport: HttpTransport, node: Node) -> None:
        wrong = Node(transport, 1)
        with pytest.raises(e.WrongChainIdError, match="31337 where 1 was expected"):
            await wrong.send_raw([b"\x02"])
        assert "eth_sendRawTransaction" not in proxy.asked
        # It was right, and is another after a reconnection: asked again, and noticed.
        await node.get_nonce(OWNER.address)
        proxy.asked.clear()
        await node.get_nonce(OWNER.address)
        assert proxy.asked == ["eth_getTransactionCount"]
        proxy.lie = lambda method, result: "0x7" if method == "eth_chainId" else result
        proxy.faults = ["cut"]
        await node.get_nonce(OWNER.address)
        with pytest.raises(e.WrongChainIdError):
            await node.send_raw([b"\x02"])
        assert "eth_sendRawTransaction" not in proxy.asked

    play(anvil, body)


def change(method: str, **fields: Any) -> Any:
    def lie(asked: str, result: Any) -> Any:
        if asked != method or result is None:
            return result
        if isinstance(result, list):
            return [{**item, **fields} for item in result]
        return {**result, **fields}

    return lie


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (change("eth_getLogs", blockNumber="0x63"), "block 99 was given for 0..2"),
        (change("eth_getLogs", address="0x" + "11" * 20), "not asked for"),
        (change("eth_getLogs", topics=[OTHER]), "another topic"),
        (change("eth_getLogs", topics=[]), "another topic"),
        (change("eth_getLogs", topics=[OTHER] * 5), "four topics"),
        (change("eth_getLogs", removed=True), "removed"),
        (change("eth_getLogs", data="0xzz"), "no data"),
        (change("eth_getLogs", blockHash="0x12"), "32 bytes"),
        (lambda m, r: r * 2 if m == "eth_getLogs" else r, "same place"),
        (lambda m, r: {} if m == "eth_getLogs" else r, "no list"),
    ],
)
def test_lies_about_logs(anvil: Anvil, lie: Any, words: str) -> None:
    async def body(proxy: BadProxy, transport: HttpTransport, node: Node) -> None:
        wanted = LogFilter((BELL,), (Rung.TOPIC,))
        assert len(await node.get_logs(wanted, 0, 2)) == 1
        proxy.lie = lie
        with pytest.raises(e.LyingNodeError, match=words):
            await node.get_logs(wanted, 0, 2)

    play(anvil, body)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (
            change("eth_getTransactionReceipt", transactionHash=OTHER, logs=[]),
            "another transaction",
        ),
        (change("eth_getTransactionReceipt", blockHash=OTHER, logs=[]), "is not block 2"),
        (change("eth_getTransactionReceipt", blockNumber="0x1"), "is not block 1"),
        (change("eth_getTransactionReceipt", blockHash=OTHER), "another transaction"),
        (change("eth_getTransactionReceipt", status="yes"), "no quantity"),
        (change("eth_getBlockByNumber", number="0x9"), "block 9 was given for 2"),
    ],
)
def test_lies_about_receipts(anvil: Anvil, lie: Any, words: str) -> None:
    block: Any = anvil.request("eth_getBlockByNumber", "0x2", False)
    (known,) = block["transactions"]

    async def body(proxy: BadProxy, transport: HttpTransport, node: Node) -> None:
        (honest,) = await node.get_receipts([known])
        assert honest is not None and honest.is_success and honest.block == 2
        proxy.lie = lie
        with pytest.raises(e.LyingNodeError, match=words):
            await node.get_receipts([known])

    play(anvil, body)


def test_a_head_that_falls_far_behind_is_a_lie(anvil: Anvil) -> None:
    async def body(proxy: BadProxy, transport: HttpTransport, node: Node) -> None:
        heads = iter(["0x100", "0xc0", "0xbf"])
        proxy.lie = lambda method, result: next(heads) if method == "eth_blockNumber" else result
        assert await node.get_block_number() == 0x100
        assert await node.get_block_number() == 0xC0  # 64 blocks: within the bound
        with pytest.raises(e.LyingNodeError, match="went back from 256 to 191"):
            await node.get_block_number()

    play(anvil, body)


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (-32000, "nonce too low: next nonce 5, tx nonce 4", e.NonceTooLowError),
        (-32000, "already known", e.AlreadyKnownError),
        (-32003, "transaction already imported", e.AlreadyKnownError),
        (-32000, "replacement transaction underpriced", e.UnderpricedError),
        (-32000, "max fee per gas less than block base fee: address 0x", e.UnderpricedError),
        (-32000, "insufficient funds for gas * price + value: balance 0", e.InsufficientFundsError),
        (-32003, "Insufficient funds for gas * price + value", e.InsufficientFundsError),
        (-32005, "query returned more than 10000 results", e.TooManyResultsError),
        (-32005, "daily request count exceeded, request rate limited: too many requests",
         e.RateLimitedError),
        (-32602, "block range is too wide", e.TooManyResultsError),
        (-32601, "the method x does not exist", e.MethodMissingError),
        (-32603, "internal error", e.RetriableChainError),
        (-32000, "header not found", e.RetriableChainError),
        (-32000, "intrinsic gas too low: have 1", e.InvalidTransactionError),
        (3, "execution reverted", e.RevertedError),
        (-32000, "something new", e.PermanentChainError),
        (None, None, e.PermanentChainError),
        ([], {}, e.PermanentChainError),
    ],
)  # fmt: skip
def test_errors_have_their_kind(code: Any, text: Any, kind: type) -> None:
    found = e.error_from_rpc(code, text)
    assert type(found) is kind
    assert found.exit_code == 6
    assert found.is_retriable == issubclass(kind, e.RetriableChainError)
    assert len(str(e.error_from_rpc(code, "x" * 10**6))) < 1_000


def test_revert_data_is_found_in_the_shapes_of_nodes() -> None:
    for data in ("0x1234", {"data": "0x1234"}, {"data": {"result": "0x1234"}}):
        found = e.error_from_rpc(3, "execution reverted", data)
        assert isinstance(found, e.RevertedError) and found.data == b"\x12\x34"
    for data in ("0xzz", "12", 7, {"data": {"data": {"data": {"data": "0x12"}}}}, [], None):
        found = e.error_from_rpc(3, "execution reverted", data)
        assert isinstance(found, e.RevertedError) and found.data == b""


class Provider:
    """As web3.py's async providers answer: the whole JSON-RPC object, or their own exceptions."""

    async def make_request(self, method: str, params: list[Any]) -> Any:
        if method == "boom":
            raise RuntimeError("connection lost")
        if method == "eth_call":
            error = {"code": 3, "message": "execution reverted", "data": "0x1234"}
            return {"jsonrpc": "2.0", "id": 0, "error": error}
        return {"jsonrpc": "2.0", "id": 0, "result": hex(CHAIN_ID)} if method != "odd" else 7


def test_a_web3_provider_is_a_transport() -> None:
    async def body() -> None:
        class Web3:
            provider = Provider()

        transport = Web3Transport(Web3())
        assert await transport.request("eth_chainId", []) == hex(CHAIN_ID)
        names = ["eth_chainId", "eth_call", "boom", "odd"]
        good, reverted, lost, odd = await transport.batch([(name, []) for name in names])
        assert good == hex(CHAIN_ID)
        assert isinstance(reverted, e.RevertedError) and reverted.data == b"\x12\x34"
        assert isinstance(lost, e.NodeUnreachableError)
        assert isinstance(odd, e.MalformedAnswerError)
        assert transport.connections == 1
        await Node(transport, CHAIN_ID).check_chain()

    asyncio.run(body())
    with pytest.raises(ValueError, match="AsyncWeb3"):
        Web3Transport(object())


def test_nesting_is_bounded_before_it_is_parsed() -> None:
    deep = b"[" * 32 + b"]" * 32
    assert load_json(deep) == json.loads(deep)
    assert load_json(b'["' + b"[" * 1000 + b'", "\\"[", {"a": ["]"]}]')
    hidden = b'["]",' * 200_000 + b"1" + b"]" * 200_000  # brackets in strings hide nothing
    for bad in (b"[" + deep + b"]", b"[" * 10**6, b'{"a":' * 10**6, hidden, b"]" * 10 + b"[" * 40):
        with pytest.raises(ValueError, match=r"deeper|Expecting"):
            load_json(bad)
