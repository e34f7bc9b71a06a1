"""What Cashu tokens, locks and keys consist of: the documents' own vectors, and bad input."""

import base64
import hashlib
import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.adapters.payments.cashu import cbor, conditions, keysets, points, tokens
from kumiai.adapters.payments.cashu.wallet import LOCKED_COUNT_MAX
from kumiai.base.keys import derive_key
from kumiai.market import drafts
from kumiai.market.judging_terms import DisputeTerms
from kumiai.market.kinds import Code, Ruling
from kumiai.market.nips.nip01 import encode_event
from kumiai.market.terms import BlobRef, ResultTerms, RoundTerms
from kumiai.nodes.market.letterbox import sign_draft
from kumiai.nodes.market.ports import EcashLock

KEYS = tuple("02" + derive_key(b"test", str(at)).pubkey for at in range(4))
LOCK = EcashLock(KEYS[:3], 2, 1_800_000_000, KEYS[3])
HASHED = replace(LOCK, payment_hash="ab" * 32)
ALONE = EcashLock(KEYS[:1], 1, 1_800_000_000, KEYS[3])
PROOFS = tuple(
    tokens.Proof(1 << at, "01" + "ab" * 32, f"secret {at}", KEYS[at], tokens.Dleq(*["0f" * 32] * 3))
    for at in range(3)
)
TOKEN = tokens.Token("http://127.0.0.1:3338", "sat", PROOFS)


def test_hash_to_curve_is_that_of_nut_00() -> None:
    for secret, point in (
        ("\0" * 32, "024cce997d3b518f739663b757deaec95bcd9473c30a14ac2fd04023a739d1a725"),
        ("\0" * 31 + "\1", "022e7158e11c9506f1aa4248bf531298daa7febd6194f003edcd9b93ade6253acf"),
        ("\0" * 31 + "\2", "026cdbe15362df59cd1dd3c9c11de8aedac2106eca69236ecd9fbe117af897be4f"),
    ):
        assert points.hash_to_curve(secret) == point


def test_blinding_is_that_of_nut_00() -> None:
    """The mint's key is 1: C_ = B_, and C = Y whatever the factor was."""
    generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    factor = "99fce58439fc37412ab3468b73db0569322588f62fb3a49182d67e23d877824a"
    blinded = points.blind("test_message", factor)
    assert blinded != points.hash_to_curve("test_message")
    assert points.unblind(blinded, factor, generator) == points.hash_to_curve("test_message")


def test_dleq_is_that_of_nut_12() -> None:
    generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    blinded = "02a9acc1e48c25eeeb9289b5031cc57da9fe72f3fe2861d264bdc074209b107ba2"
    e = "9818e061ee51d5c8edc3342369a554998ff7b4381c8652d724cdf46429be73d9"
    s = "9818e061ee51d5c8edc3342369a554998ff7b4381c8652d724cdf46429be73da"
    assert points.is_dleq(blinded, blinded, generator, e, s)
    other = points.hash_to_curve("other")
    for arguments in (
        (other, blinded, generator, e, s),
        (blinded, other, generator, e, s),
        (blinded, blinded, other, e, s),
        (blinded, blinded, generator, s, s),
        (blinded, blinded, generator, e, e),
        (blinded, blinded, generator, "00" * 32, s),
        (blinded, blinded, generator, "ff" * 32, s),
        (blinded, blinded, generator, "", ""),
    ):
        assert not points.is_dleq(*arguments)


@given(st.recursive(
    st.integers(0, 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=40) | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner,
                                                                 max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_cbor_reads_what_it_wrote(item: cbor.Item) -> None:
    if measure_depth(item) <= cbor.DEPTH_MAX:
        assert cbor.decode(cbor.encode(item)) == item


def measure_depth(item: cbor.Item) -> int:
    if isinstance(item, dict):
        return 1 + max((measure_depth(it) for it in item.values()), default=0)
    return 1 + max((measure_depth(it) for it in item), default=0) if isinstance(item, list) else 0


@given(st.binary(max_size=200))
def test_cbor_refuses_with_one_error(data: bytes) -> None:
    try:
        item = cbor.decode(data)
    except ValueError:
        return
    assert cbor.decode(cbor.encode(item)) == item


def test_cbor_refuses_what_tokens_do_not_have() -> None:
    for text in (
        "",  # nothing
        "20",  # -1
        "c001",  # a tag
        "f4",  # false
        "fb3ff0000000000000",  # 1.0
        "5f4100ff",  # indefinite
        "9fff",
        "bf6161 01ff".replace(" ", ""),
        "1c",  # reserved
        "0000",  # two items
        "a1 01 01".replace(" ", ""),  # a key that is no text
        "a2 6161 01 6161 02".replace(" ", ""),  # a key twice
        "9b ffffffffffffffff".replace(" ", ""),  # longer than the input
        "5b ffffffffffffffff".replace(" ", ""),
        "62c328",  # not UTF-8
        "81" * 40 + "00",  # too deep
    ):
        with pytest.raises(ValueError, match=r"."):
            cbor.decode(bytes.fromhex(text))
    for item in (-1, 2**64, True):
        with pytest.raises(ValueError, match=r"."):
            cbor.encode(item)


def test_a_token_reads_back_with_short_keyset_ids() -> None:
    text = tokens.encode_token(TOKEN)
    assert text.startswith("cashuB")
    short = tuple(replace(proof, keyset=proof.keyset[:16]) for proof in PROOFS)
    assert tokens.decode_token(text) == replace(TOKEN, proofs=short)
    assert tokens.decode_token(text + "==") == tokens.decode_token(text)


def test_a_version_three_token_is_read() -> None:
    document = {
        "token": [{"mint": TOKEN.mint, "proofs": [proof.to_dict() for proof in PROOFS]}],
        "unit": "sat",
        "memo": "hello",
    }
    text = "cashuA" + base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
    found = tokens.decode_token(text)
    assert found.amount == 7 and found.mint == TOKEN.mint
    assert [proof.secret for proof in found.proofs] == [proof.secret for proof in PROOFS]


@given(st.data())
def test_an_altered_token_is_refused_or_read(data: st.DataObject) -> None:
    text = tokens.encode_token(TOKEN)
    at = data.draw(st.integers(0, len(text) - 1))
    altered = text[:at] + data.draw(st.text(max_size=3)) + text[at + 1 :]
    with suppress(ValueError):
        tokens.decode_token(altered)


def test_token_fields_out_of_range_are_refused() -> None:
    def encode(**changes: object) -> str:
        proof: dict[str, object] = {"a": 1, "s": "x", "c": bytes.fromhex(KEYS[0])} | changes
        group: list[cbor.Item] = [{"i": bytes(8), "p": [proof]}]  # type: ignore[dict-item]
        raw = cbor.encode({"m": "http://m", "u": "sat", "t": group})
        return "cashuB" + base64.urlsafe_b64encode(raw).decode()

    assert tokens.decode_token(encode()).amount == 1
    for changes in (
        {"a": 0},
        {"a": 2**53},
        {"a": "1"},
        {"s": ""},
        {"s": "x" * 1_025},
        {"s": "a\0b"},
        {"c": bytes(32)},
        {"c": "02"},
        {"d": {"e": bytes(32)}},
        {"d": [1]},
    ):
        with pytest.raises(ValueError, match="not a Cashu token"):
            tokens.decode_token(encode(**changes))
    for text in (
        "cashuC" + encode()[6:],
        tokens.encode_token(replace(TOKEN, proofs=())),
        tokens.encode_token(replace(TOKEN, proofs=PROOFS * 2)),
        tokens.encode_token(replace(TOKEN, proofs=tuple(
            replace(PROOFS[0], secret=str(at)) for at in range(65)))),
        "cashuB" + "A" * tokens.TOKEN_CHARS_MAX,
        "cashuA" + base64.urlsafe_b64encode(b"[" * 40_000).decode(),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="token"):
            tokens.decode_token(text)


@pytest.mark.parametrize("lock", [LOCK, HASHED, ALONE, replace(ALONE, payment_hash="ab" * 32)])
def test_a_lock_reads_back(lock: EcashLock) -> None:
    secret = conditions.encode_secret(lock, "00" * 16)
    assert conditions.decode_secret(secret) == lock
    assert conditions.find_kind(secret) == ("HTLC" if lock.payment_hash else "P2PK")
    spaced = json.dumps(json.loads(secret), indent=1)
    assert conditions.decode_secret(spaced) == lock


def test_a_nonce_says_what_it_is_for() -> None:
    nonces = {conditions.make_nonce("ab" * 32) for _ in range(100)}
    nonces |= {conditions.make_nonce() for _ in range(100)}
    assert len(nonces) == 200 and {len(nonce) for nonce in nonces} == {32}
    nonce = conditions.make_nonce("ab" * 32)
    bound = hashlib.sha256((nonce[:8] + "ab" * 32).encode()).hexdigest()
    assert nonce == nonce[:8] + bound[:24]  # as docs/nip-training.md, section 6, says it
    secret = conditions.encode_secret(LOCK, nonce)
    assert conditions.is_about(secret, "ab" * 32)
    for other in ("ab" * 31 + "ac", ""):
        assert not conditions.is_about(secret, other)
    longer = json.loads(secret)
    for wrong in (nonce + "0", nonce[:-1], "", nonce.upper() + "g", None, 7, "\ud800" + nonce):
        longer[1]["nonce"] = wrong
        assert not conditions.is_about(json.dumps(longer), "ab" * 32)
    for text in ("", "ab" * 32, "[" * 100_000, "[]", '["P2PK", 1]'):
        assert not conditions.is_about(text, "ab" * 32)


def test_plain_secrets_are_no_locks() -> None:
    for secret in ("ab" * 32, "P2PK", '{"nonce": 1}'):
        assert conditions.decode_secret(secret) is None
        assert conditions.find_kind(secret) is None


def test_locks_that_mints_may_read_differently_are_refused() -> None:
    kind, payload = json.loads(conditions.encode_secret(LOCK, "00" * 16))
    tags = payload["tags"]

    def change(name: str, *values: str) -> list[list[str]]:
        return [tag for tag in tags if tag[0] != name] + [[name, *values]]

    documents: list[object] = [
        [kind],
        [kind, payload, 1],
        ["P2SH", payload],
        [kind, payload | {"more": "1"}],
        [kind, {"data": payload["data"], "tags": tags}],
        [kind, payload | {"tags": []}],  # no refund, no locktime
        [kind, payload | {"data": payload["data"].upper()}],
        [kind, payload | {"data": "02" + "ff" * 32}],
    ]
    changes = [
        [tag for tag in tags if tag[0] != "refund"],  # after the locktime: anybody's
        [tag for tag in tags if tag[0] != "locktime"],
        change("refund", KEYS[3], KEYS[2]),
        change("refund"),
        [*tags, ["refund", KEYS[0]]],
        [*tags, ["locktime", "1"]],
        change("locktime", "01"),
        change("locktime", "-1"),
        change("locktime", "1.5"),
        change("locktime", "٣"),
        change("n_sigs", "0"),
        change("n_sigs", "4"),
        change("sigflag", "SIG_ALL"),
        change("sigflag", "NONE"),
        change("n_sigs_refund", "2"),
        change("pubkeys", KEYS[1], KEYS[1]),
        change("pubkeys", payload["data"]),
        change("pubkeys", "03" + payload["data"][2:]),
        [*tags, ["unknown", "1"]],
        [*tags, []],
        [*tags, "text"],
    ]
    documents += [[kind, payload | {"tags": changed}] for changed in changes]
    for document in documents:
        with pytest.raises(ValueError, match=r"."):
            conditions.decode_secret(json.dumps(document, ensure_ascii=False))
    twice = conditions.encode_secret(LOCK, "00").replace('"nonce":', f'"data":"{KEYS[1]}","nonce":')
    for text in (twice, "[", "[" * 900, '["P2PK"', "[" + "1" * 1_100 + "]"):
        with pytest.raises(ValueError, match=r"."):
            conditions.decode_secret(text)
    hashed = json.loads(conditions.encode_secret(HASHED, "00"))
    with pytest.raises(ValueError, match="hash"):
        conditions.decode_secret(json.dumps([hashed[0], hashed[1] | {"data": "AB" * 32}]))


def make_keyset(input_fee_ppk: int = 100) -> keysets.Keyset:
    keys = {1 << at: points.hash_to_curve(str(at)) for at in range(20)}
    keyset = keysets.Keyset("", "sat", True, input_fee_ppk, None, keys)
    return replace(keyset, id=keysets._compute_id_v1(keyset))


def test_a_keysets_id_covers_what_it_says() -> None:
    keyset = make_keyset()
    keysets.check_keyset(keyset)
    keysets.check_keyset(replace(keyset, id=keysets._compute_id_v0(keyset)))
    swapped = dict(keyset.keys) | {1: keyset.keys[2], 2: keyset.keys[1]}
    for changes in (
        {"keys": swapped},
        {"keys": {}},
        {"keys": dict(keyset.keys) | {3: keyset.keys[1]}},
        {"unit": "usd"},
        {"input_fee_ppk": 0},
        {"input_fee_ppk": -1},
        {"input_fee_ppk": 10**9},
        {"final_expiry_s": 1},
        {"id": keyset.id[:16]},
    ):
        with pytest.raises(ValueError, match=r"."):
            keysets.check_keyset(replace(keyset, **changes))


@given(st.integers(1, 400_000), st.sampled_from([0, 1, 99, 100, 500, 1_000, 2_500]))
def test_few_pieces_are_worth_hardly_more_than_the_amount(amount: int, input_fee_ppk: int) -> None:
    keyset = make_keyset(input_fee_ppk)
    parts = keysets.split_with_fee(amount, keyset, LOCKED_COUNT_MAX)
    worth = sum(parts) - keysets.compute_fee([input_fee_ppk] * len(parts))
    assert len(parts) <= LOCKED_COUNT_MAX and worth >= amount
    exact = sum(keysets.split_with_fee(amount, keyset))
    assert (sum(parts) - exact) * 63 <= exact
    for less in range(amount, sum(parts)):  # nothing cheaper would do
        count = less.bit_count()
        fee = keysets.compute_fee([input_fee_ppk] * count)
        assert count > LOCKED_COUNT_MAX or less - fee < amount


@given(st.integers(1, 400_000), st.sampled_from([0, 1, 99, 100, 500, 1_000, 2_500]))
def test_pieces_are_worth_the_amount_after_their_fee(amount: int, input_fee_ppk: int) -> None:
    keyset = make_keyset(input_fee_ppk)
    parts = keysets.split_with_fee(amount, keyset)
    worth = sum(parts) - keysets.compute_fee([input_fee_ppk] * len(parts))
    assert worth >= amount
    for less in range(amount, sum(parts)):  # nothing cheaper would do
        pieces = bin(less).count("1")
        assert less - keysets.compute_fee([input_fee_ppk] * pieces) < amount
    with pytest.raises(ValueError, match="no keys"):
        keysets.split_with_fee(2**20, keyset)


def test_the_longest_locked_token_fits_every_event_that_carries_it() -> None:
    """Request, result (with the request in it) and dispute, also where many servers are named."""
    customer, provider, juror = (derive_key(b"test", name) for name in ("c", "p", "j"))
    proofs = tuple(
        tokens.Proof(
            1 << at, "01" + "ab" * 32, conditions.encode_secret(LOCK, f"{at:032x}"), KEYS[0],
            tokens.Dleq(*["0f" * 32] * 3),
        )
        for at in range(LOCKED_COUNT_MAX)
    )  # fmt: skip
    mint = "https://mint.of-a-name-of-some-length.example.org/Bitcoin"
    token = tokens.encode_token(tokens.Token(mint, "sat", proofs))
    it, at_s = "ab" * 32, 1_800_000_000
    servers = tuple(f"https://blobs-of-number-{at}.example.org" for at in range(8))
    blob = BlobRef(it, 2**40, servers)
    asked = RoundTerms(99, 9, blob, 2**62, at_s, 10**9, token=token, customer_ecash=KEYS[1],
                       locktime_s=at_s)  # fmt: skip
    draft = drafts.draft_round(it, it, provider.pubkey, asked, at_s)
    request = sign_draft(customer, draft, at_s, bytes)
    done = ResultTerms(blob, it, 10**9, 10**9, 2**53 - 1, 10**9, it)
    result = sign_draft(
        provider, drafts.draft_result(request, it, it, 99, done, 10**9), at_s, bytes
    )
    verdict = drafts.draft_verdict(
        it, it, result.id, 99, provider.pubkey, Ruling.REJECTED, Code.WORSE_THAN_PEERS,
        gain_ppm=-(10**6), update=it, model=it,
    )  # fmt: skip
    text = encode_event(sign_draft(customer, verdict, at_s, bytes)).decode()
    disputed = DisputeTerms(blob, it, blob, 9, it, token, text)
    dispute = drafts.draft_dispute(it, it, it, 99, juror.pubkey, disputed)
    sign_draft(provider, dispute, at_s, bytes)  # ValueError for what is too big
