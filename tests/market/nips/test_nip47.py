"""NIP-47: every method there and back, and what a wallet or client must not believe."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.events import Event
from kumiai.base.keys import derive_key
from kumiai.market.nips import nip44, nip47
from kumiai.market.nips.drafts import Draft, sign_draft
from kumiai.market.nips.nip47.fields import read_value, write_value
from kumiai.market.nips.nip47.methods import METHODS

CLIENT, WALLET, STRANGER = (derive_key(b"nip47", name) for name in "cws")
NOW = 1_800_000_000
HASH, NONCE = "ab" * 32, bytes(range(32))
TRANSACTION = nip47.Transaction(
    payment_hash=HASH,
    amount_msat=21_000,
    direction=nip47.Direction.INCOMING,
    state=nip47.State.ACCEPTED,
    invoice="lnbcrt210n1",
    description="round 3",
    created_at_s=NOW,
    expires_at_s=NOW + 60,
    settle_deadline=850_100,
)
REQUESTS = {
    "pay_invoice": nip47.PayInvoice("lnbcrt1", 5),
    "pay_keysend": nip47.PayKeysend(7, "02" + HASH, HASH, ((5_482_373_484, "0123ab"),)),
    "make_invoice": nip47.MakeInvoice(1, "words", "", 60),
    "make_hold_invoice": nip47.MakeHoldInvoice(1, HASH, "words", HASH, 60, 144),
    "settle_hold_invoice": nip47.SettleHoldInvoice(HASH),
    "cancel_hold_invoice": nip47.CancelHoldInvoice(HASH),
    "lookup_invoice": nip47.LookupInvoice(HASH),
    "list_transactions": nip47.ListTransactions(1, 2, 3, 0, False, nip47.Direction.OUTGOING),
    "get_balance": nip47.GetBalance(),
    "get_info": nip47.GetInfo(),
}
RESULTS = {
    nip47.Paid: nip47.Paid(HASH, 3),
    nip47.Transaction: TRANSACTION,
    nip47.Transactions: nip47.Transactions((TRANSACTION, TRANSACTION)),
    nip47.WalletBalance: nip47.WalletBalance(0),
    nip47.NodeInfo: nip47.NodeInfo(("get_info",), (), "mine", "#fff", "02" + HASH, "regtest", 7),
    nip47.Done: nip47.Done(),
}


def ask(request=REQUESTS["get_balance"], key=CLIENT, wallet=WALLET, **given_values):
    draft = nip47.encode_request(key, wallet.pubkey, request, NONCE, **given_values)
    return sign_draft(key, draft, NOW)


def answer(request_event, method, outcome, key=WALLET):
    draft = nip47.encode_response(key, request_event, method, outcome, NONCE)
    return sign_draft(key, draft, NOW)


def send(kind, document, key, peer, tags):
    """An event with any document inside."""
    content = nip44.encrypt(key, peer.pubkey, json.dumps(document), NONCE)
    return sign_draft(key, Draft(kind, tuple(tags), content), NOW)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_asked_and_answered(method):
    asked = ask(REQUESTS[method], expires_at_s=NOW + 10)
    assert nip47.decode_request(WALLET, asked, NOW) == REQUESTS[method]
    result = RESULTS[METHODS[method][1]]
    given_back = answer(asked, method, result)
    assert nip47.decode_response(CLIENT, WALLET.pubkey, asked, given_back) == result
    assert method not in asked.content


@pytest.mark.parametrize("code", nip47.ErrorCode)
def test_every_error_code(code):
    asked = ask()
    fault = nip47.Fault(code, "words")
    found = nip47.decode_response(CLIENT, WALLET.pubkey, asked, answer(asked, "get_balance", fault))
    assert found == fault


@pytest.mark.parametrize("state", nip47.State)
def test_every_state(state):
    document = {"payment_hash": HASH, "amount": 1, "state": state.value}
    assert read_value(nip47.Transaction, document).state == state


def test_nulls_count_as_absent_and_unknown_fields_are_ignored():
    document = {"payment_hash": HASH, "amount": 1, "preimage": None, "metadata": {"a": [1.5]}}
    assert read_value(nip47.Transaction, document) == nip47.Transaction(HASH, 1)


def respond(document, asked, key=WALLET, request_id=None, receiver=CLIENT):
    tags = (("p", receiver.pubkey), ("e", request_id or asked.id))
    return send(nip47.RESPONSE_KIND, document, key, receiver, tags)


OK = {"result_type": "get_balance", "error": None, "result": {"balance": 5}}


@pytest.mark.parametrize(
    ("event", "match"),
    [
        (lambda asked: respond(OK, asked, key=STRANGER), "the wallet is"),
        (lambda asked: respond(OK, asked, request_id="00" * 32), "another request"),
        (lambda asked: respond(OK, asked, receiver=STRANGER), "somebody else"),
        (lambda asked: respond({**OK, "result_type": "pay_invoice"}, asked), "it answers"),
        (lambda asked: respond({"result": {"balance": 5}}, asked), "it answers"),
        (lambda asked: respond({**OK, "result": {"balance": "5"}}, asked), "whole number"),
        (lambda asked: respond({**OK, "result": {"balance": 5.0}}, asked), "whole number"),
        (lambda asked: respond({**OK, "result": {"balance": True}}, asked), "whole number"),
        (lambda asked: respond({**OK, "result": {"balance": -5}}, asked), "whole number"),
        (lambda asked: respond({**OK, "result": None}, asked), "missing"),
        (lambda asked: respond({**OK, "error": "no"}, asked), "error"),
        (lambda asked: respond([OK], asked), "JSON object"),
    ],
)
def test_answers_that_are_not_to_be_believed(event, match):
    asked = ask()
    with pytest.raises(ValueError, match=match):
        nip47.decode_response(CLIENT, WALLET.pubkey, asked, event(asked))


def test_an_unknown_error_code_is_other():
    asked = ask()
    document = {**OK, "error": {"code": "BROKE", "message": "no money"}}
    found = nip47.decode_response(CLIENT, WALLET.pubkey, asked, respond(document, asked))
    assert found == nip47.Fault(nip47.ErrorCode.OTHER, "BROKE: no money")


def request(document, tags=(("p", WALLET.pubkey), ("encryption", "nip44_v2"))):
    return send(nip47.REQUEST_KIND, document, CLIENT, WALLET, tags)


def test_a_wallet_refuses_with_the_code_of_the_document():
    for event, code in (
        (request({"method": "multi_pay_invoice", "params": {}}), "NOT_IMPLEMENTED"),
        (request({"method": ["pay_invoice"]}), "NOT_IMPLEMENTED"),
        (request({}), "NOT_IMPLEMENTED"),
        (request({"method": "pay_invoice", "params": {}}), "OTHER"),
        (request({"method": "lookup_invoice", "params": {}}), "OTHER"),
        (request({"method": "make_invoice", "params": {"amount": 1.5}}), "OTHER"),
        (request({"method": "get_info"}, (("p", WALLET.pubkey),)), "UNSUPPORTED_ENCRYPTION"),
        (
            request({"method": "get_info"}, (("p", WALLET.pubkey), ("encryption", "nip04"))),
            "UNSUPPORTED_ENCRYPTION",
        ),
    ):
        with pytest.raises(nip47.RequestRefusedError) as caught:
            nip47.decode_request(WALLET, event, NOW)
        assert caught.value.code == code


def test_nip04_is_refused_by_name():
    tags = (("p", WALLET.pubkey), ("encryption", "nip44_v2"))
    event = sign_draft(CLIENT, Draft(nip47.REQUEST_KIND, tags, "AAAA?iv=BBBB"), NOW)
    with pytest.raises(nip47.RequestRefusedError, match="NIP-04"):
        nip47.decode_request(WALLET, event, NOW)
    old = sign_draft(WALLET, Draft(23_196, (("p", CLIENT.pubkey),), "x"), NOW)
    with pytest.raises(ValueError, match="NIP-04"):
        nip47.decode_notification(CLIENT, WALLET.pubkey, old)
    info = sign_draft(WALLET, Draft(nip47.INFO_KIND, (), "pay_invoice get_info"), NOW)
    assert nip47.decode_info(info).encryptions == ("nip04",)
    assert "NIP-04" in nip47.decode_info(info).find_flaw()


def test_requests_for_others_and_late_ones_get_no_answer():
    with pytest.raises(ValueError, match="somebody else"):
        nip47.decode_request(STRANGER, ask(), NOW)
    late = ask(expires_at_s=NOW)
    with pytest.raises(ValueError, match="expired"):
        nip47.decode_request(WALLET, late, NOW)
    with pytest.raises(ValueError, match="kind"):
        nip47.decode_request(WALLET, answer(ask(), "get_info", nip47.Done()), NOW)


def test_info_there_and_back():
    info = nip47.Info(tuple(METHODS), ("payment_received",), ("nip44_v2", "nip04"))
    event = sign_draft(WALLET, nip47.encode_info(info), NOW)
    assert nip47.decode_info(event) == info
    assert info.find_flaw() is None


@pytest.mark.parametrize("kind", ["payment_received", "payment_sent", "hold_invoice_accepted"])
def test_notifications_there_and_back(kind):
    told = nip47.Notification(kind, TRANSACTION)
    event = sign_draft(WALLET, nip47.encode_notification(WALLET, CLIENT.pubkey, told, NONCE), NOW)
    assert nip47.decode_notification(CLIENT, WALLET.pubkey, event) == told
    with pytest.raises(ValueError, match="the wallet is"):
        nip47.decode_notification(CLIENT, STRANGER.pubkey, event)


def test_unknown_notifications_are_refused():
    told = nip47.Notification("you_are_rich", TRANSACTION)
    event = sign_draft(WALLET, nip47.encode_notification(WALLET, CLIENT.pubkey, told, NONCE), NOW)
    with pytest.raises(ValueError, match="unknown notification"):
        nip47.decode_notification(CLIENT, WALLET.pubkey, event)


def test_the_uri_of_the_document():
    wallet = "b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4"
    secret = "71a8c14c1407c113601079c4302dab36460f0ccd0ad506f1f2dc73b5100e4f3c"
    text = f"nostr+walletconnect://{wallet}?relay=wss%3A%2F%2Frelay.damus.io&secret={secret}"
    found = nip47.parse_uri(text)
    assert (found.wallet, found.relays) == (wallet, ("wss://relay.damus.io",))
    assert found.key.secret.hex() == secret
    assert secret not in repr(found)
    assert nip47.encode_uri(found) == text


@given(
    st.lists(st.sampled_from(("wss://a.b", "ws://127.0.0.1:1")), min_size=1, unique=True),
    st.sampled_from(("", "me@wallet.example")),
)
def test_uris_there_and_back(relays, lud16):
    connection = nip47.Connection(WALLET.pubkey, tuple(relays), CLIENT, lud16)
    assert nip47.parse_uri(nip47.encode_uri(connection)) == connection


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://wallet.example",
        f"nostr+walletconnect://{WALLET.pubkey}",
        f"nostr+walletconnect://{WALLET.pubkey}?relay=wss://a.b",
        f"nostr+walletconnect://{WALLET.pubkey}?secret={'11' * 32}",
        f"nostr+walletconnect://{WALLET.pubkey}?relay=https://a.b&secret={'11' * 32}",
        f"nostr+walletconnect://{WALLET.pubkey}?relay=wss://a.b&secret={'00' * 32}",
        f"nostr+walletconnect://{WALLET.pubkey}?relay=wss://a.b&secret={'11' * 32}&secret=x",
        f"nostr+walletconnect://{WALLET.pubkey[:-1]}?relay=wss://a.b&secret={'11' * 32}",
        f"nostr+walletconnect://{WALLET.pubkey}?" + "relay=wss://a.b&" * 100,
    ],
)
def test_bad_uris_are_refused_without_telling_the_secret(text):
    with pytest.raises(ValueError, match=r".") as caught:
        nip47.parse_uri(text)
    assert "11" * 32 not in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(("amount", "preimage", "payment_hash", "state", "type", "methods")),
                inner,
                max_size=4,
            )
        ),
    ),
    st.sampled_from([shape for pair in METHODS.values() for shape in pair]),
)
def test_any_document_is_read_or_a_value_error(document, shape):
    try:
        found = read_value(shape, document)
    except ValueError:
        return
    assert read_value(shape, write_value(found)) == found


@pytest.mark.parametrize("shape", [nip47.MakeInvoice, nip47.Transaction])
def test_half_a_character_is_no_text(shape):
    """JSON can spell what has no form in UTF-8: whoever writes it down or prints it fails."""
    with pytest.raises(ValueError, match="description"):
        read_value(shape, {"amount": 5, "payment_hash": HASH, "description": "\ud800"})


def test_a_fault_is_told_in_words_that_can_be_written():
    request = ask()
    document = {"result_type": "get_balance", "error": {"code": "OTHER", "message": "no \ud800"}}
    content = nip44.encrypt(WALLET, CLIENT.pubkey, json.dumps(document), NONCE)
    tags = (("p", CLIENT.pubkey), ("e", request.id))
    event = sign_draft(WALLET, Draft(nip47.RESPONSE_KIND, tags, content), NOW)
    assert nip47.decode_response(CLIENT, WALLET.pubkey, request, event).message == "no ?"


def test_garbage_instead_of_events():
    for content in ("", "x", "AAAA" * 50):
        tags = (("p", WALLET.pubkey), ("encryption", "nip44_v2"))
        event = Event("00" * 32, CLIENT.pubkey, NOW, nip47.REQUEST_KIND, tags, content, "")
        with pytest.raises(nip47.RequestRefusedError):
            nip47.decode_request(WALLET, event, NOW)
