"""What only the embedded chain promises: its file and its pool."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import KEYS
from tests.adapters.evm.embedded import make_genesis
from tests.adapters.evm.probe import ADDRESSES, GWEI, deploy, encode_call, send, sign

from kumiai.adapters.evm.chain import pool as pools
from kumiai.adapters.evm.chain import queries
from kumiai.adapters.evm.chain.chain import EmbeddedChain, Options, open_chain
from kumiai.adapters.evm.chain.doors import Door
from kumiai.adapters.evm.chain.engine import EngineError
from kumiai.adapters.evm.chain.errors import RpcError
from kumiai.adapters.evm.chain.genesis import read_genesis
from kumiai.adapters.evm.chain.pyevm import PyEvm
from kumiai.adapters.evm.chain.rendering import to_checksum
from kumiai.adapters.evm.chain.replay import replay
from kumiai.base.errors import InputError, StoreError, VerificationError

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


# -- the file --


def test_a_chain_is_found_again_with_all_it_held(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    node = Local(open_chain(path, make_genesis()))
    probe = deploy(node)
    receipt = send(node, KEYS[0], to=probe, data=encode_call("keep", 1, 5, b"x"))
    waiting = node.chain.submit(raw(9))
    head = node.chain.head
    node.chain.close()
    again = Local(open_chain(path))
    assert again.chain.head == head and again.chain.genesis == make_genesis()
    assert again.request("eth_getTransactionReceipt", receipt["transactionHash"]) == receipt
    assert again.chain.pool.find(waiting) is not None
    for nonce in range(2, 9):
        again.chain.submit(raw(nonce))
    assert queries.find_transaction(again.chain.store, waiting) is not None
    assert len(again.chain.pool) == 0 and again.chain.store.load_pending() == []
    assert replay(again.chain).transactions == 10
    again.chain.close()


def test_the_same_genesis_makes_the_same_first_block_and_another_is_refused(
    tmp_path: Path,
) -> None:
    heads = []
    for name in ("a", "b"):
        chain = open_chain(tmp_path / name, make_genesis())
        heads.append(chain.head.hash)
        chain.close()
    assert heads[0] == heads[1]
    with pytest.raises(InputError, match="began differently"):
        open_chain(tmp_path / "a", make_genesis(chain_id=7))
    with pytest.raises(InputError, match="a new chain needs one"):
        open_chain(tmp_path / "new")
    open_chain(tmp_path / "a", make_genesis()).close()
    assert read_genesis(make_genesis().to_json()) == make_genesis()


def test_a_second_process_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    chain = open_chain(path, make_genesis())
    words = (
        "import sys; from pathlib import Path; from kumiai.adapters.evm.chain.chain import *\n"
        "try: open_chain(Path(sys.argv[1])).close(); print('opened')\n"
        "except InputError as error: print(error)"
    )
    source = str(Path(__file__).resolve().parents[3] / "src")

    def try_it() -> str:
        command = [sys.executable, "-c", words, str(path)]
        env = {**os.environ, "PYTHONPATH": source}
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False).stdout

    assert "another process has this chain open" in try_it()
    chain.close()
    assert try_it().strip() == "opened"


def test_a_changed_file_does_not_replay(tmp_path: Path) -> None:
    chain = open_chain(tmp_path / "chain.sqlite", make_genesis())
    chain.submit(raw(0))
    chain.submit(raw(1))
    assert replay(chain).blocks == 3
    chain.store._writer.execute(
        "update transactions set raw = ? where number = 1", (raw(0, to=ADDRESSES[1]),)
    )
    with pytest.raises(VerificationError, match="block 1"):
        replay(chain)
    chain.close()


def test_a_failing_disk_acknowledges_nothing_and_the_chain_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = open_chain(tmp_path / "chain.sqlite", make_genesis())
    chain.submit(raw(0))
    chain.store._writer.execute("pragma max_page_count = 1")  # "disk is full"
    for failed in range(1, 200):
        try:
            chain.submit(raw(failed, data="0x" + "ab" * 500, gas=100_000))
        except StoreError as error:
            said = str(error)
            break
    else:
        pytest.fail("the disk was not full")
    head = chain.head
    assert "full" in said
    assert len(chain.pool) == 0 and chain.count_nonce(SENDER) == failed
    chain.store._writer.execute("pragma max_page_count = 1073741823")
    chain.submit(raw(failed))
    assert chain.head.number == head.number + 1
    replay(chain)
    chain.close()
    again = open_chain(tmp_path / "chain.sqlite")  # nothing of what failed is taken for written
    assert again.count_nonce(SENDER) == failed + 1
    again.close()


def test_what_waits_beside_a_block_is_on_disk_with_it(tmp_path: Path) -> None:
    chain = open_chain(tmp_path / "chain.sqlite", make_genesis())
    _, later = chain.submit_many([raw(0), raw(5)])
    chain.close()
    again = open_chain(tmp_path / "chain.sqlite")
    assert isinstance(later, bytes) and again.pool.find(later) is not None
    again.close()


# -- the pool --


def test_a_replacement_pays_a_tenth_more_in_both_fees(local: Local) -> None:
    fees = {"maxFeePerGas": 10 * GWEI, "maxPriorityFeePerGas": GWEI}
    local.chain.submit(raw(1, **fees))
    for more in (
        {**fees, "maxFeePerGas": 11 * GWEI},
        {**fees, "maxPriorityFeePerGas": 2 * GWEI},
        {"maxFeePerGas": 11 * GWEI - 1, "maxPriorityFeePerGas": 2 * GWEI},
    ):
        with pytest.raises(RpcError, match="replacement transaction underpriced"):
            local.chain.submit(raw(1, **more))
    with pytest.raises(RpcError, match="already known"):
        local.chain.submit(raw(1, **fees))
    better = local.chain.submit(
        raw(1, maxFeePerGas=11 * GWEI, maxPriorityFeePerGas=GWEI * 11 // 10)
    )
    local.chain.submit(raw(0))
    assert local.chain.head.number == 1 and local.chain.count_nonce(SENDER) == 2
    assert queries.find_transaction(local.chain.store, better) is not None
    assert local.chain.store.load_pending() == []


def test_what_waits_is_bounded_and_counts_against_the_balance(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "WAITING_MAX", 3)
    monkeypatch.setattr(pools, "WAITING_PER_SENDER_MAX", 2)
    with pytest.raises(RpcError, match="nonce too high"):
        local.chain.submit(raw(3))
    local.chain.submit(raw(1))
    with pytest.raises(RpcError, match=r"insufficient funds .* queued cost"):
        local.chain.submit(raw(2, value=10**22 - 7 * 10**15))
    local.chain.submit(raw(2))
    with pytest.raises(RpcError, match="account limit exceeded"):
        local.chain.submit(raw(0))
    local.chain.submit(raw(1, KEYS[1]))
    with pytest.raises(RpcError, match="txpool is full"):
        local.chain.submit(raw(1, KEYS[2]))


def test_many_at_once_share_blocks_and_each_has_its_answer(local: Local) -> None:
    raws = [raw(nonce, key) for nonce in range(20) for key in KEYS]
    raws[7:7] = [b"", b"\x03nonsense", b"\xc0", raws[0], raw(0, value=10**30)]
    answers = local.chain.submit_many(raws)
    refused = [str(it) for it in answers if isinstance(it, Exception)]
    assert len(refused) == 5 and len(answers) == 85
    assert "type not supported" in refused[1] and "already known" in refused[3]
    assert local.chain.head.number == 1
    assert len(local.request("eth_getBlockReceipts", "0x1")) == 80  # type: ignore[arg-type]


def test_threads_get_their_own_answers(local: Local) -> None:
    failures: list[object] = []

    def work(key: str) -> None:
        for nonce in range(25):
            name = local.chain.submit(raw(nonce, key))
            if queries.find_transaction(local.chain.store, name) is None:
                failures.append((key, nonce))

    threads = [threading.Thread(target=work, args=(key,)) for key in KEYS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert replay(local.chain).transactions == 25 * len(KEYS)


def test_more_than_a_block_holds_fills_the_next_ones(local: Local) -> None:
    small = Local(open_chain(None, make_genesis(gas_limit=1_000_000)))
    answers = small.chain.submit_many([raw(nonce, gas=200_000) for nonce in range(200)])
    assert all(isinstance(it, bytes) for it in answers)
    assert small.chain.count_nonce(SENDER) == 200
    assert small.chain.head.number >= 5 and len(small.chain.pool) == 0
    fees = [small.chain.store.find_header(n).base_fee for n in range(4)]  # type: ignore[union-attr]
    assert fees[3] > fees[1], "full blocks raise the base fee"
    replay(small.chain)


def test_a_free_chain_stays_free(local: Local) -> None:
    free = Local(open_chain(None, make_genesis(gas_limit=1_000_000, is_free=True)))
    zero = {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0}
    answers = free.chain.submit_many([raw(nonce, **zero) for nonce in range(60)])
    assert all(isinstance(it, bytes) for it in answers), answers
    assert free.chain.compute_next_base_fee() == 0
    assert free.request("eth_getBalance", ADDRESSES[0]) == hex(10**22 - 60)


def test_a_transaction_that_breaks_the_engine_leaves_alone(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = raw(0, KEYS[1])
    from kumiai.adapters.evm.chain import pyevm

    true_run = pyevm._run

    def run(state: object, it: object) -> object:
        if it.raw == broken:  # type: ignore[attr-defined]
            raise EngineError(it, "RecursionError")  # type: ignore[arg-type]
        return true_run(state, it)  # type: ignore[arg-type]

    monkeypatch.setattr(pyevm, "_run", run)
    answers = local.chain.submit_many([raw(0), broken, raw(1)])
    assert isinstance(answers[1], RpcError) and answers[1].code == -32603
    assert isinstance(answers[0], bytes) and isinstance(answers[2], bytes)
    assert local.chain.head.number == 1 and len(local.chain.pool) == 0
    assert PyEvm.name == "py-evm"


def test_calls_within_calls_and_nested_bytes_do_not_end_the_process(local: Local) -> None:
    assert sys.getrecursionlimit() < 20_000, "a nested JSON text could overrun the C stack"
    itself = "0x385f5f39385f5ff05f5f5f5f5f305af100"  # creates itself, and calls itself
    assert local.request("eth_call", {"data": itself, "from": ADDRESSES[0]}) == "0x"
    nested = b""
    while len(nested) < 100_000:
        size = len(nested).to_bytes(3, "big")
        nested = (b"\xfa" + size if len(nested) > 55 else bytes([0xC0 + len(nested)])) + nested
    for data in (nested, b"\x02" + nested):
        with pytest.raises(RpcError, match="rlp") as caught:
            local.chain.submit(data)
        assert caught.value.code == -32602


@pytest.mark.parametrize("kind", [3, 4])
def test_blobs_and_delegations_are_refused_by_name(local: Local, kind: int) -> None:
    with pytest.raises(RpcError, match=f"transaction type not supported.*not {kind}"):
        local.chain.submit(bytes([kind]) + b"\xc0")


def test_unprotected_and_malleable_signatures_are_refused(local: Local) -> None:
    import rlp

    fields = [b"", b"\x01", b"\x52\x08", b"\xa1" * 20, b"", b"", b"\x1b", b"\x01", b"\x01"]
    with pytest.raises(RpcError, match="replay-protected"):
        local.chain.submit(rlp.encode(fields))
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    good = rlp.decode(raw(0)[1:])
    twin = [*good[:-3], b"" if good[-3] else b"\x01", good[-2]]
    flipped = (order - int.from_bytes(good[-1], "big")).to_bytes(32, "big").lstrip(b"\0")
    with pytest.raises(RpcError, match="invalid transaction v, r, s"):
        local.chain.submit(b"\x02" + rlp.encode([*twin, flipped]))
