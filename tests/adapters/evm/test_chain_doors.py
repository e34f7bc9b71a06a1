"""The embedded chain's doors: time, parameters, limits, HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import json
import urllib.error

import pytest
from aiohttp import ClientSession
from tests.adapters.evm.anvil import KEYS
from tests.adapters.evm.embedded import Embedded, make_genesis, run_embedded
from tests.adapters.evm.probe import ADDRESSES, deploy, encode_call, send, sign

from kumiai.adapters.evm.chain import queries
from kumiai.adapters.evm.chain.chain import EmbeddedChain, Options, open_chain
from kumiai.adapters.evm.chain.doors import BATCH_MAX, Door, EmbeddedTransport
from kumiai.adapters.evm.chain.errors import RpcError
from kumiai.adapters.evm.chain.genesis import Genesis
from kumiai.adapters.evm.chain.rendering import to_checksum
from kumiai.adapters.evm.chain.server import NESTING_MAX, REQUEST_BYTES_MAX, check_nesting
from kumiai.base.errors import InputError

TO = to_checksum(b"\xa1" * 20)
SENDER = bytes.fromhex(ADDRESSES[0][2:])


class Local:
    """A chain's own door with the tests' `request(method, *params)`."""

    url = ""

    def __init__(self, chain: EmbeddedChain) -> None:
        self.chain = chain
        self.door = Door(chain)

    def request(self, method: str, *params: object) -> object:
        return self.door.request(method, params)


@pytest.fixture
def local() -> Local:
    return Local(open_chain(None, make_genesis(), Options(is_dev=True)))


def raw(nonce: int, key: str = KEYS[0], **fields: object) -> bytes:
    said = {"to": TO, "value": 1, "gas": 50_000, **fields}
    return bytes.fromhex(sign(key, nonce, **said)[2:])


# -- the doors --


def test_time_is_the_clock_and_two_blocks_may_share_a_second() -> None:
    now = [1_000]
    node = Local(open_chain(None, make_genesis(), Options(clock=lambda: now[0], is_dev=True)))
    for nonce in range(3):
        node.chain.submit(raw(nonce))
    assert node.chain.head.timestamp == 1_000
    now[0] = 900  # a clock that was put back
    node.chain.submit(raw(3))
    assert node.chain.head.timestamp == 1_000
    node.request("evm_increaseTime", 500)
    node.chain.submit(raw(4))
    assert node.chain.head.timestamp == 1_400


def test_a_developers_methods_are_not_there_on_another_chain() -> None:
    node = Local(open_chain(None, make_genesis()))
    for method in ("evm_mine", "evm_increaseTime", "evm_setNextBlockTimestamp"):
        with pytest.raises(RpcError) as caught:
            node.request(method)
        assert caught.value.code == -32601


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x12"]),
        ("eth_getBalance", [ADDRESSES[0], "0xzz"]),
        ("eth_getBalance", [ADDRESSES[0], "latest", 1]),
        ("eth_getBalance", [ADDRESSES[0], {}, []]),
        ("eth_call", [{"to": TO, "gas": "-1"}]),
        ("eth_call", [{"to": TO, "unheard": 1}]),
        ("eth_call", ["x"]),
        ("eth_call", [{"to": TO}, "latest", {TO: {"balance": "0x1"}}]),
        ("eth_sendRawTransaction", ["0x1"]),
        ("eth_sendRawTransaction", [7]),
        ("eth_getLogs", [{"fromBlock": "0x2", "toBlock": "0x1"}]),
        ("eth_getLogs", [{"topics": [["0x12"]]}]),
        ("eth_getLogs", [{"blockHash": "0x" + "00" * 32, "fromBlock": "0x1"}]),
        ("eth_getBlockByNumber", ["0x1" + "0" * 70]),
        ("eth_feeHistory", [1, "latest", [50, 10]]),
    ],
)
def test_what_cannot_be_read_is_32602(local: Local, method: str, params: list[object]) -> None:
    with pytest.raises(RpcError) as caught:
        local.door.request(method, params)
    assert caught.value.code == -32602


def test_logs_are_limited_with_a_word_of_what_to_do(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "LOGS_MAX", 3)
    probe = deploy(local)
    for slot in range(4):
        send(local, KEYS[0], to=probe, data=encode_call("keep", slot, 1, b""))
    with pytest.raises(RpcError, match="returned more than 3 results") as caught:
        local.request("eth_getLogs", {"fromBlock": "0x0"})
    assert caught.value.code == -32005
    assert len(local.request("eth_getLogs", {"fromBlock": "0x3"})) == 3  # type: ignore[arg-type]
    monkeypatch.setattr(queries, "LOG_BLOCKS_MAX", 2)
    with pytest.raises(RpcError, match="max block range"):
        local.request("eth_getLogs", {"fromBlock": "0x3"})


def test_the_transport_answers_one_and_many(local: Local) -> None:
    async def talk() -> tuple[object, list[object]]:
        transport = EmbeddedTransport(local.chain)
        sends = [("eth_sendRawTransaction", ["0x" + raw(n).hex()]) for n in range(5)]
        calls = [*sends, ("eth_blockNumber", []), ("no_such", []), ("eth_sendRawTransaction", [])]
        answer = await transport.request("eth_chainId", [])
        answers = await transport.batch(calls)
        with pytest.raises(RpcError, match="batch too large"):
            await transport.batch([("eth_chainId", [])] * (BATCH_MAX + 1))
        await transport.close()
        return answer, answers

    answer, answers = asyncio.run(talk())
    assert answer == hex(31337)
    assert all(isinstance(it, str) for it in answers[:5]) and answers[5] == "0x1"
    assert [it.code for it in answers[6:]] == [-32601, -32602]  # type: ignore[union-attr]


def test_the_server_caps_sizes_before_it_parses() -> None:
    with run_embedded() as node:
        with pytest.raises(urllib.error.HTTPError) as caught:
            node.post(b" " * (REQUEST_BYTES_MAX + 1))
        assert caught.value.code == 413
        assert node.post(b"{")["error"]["code"] == -32700  # type: ignore[index]
        assert node.post(b"[" * 100_000)["error"]["code"] == -32700  # type: ignore[index]
        deep = b'{"jsonrpc":"2.0","id":1,"method":"web3_sha3","params":["' + b"[" * 99 + b'\\""]}'
        assert node.post(deep)["error"]["code"] == -32602, "brackets in a text are no nesting"  # type: ignore[index]
        for body in (b"[]", b"3", b'{"id": 1}', json.dumps([1] * (BATCH_MAX + 1)).encode()):
            assert node.post(body)["error"]["code"] == -32600, body  # type: ignore[index]
        said = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{"a":1}}'
        assert node.post(said)["error"]["code"] == -32600  # type: ignore[index]


def test_nesting_is_looked_at_before_parsing() -> None:
    check_nesting(b"[" * NESTING_MAX + b"]" * NESTING_MAX)
    check_nesting(b'["' + b"[" * 1_000 + b'"]')
    check_nesting(b"[],{}" * 1_000)
    with pytest.raises(ValueError, match="nested"):
        check_nesting("[" * (NESTING_MAX + 1))
    with pytest.raises(ValueError, match="nested"):
        check_nesting(b'{"a":' * (NESTING_MAX + 1))


def test_heads_and_logs_are_pushed_over_websocket() -> None:
    async def talk(node: Embedded) -> None:
        async with ClientSession() as session, session.ws_connect(node.url) as socket:

            async def ask(method: str, *params: object) -> object:
                body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                await socket.send_json(body)
                while "id" not in (said := await socket.receive_json(timeout=30)):
                    pushed.append(said["params"])
                return said.get("result", said.get("error"))

            pushed: list[dict[str, object]] = []
            heads = await ask("eth_subscribe", "newHeads")
            probe = await asyncio.to_thread(deploy, node)
            logs = await ask("eth_subscribe", "logs", {"address": probe})
            data = encode_call("keep", 1, 2, b"")
            receipt = await asyncio.to_thread(send, node, KEYS[0], to=probe, data=data)
            while len(pushed) < 3:
                pushed.append((await socket.receive_json(timeout=30))["params"])
            by_name = {
                name: [p["result"] for p in pushed if p["subscription"] == name]
                for name in (heads, logs)
            }
            assert [it["number"] for it in by_name[heads]] == ["0x1", "0x2"]  # type: ignore[index]
            assert by_name[logs] == receipt["logs"]
            assert await ask("eth_unsubscribe", heads) is True
            assert await ask("eth_unsubscribe", heads) is False
            assert (await ask("eth_subscribe", "rumours"))["code"] == -32602  # type: ignore[index]

    with run_embedded() as node:
        asyncio.run(talk(node))


def test_a_port_in_use_is_said() -> None:
    from kumiai.adapters.evm.chain.server import serve

    with run_embedded() as node:
        port = int(node.url.rsplit(":", 1)[1])
        with pytest.raises(InputError, match="cannot listen"):
            asyncio.run(serve(node.chain, port=port))


@pytest.mark.parametrize(
    "rules", [{"chain_id": 0}, {"gas_limit": 1}, {"base_fee": -1}, {"extra": b"x" * 33}]
)
def test_a_genesis_that_cannot_stand_is_refused(rules: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Genesis(**rules)  # type: ignore[arg-type]
