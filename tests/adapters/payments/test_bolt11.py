"""BOLT11: the specification's own examples, and everything a peer might send instead."""

import secrets

import bolt11 as library
import pytest
from bech32 import bech32_decode, bech32_encode
from coincurve import PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adapters.payments.wallet_contract import alter_amount

from kumiai.adapters.payments import bolt11
from kumiai.base.errors import InputError

SECRET = bytes.fromhex("e126f68f7eafcc8b74f54d269fe206be715000f94dac067d1c04a8ca3b2db734")
NODE = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"
HASH = "0001020304050607080900010203040506070809000102030405060708090102"
# BOLT 11, "Examples": "Please send $3 for a cup of coffee to the same peer, within one minute"
COFFEE = (
    "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqf"
    "qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx8"
    "5fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh"
)
# "Please make a donation of any amount": without an amount
DONATION = (
    "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyq"
    "cyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfj"
    "kxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r"
    "2t7mlcwspyetp5h2tztugp9lfyql"
)


def make(amount_msat: int = 5_000, expiry_s: int = 60, description: str = "x") -> str:
    return bolt11.sign(SECRET, HASH, "11" * 32, amount_msat, 1_800_000_000, expiry_s, description)


def test_example_of_the_specification() -> None:
    read = bolt11.decode(COFFEE)
    assert read.amount_msat == 250_000_000 and read.payment_hash == HASH
    assert read.payee == NODE and read.description == "1 cup coffee"
    assert (read.created_at_s, read.expires_at_s) == (1_496_314_658, 1_496_314_658 + 60)
    assert bolt11.get_network(COFFEE) == "bc"
    assert bolt11.decode(COFFEE.upper()) == read
    assert PrivateKey(SECRET).public_key.format().hex() == NODE


def test_what_is_not_whole_is_refused() -> None:
    whole = make()
    texts = {
        "no amount": DONATION,
        "mixed case": COFFEE[:30] + COFFEE[30:].upper(),
        "changed letter": COFFEE[:-20] + ("q" if COFFEE[-20] != "q" else "p") + COFFEE[-19:],
        "cut": whole[:-8],
        "only a head": "lnbcrt50n1",
        "empty": "",
        "too long": "lnbcrt50n1" + "q" * bolt11.INVOICE_CHARS_MAX,
        "no letters of bech32": "lnbcrt50n1" + "é" * 200,
        "tenth of a msat": reencode(whole, "lnbcrt1p"),
        "more than there is": reencode(whole, "lnbcrt21000001"),
        "other chain": reencode(whole, "lnxx50n"),
        "no signature": reencode(whole, "lnbcrt50n", keep=50),
        "zero": reencode(whole, "lnbcrt0n"),
    }
    taken = []
    for name, text in texts.items():
        try:
            bolt11.decode(text)
            taken.append(name)
        except InputError:
            continue
    assert taken == []


def test_long_text_is_refused_unread() -> None:
    with pytest.raises(InputError, match="at most 2048 are read"):
        bolt11.decode("lnbcrt50n1" + "q" * 2_048)


def test_amounts_that_the_library_writes_wrongly_are_refused() -> None:
    """bolt11 2.2.0 writes 1,000 BTC as "1": a thousandth of it."""
    assert bolt11.decode(make(10**14 - 1)).amount_msat == 10**14 - 1
    for btc in (1_000, 2_625_000):
        with pytest.raises(InputError):
            make(btc * 10**11)


def test_altered_amount_has_another_payee() -> None:
    whole = make()
    altered = bolt11.decode(alter_amount(whole))
    assert altered.amount_msat == 2 * bolt11.decode(whole).amount_msat
    assert altered.payee != bolt11.decode(whole).payee


def test_what_we_sign_satisfies_the_library_and_bolt_9() -> None:
    read = library.decode(make(), strict=True)
    assert read.features is not None
    assert read.features.readable == {"var_onion_optin": "required", "payment_secret": "required"}
    assert read.is_regtest() and read.min_final_cltv_expiry == 18


@pytest.mark.parametrize(
    "terms",
    [
        {"amount_msat": 0},
        {"amount_msat": -1},
        {"amount_msat": bolt11.SIGNED_MSAT_MAX + 1},
        {"expiry_s": 0},
        {"expiry_s": bolt11.EXPIRY_S_MAX + 1},
        {"description": "x" * 640},
        {"description": "\ud800"},
    ],
)
def test_terms_that_no_invoice_can_have(terms: dict[str, object]) -> None:
    with pytest.raises(InputError):
        make(**terms)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, bolt11.SIGNED_MSAT_MAX),
    st.integers(1, bolt11.EXPIRY_S_MAX),
    st.text(st.characters(codec="utf-8"), max_size=150),
    st.integers(0, bolt11.TIME_S_MAX),
    st.sampled_from(bolt11.NETWORKS),
)
def test_whatever_we_sign_reads_back(
    amount_msat: int, expiry_s: int, description: str, at_s: int, network: str
) -> None:
    text = bolt11.sign(
        SECRET, HASH, secrets.token_hex(32), amount_msat, at_s, expiry_s, description, network
    )
    read = bolt11.decode(text)
    assert (read.amount_msat, read.description) == (amount_msat, description)
    assert (read.created_at_s, read.expires_at_s) == (at_s, at_s + expiry_s)
    assert (read.payee, bolt11.get_network(text)) == (NODE, network)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.integers(0, 280), st.integers(0, 31))
def test_nothing_but_an_input_error_comes_of_garbage(text: str, at: int, letter: int) -> None:
    whole = make()
    head, data = bech32_decode(whole)
    data[at % len(data)] = letter  # with a checksum that fits
    for candidate in (text, f"lnbcrt50n1{text}", bech32_encode(head, data)):
        try:
            read = bolt11.decode(candidate)
        except InputError:
            continue
        assert len(read.payment_hash) == 64 and len(read.payee) == 66


def reencode(text: str, head: str, keep: int | None = None) -> str:
    _, data = bech32_decode(text)
    return str(bech32_encode(head, data[:keep]))
