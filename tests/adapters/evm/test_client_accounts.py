"""Signing, keystores and typed bindings, held against eth-account, eth-abi and the contract."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from kumiai.adapters.evm import abi, generate, typed_data
from kumiai.adapters.evm.accounts import (
    Account,
    Transaction,
    compact_signature,
    compute_contract_address,
    encode_checksum,
    parse_address,
    recover_signer,
)
from kumiai.adapters.evm.advice import ADVICE
from kumiai.adapters.evm.bindings.iarena import calls, errors, events, structs
from kumiai.adapters.evm.bindings.ierc20 import calls as ierc20
from kumiai.adapters.evm.errors import LyingNodeError, RevertedError
from kumiai.adapters.evm.fees import GWEI, FeePolicy, Offer, make_offer, raise_offer
from kumiai.adapters.evm.keystore import create_keystore, import_secret, load_keystore
from kumiai.base.errors import InputError
from kumiai.base.keys import compute_address, key_from_secret

SECRET = bytes(range(1, 33))
ACCOUNT = Account(SECRET)
ADDRESS = "0x" + "5a" * 20
addresses = st.binary(min_size=20, max_size=20).map(lambda b: "0x" + b.hex())
WORD = st.binary(min_size=32, max_size=32)


def uint(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


@given(
    st.integers(1, 2**63), uint(64), uint(100), uint(80), uint(30), st.none() | addresses,
    uint(256), st.binary(max_size=300),
)  # fmt: skip
def test_transactions_are_those_of_eth_account(
    chain: int, nonce: int, fee: int, tip: int, gas: int, to: str | None, value: int, data: bytes
) -> None:
    ours = ACCOUNT.sign_transaction(Transaction(chain, nonce, fee, tip, gas, to, value, data))
    fields: dict[str, Any] = {
        "type": 2, "chainId": chain, "nonce": nonce, "maxFeePerGas": fee, "value": value,
        "maxPriorityFeePerGas": tip, "gas": gas, "data": data,
    }  # fmt: skip
    if to is not None:
        fields["to"] = encode_checksum(to)
    theirs = EthAccount.sign_transaction(fields, SECRET)
    assert ours.raw == bytes(theirs.raw_transaction)
    assert ours.hash == "0x" + bytes(theirs.hash).hex()


def test_addresses() -> None:
    assert ACCOUNT.address == EthAccount.from_key(SECRET).address.lower()
    assert ACCOUNT.address == compute_address(key_from_secret(SECRET))
    assert encode_checksum(ACCOUNT.address) == EthAccount.from_key(SECRET).address
    mixed = encode_checksum(ACCOUNT.address)
    assert parse_address("a", mixed) == parse_address("a", mixed.lower()) == ACCOUNT.address
    flipped = mixed[:-1] + mixed[-1].swapcase()
    wrong = flipped if flipped != mixed else mixed[:2] + mixed[2:].swapcase()
    for bad in (
        wrong,
        mixed[:-1],
        mixed[2:],
        "0x" + "g" * 40,
        "",
        "0x" + " " * 40,
        "0x" + "1 " * 20,
    ):
        with pytest.raises(InputError, match=r"address|checksum"):
            parse_address("payee", bad)
    # From the documentation of CREATE: keccak(rlp(sender, nonce))
    creator = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"
    assert compute_contract_address(creator, 0) == "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
    assert compute_contract_address(creator, 1) == "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"
    assert str(SECRET.hex()) not in repr(ACCOUNT)


@given(WORD)
def test_signatures_in_both_forms(digest: bytes) -> None:
    long, short = ACCOUNT.sign_digest(digest), ACCOUNT.sign_digest_compact(digest)
    assert (len(long), len(short)) == (65, 64)
    assert recover_signer(digest, long) == recover_signer(digest, short) == ACCOUNT.address
    assert compact_signature(long) == short
    theirs = EthAccount.unsafe_sign_hash(digest, SECRET)
    assert bytes(theirs.signature) == long
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s = order - int.from_bytes(long[32:64], "big")
    twin = long[:32] + s.to_bytes(32, "big") + bytes([55 - long[64]])
    assert recover_signer(digest, twin) is None  # the other form of the same signature


@given(WORD, st.binary(max_size=70))
def test_any_bytes_as_signature(digest: bytes, signature: bytes) -> None:
    assert recover_signer(digest, signature) != ACCOUNT.address


VALUES: dict[str, Any] = {
    "bytes32": WORD, "uint8": uint(8), "uint32": uint(32), "uint40": uint(40),
    "uint128": uint(128), "bool": st.booleans(), "address": addresses, "string": st.text(),
}  # fmt: skip


@pytest.mark.parametrize("struct", [typed_data.CERTIFICATE, typed_data.VERDICT, typed_data.ORDER,
                                    typed_data.ADMISSION, typed_data.ENROLMENT],
                         ids=lambda s: s.name)  # fmt: skip
@given(data=st.data())
def test_digests_are_those_of_eth_account(struct: typed_data.TypedStruct, data: Any) -> None:
    values = {name: data.draw(VALUES[kind]) for name, kind in struct.fields}
    domain = typed_data.Domain(31337, ADDRESS)
    message = encode_typed_data(
        full_message={
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                struct.name: [{"name": n, "type": k} for n, k in struct.fields],
            },
            "primaryType": struct.name,
            "domain": {"name": "Kumiai Arena", "version": "1", "chainId": 31337,
                       "verifyingContract": ADDRESS},
            "message": values,
        }
    )  # fmt: skip
    digest = typed_data.compute_digest(domain, struct, values)
    theirs = EthAccount.sign_message(message, SECRET)
    assert ACCOUNT.sign_digest(digest) == bytes(theirs.signature)


def test_a_field_that_does_not_fit_is_misuse() -> None:
    domain = typed_data.Domain(1, ADDRESS)
    good = {"task": b"1" * 32, "slashes": b"2" * 32}
    for bad in ({"task": b"1" * 32}, {**good, "more": 1}, {**good, "task": b"1" * 31}):
        with pytest.raises(ValueError, match="Verdict"):
            typed_data.compute_digest(domain, typed_data.VERDICT, bad)


def test_keystores(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "mine.json"
    account = create_keystore(path, "correct horse", work_factor=4096)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["mine.json"]
    assert load_keystore(path, "correct horse").address == account.address
    with pytest.raises(InputError, match="password is wrong"):
        load_keystore(path, "wrong horse")
    with pytest.raises(InputError, match="there already"):
        create_keystore(path, "correct horse", work_factor=4096)
    with pytest.raises(InputError, match="at least 8"):
        create_keystore(tmp_path / "short.json", "short", work_factor=4096)
    given_in = import_secret(tmp_path / "i.json", "0x" + SECRET.hex(), "password", work_factor=4096)
    assert given_in.address == ACCOUNT.address
    wallet = EthAccount.encrypt(SECRET, "password", kdf="pbkdf2", iterations=1_000)
    (tmp_path / "w.json").write_text(json.dumps(wallet))
    assert load_keystore(tmp_path / "w.json", "password").address == ACCOUNT.address
    for bad in ("", "00" * 32, SECRET.hex()[:-2], "z" * 64):
        with pytest.raises(InputError) as caught:
            import_secret(tmp_path / "bad.json", bad, "password", work_factor=4096)
        assert not bad or bad not in str(caught.value)


@pytest.mark.parametrize("change", [{"n": 2**40}, {"r": 2**30}, {"p": 10**6}, {"dklen": 10**9},
                                    {"n": "many"}, {"n": -1}, {"n": None}])  # fmt: skip
def test_a_hostile_keystore_costs_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "k.json"
    create_keystore(path, "correct horse", work_factor=4096)
    body = json.loads(path.read_text())
    body["crypto"]["kdfparams"].update(change)
    path.write_text(json.dumps(body))
    with pytest.raises(InputError, match="key derivation"):
        load_keystore(path, "correct horse")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 3}', '{"version": 3, "crypto": 1}',
                                  "[" * 60_000, '{"version": 1}', "x" * 70_000])  # fmt: skip
def test_what_is_no_keystore_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.json").write_text(text)
    with pytest.raises(InputError, match="version 3"):
        load_keystore(tmp_path / "k.json", "password")
    with pytest.raises(InputError, match="cannot be read"):
        load_keystore(tmp_path / "none.json", "password")


def test_a_keystore_that_holds_another_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    create_keystore(path, "correct horse", work_factor=4096)
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "address": "11" * 20}))
    with pytest.raises(InputError, match="but holds"):
        load_keystore(path, "correct horse")


def test_the_bindings_are_those_of_the_artifacts() -> None:
    folder = generate.ROOM / "bindings"
    wanted = generate.generate_all(generate.ROOM / "artifacts")
    there = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*.py")}
    assert there == wanted, "run `python -m kumiai.adapters.evm.generate`"


def test_structs_survive_encoding_and_decoding() -> None:
    terms = structs.Terms(b"d" * 32, ADDRESS, ADDRESS, 1, 2, 3, 4, 5, 6, 7, 8, 9, True, 1, 10, 11,
                          ("0x" + "11" * 20, "0x" + "22" * 20))  # fmt: skip
    call = calls.create_task(terms)
    pay = ierc20.transfer(ADDRESS, 7).data
    assert pay.hex() == "a9059cbb" + ADDRESS[2:].rjust(64, "0") + f"{7:064x}"
    returned = calls.get_terms(b"t" * 32)
    assert returned.decode(call.data[4:]) == terms
    with pytest.raises(LyingNodeError, match="getTerms"):
        returned.decode(b"\xff" * 64)
    with pytest.raises(ValueError, match="fund"):
        _ = calls.fund(b"t" * 32, 2**128).data
    root = calls.get_root(b"t" * 32, 1).decode(b"p" * 32 + (7).to_bytes(32) + (1).to_bytes(32))
    assert root == (b"p" * 32, 7, True)


def test_logs_become_events() -> None:
    data = (1).to_bytes(32) + (5).to_bytes(32)
    topics = (events.Staked.TOPIC, b"t" * 32, bytes(12) + b"m" * 20)
    log = abi.Log(ADDRESS, topics, data, 1, "0x", "0x", 0)
    staked = abi.decode_log(log, events.EVENTS)
    assert staked == events.Staked(b"t" * 32, "0x" + (b"m" * 20).hex(), 1, 5)
    assert abi.decode_log(abi.Log(ADDRESS, (), b"", 1, "0x", "0x", 0), events.EVENTS) is None
    for broken in (abi.Log(ADDRESS, topics[:2], data, 1, "0x", "0x", 0),
                   abi.Log(ADDRESS, topics, data[:40], 1, "0x", "0x", 0)):  # fmt: skip
        with pytest.raises(LyingNodeError):
            abi.decode_log(broken, events.EVENTS)


def test_refusals_become_sentences() -> None:
    def explain(data: bytes) -> RevertedError:
        advice = {"Overdrawn": "Fund the task."}
        return abi.explain_revert(RevertedError("reverted", data), errors.ERRORS, advice)

    amounts = (5).to_bytes(32) + (9).to_bytes(32)
    found = explain(errors.Overdrawn.SELECTOR + amounts)
    assert found.error == errors.Overdrawn(5, 9)
    assert str(found).endswith("Overdrawn(available = 5, asked = 9). Fund the task.")
    text = (
        bytes.fromhex("08c379a0") + (32).to_bytes(32) + (3).to_bytes(32) + b"abc".ljust(32, b"\0")
    )
    assert "refused: abc" in str(explain(text))
    assert "overflow" in str(explain(bytes.fromhex("4e487b71") + (0x11).to_bytes(32)))
    assert "0x12345678 (unknown)" in str(explain(bytes.fromhex("12345678")))
    for broken in (errors.Overdrawn.SELECTOR, text[:40], bytes.fromhex("08c379a0") + b"\xff" * 64):
        assert isinstance(explain(broken), RevertedError)


@given(uint(70), uint(70), uint(60), uint(60))
def test_offers_rise_by_an_eighth_and_never_above_the_cap(
    base: int, later: int, tip: int, tip_later: int
) -> None:
    policy = FeePolicy(cap=10**20, tip_max=10**17)
    offer = make_offer(policy, base, tip)
    if offer is None:
        assert base > policy.cap
        return
    while (raised := raise_offer(policy, offer, later, tip_later)) is not None:
        assert raised.max_fee * 8 >= offer.max_fee * 9 and raised.tip * 8 >= offer.tip * 9
        assert raised.tip <= raised.max_fee <= policy.cap
        offer = raised
    assert offer.max_fee * 9 > policy.cap * 8 - 8 or offer.tip * 9 > policy.cap * 8 - 8


def test_a_fee_policy_that_nodes_would_refuse() -> None:
    for wrong in ({"bump_ppm": 100_000}, {"tip_min": 2 * GWEI, "tip_max": GWEI}, {"cap": 1}):
        with pytest.raises(ValueError, match=r"replacement|tip_min"):
            FeePolicy(**wrong)
    assert make_offer(FeePolicy(cap=10 * GWEI), 9 * GWEI, GWEI) == Offer(10 * GWEI, GWEI)


def test_each_of_the_arenas_errors_has_its_advice() -> None:
    named = {kind.NAME for kind in errors.ERRORS.values()}
    assert named - ADVICE.keys() == set()
    assert all(text.endswith(".") for text in ADVICE.values())
