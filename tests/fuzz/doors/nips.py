"""Events of strangers as the market's codecs read them, and what hides in encrypted ones.

Seeds are canonical JSON, so that they can be changed as documents; relays send any form.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from tests.fuzz.doors import Door

from kumiai.base import events
from kumiai.base.events import Event, check_event
from kumiai.base.keys import derive_key
from kumiai.market.nips import (
    bud,
    heartbeat,
    nip01,
    nip09,
    nip13,
    nip40,
    nip42,
    nip44,
    nip47,
    nip57,
    nip59,
    nip65,
    nip89,
    nip90,
    nip94,
)
from kumiai.market.nips.drafts import Draft, sign_draft
from kumiai.market.nips.nip47.methods import METHODS
from kumiai.market.nips.urls import normalise_server_url

CUSTOMER, PROVIDER, ONCE = (derive_key(b"fuzz nips", name) for name in "cpo")
NOW = 1_800_000_000
HASH, KEY, NONCE = "ab" * 32, bytes(32), bytes(32)
SERVER, RELAY = "http://127.0.0.1:24242", "wss://relay.example"

Decode = Callable[[Event], Any]
# Encoding what was read gives an event that is read alike.
BOTH_WAYS: tuple[tuple[Decode, Callable[[Any], Draft]], ...] = (
    (nip09.decode_deletion, nip09.encode_deletion),
    (nip65.decode_relay_list, nip65.encode_relay_list),
    (nip89.decode_handler, nip89.encode_handler),
    (nip89.decode_recommendation, nip89.encode_recommendation),
    (heartbeat.decode_heartbeat, heartbeat.encode_heartbeat),
    (nip94.decode_file, nip94.encode_file),
    (nip90.decode_request, nip90.encode_request),
    (nip90.decode_result, nip90.encode_result),
    (nip90.decode_feedback, nip90.encode_feedback),
)


def decrypt(payload: str) -> str:
    return nip44.decrypt_with(KEY, payload)


def encrypt(text: str) -> str:
    return nip44.encrypt_with(KEY, text, NONCE)


def tell(draft: Draft) -> Event:
    return Event(HASH, HASH, NOW, draft.kind, draft.tags, draft.content, "")


def knock_event(data: bytes) -> None:
    try:
        event = nip01.decode_event(data)
    except ValueError:
        return
    flaw = check_event(event)
    assert flaw is None or isinstance(flaw, str)
    for decode, encode in BOTH_WAYS:
        try:
            found = decode(event)
        except ValueError:
            continue
        if not getattr(found, "is_encrypted", False):
            again = decode(tell(encode(found)))
            if isinstance(found, nip65.RelayList):
                assert set(again.read) == set(found.read)
                assert set(again.write) == set(found.write)
            else:
                assert again == found, (found, again)
    ask_the_rest(event)


def ask_the_rest(event: Event) -> None:
    for read in (
        lambda: nip90.decode_request(event, decrypt),
        lambda: nip90.decode_result(event, decrypt),
        lambda: nip90.decode_feedback(event, decrypt),
        lambda: nip13.get_work(event),
        lambda: nip40.is_expired(event.tags, NOW),
        lambda: bud.decode_servers(event),
        lambda: nip47.decode_info(event),
        lambda: nip57.read_claim(event, event.pubkey),
        lambda: nip59.open_gift(CUSTOMER, event),
    ):
        try:
            read()
        except ValueError:
            continue
    for reason in (
        nip42.check_auth(event, "abc", RELAY, NOW),
        bud.check_auth(event, bud.Verb.GET, NOW, SERVER, HASH),
    ):
        assert reason is None or isinstance(reason, str)
    assert nip09.has_withdrawn(event, event) in {True, False}


def knock_wallet(data: bytes) -> None:
    """The decrypted half of wallet messages: a document that knows the key."""
    try:
        text = data.decode()
        content = nip44.encrypt(CUSTOMER, PROVIDER.pubkey, text, NONCE)
    except ValueError:
        return
    tags = (("p", PROVIDER.pubkey), ("encryption", "nip44_v2"))
    asked = Event(HASH, CUSTOMER.pubkey, NOW, nip47.REQUEST_KIND, tags, content, "")
    with contextlib.suppress(nip47.RequestRefusedError):
        nip47.decode_request(PROVIDER, asked, NOW)
    for method in METHODS:
        question = nip44.encrypt(PROVIDER, CUSTOMER.pubkey, f'{{"method":"{method}"}}', NONCE)
        sent = Event(HASH, PROVIDER.pubkey, NOW, nip47.REQUEST_KIND, (), question, "")
        answer = Event(
            HASH, CUSTOMER.pubkey, NOW, nip47.RESPONSE_KIND, (*tags, ("e", HASH)), content, ""
        )
        try:
            nip47.decode_response(PROVIDER, CUSTOMER.pubkey, sent, answer)
        except ValueError:
            continue
    told = Event(HASH, CUSTOMER.pubkey, NOW, nip47.NOTIFICATION_KIND, tags, content, "")
    try:
        nip47.decode_notification(PROVIDER, CUSTOMER.pubkey, told)
    except ValueError:
        return


def knock_hidden(data: bytes) -> None:
    """What hides in an encrypted request and in a seal."""
    try:
        text = data.decode()
        content = encrypt(text)
    except ValueError:
        return
    event = Event(HASH, HASH, NOW, 5_600, (("encrypted",),), content, "")
    with contextlib.suppress(ValueError):
        nip90.decode_request(event, decrypt)
    sealed = nip01.sign_text(
        PROVIDER, 13, NOW, nip44.encrypt(PROVIDER, CUSTOMER.pubkey, text, NONCE)
    )
    try:
        rumor = nip59.open_gift(CUSTOMER, nip59.wrap(ONCE, CUSTOMER.pubkey, sealed, NOW, NONCE))
    except ValueError:
        return
    assert rumor.pubkey == PROVIDER.pubkey


def knock_text(data: bytes) -> None:
    """URIs, headers and payloads that people paste or servers are sent."""
    text = data.decode(errors="replace")
    for read in (
        bud.parse_uri,
        nip47.parse_uri,
        bud.decode_header,
        decrypt,
        normalise_server_url,
        nip01.decode_event,
    ):
        try:
            found = read(text)
        except ValueError:
            continue
        if isinstance(found, bud.BlobUri):
            assert bud.parse_uri(bud.encode_uri(found)) == found


def make_drafts() -> list[Draft]:
    request = nip90.JobRequest(
        5_600,
        (nip90.JobInput(f"blossom:{HASH}.bin", nip90.InputType.URL, "", "shard"),),
        (nip90.Param("epochs", ("1",)),),
        "text/plain",
        21_000,
        (RELAY,),
        (PROVIDER.pubkey,),
        ("training",),
        NOW + 60,
    )
    signed = sign_draft(CUSTOMER, nip90.encode_request(request), NOW)
    result = nip90.JobResult(
        6_600, signed.id, CUSTOMER.pubkey, "done", signed, RELAY, request.inputs, 5, "lnbcrt1"
    )
    feedback = nip90.JobFeedback(
        nip90.Status.PAYMENT_REQUIRED, signed.id, CUSTOMER.pubkey, "pay first", "", "", 5, "lnbc1"
    )
    rumor = nip59.make_rumor(PROVIDER.pubkey, Draft(14, (("p", CUSTOMER.pubkey),), "key"), NOW)
    sealed = nip59.seal(PROVIDER, CUSTOMER.pubkey, rumor, NOW, NONCE)
    gift = nip59.wrap(ONCE, CUSTOMER.pubkey, sealed, NOW, NONCE)
    hidden = nip90.JobRequest(5_600, request.inputs, request.params, is_encrypted=True)
    zap = sign_draft(CUSTOMER, Draft(9_734, (("p", HASH), ("amount", "1"))), NOW)
    claim = (("p", HASH), ("bolt11", "lnbc1"), ("description", nip01.encode_event(zap).decode()))
    return [
        nip90.encode_request(request),
        nip90.encode_result(result),
        nip90.encode_feedback(feedback),
        nip90.encode_request(hidden, encrypt),
        nip09.encode_deletion(nip09.Deletion((HASH,), (5_600,), (f"31990:{HASH}:x",))),
        nip42.make_auth("abc", RELAY),
        nip47.encode_info(nip47.Info(("pay_invoice",), ("payment_sent",))),
        nip65.encode_relay_list(nip65.RelayList((RELAY,), (RELAY, "ws://a.b"))),
        nip89.encode_handler(nip89.Handler("gpu", (5_600,), {"name": "x"}, (("t", "a"),))),
        nip89.encode_recommendation(
            nip89.Recommendation(5_600, (nip89.Recommended(HASH, "gpu", RELAY, "web"),))
        ),
        heartbeat.encode_heartbeat(heartbeat.Heartbeat("gpu", NOW + 300, "ok")),
        nip94.encode_file(nip94.FileMetadata("https://a.b/c", "image/png", HASH, HASH, 7)),
        bud.encode_servers((SERVER,)),
        bud.make_auth(bud.Verb.GET, NOW + 60, "Get", (HASH,), (SERVER,)),
        Draft(9_735, claim),
        Draft(gift.kind, gift.tags, gift.content),
    ]


def make_wallet_documents() -> list[bytes]:
    transaction = {
        "type": "incoming", "state": "accepted", "invoice": "lnbcrt1", "payment_hash": HASH,
        "amount": 5, "fees_paid": 0, "created_at": NOW, "preimage": HASH, "settle_deadline": 7,
    }  # fmt: skip
    documents: list[Any] = [
        {"method": "pay_invoice", "params": {"invoice": "lnbcrt1", "amount": 5}},
        {"method": "make_hold_invoice", "params": {"amount": 5, "payment_hash": HASH}},
        {"method": "list_transactions", "params": {"from": 1, "type": "incoming"}},
        {"result_type": "lookup_invoice", "error": None, "result": transaction},
        {"result_type": "list_transactions", "result": {"transactions": [transaction]}},
        {"result_type": "get_info", "result": {"methods": ["pay_invoice"], "block_height": 1}},
        {"result_type": "pay_invoice", "error": {"code": "OTHER", "message": "no"}},
        {"notification_type": "hold_invoice_accepted", "notification": transaction},
    ]
    return [json.dumps(each, sort_keys=True, separators=(",", ":")).encode() for each in documents]


def make_hidden() -> tuple[bytes, ...]:
    tags = [["i", "x", "text"], ["param", "lr", "1", "2"]]
    rumor = nip59.make_rumor(PROVIDER.pubkey, Draft(14, (("p", HASH),), "key"), NOW)
    document = {name: getattr(rumor, name) for name in nip59.Rumor.__slots__}
    return tuple(
        json.dumps(each, sort_keys=True, separators=(",", ":")).encode()
        for each in (tags, document)
    )


SIGNED = [sign_draft(CUSTOMER, draft, NOW) for draft in make_drafts()]
EVENT = Door("nips", tuple(events.encode_event(event) for event in SIGNED), knock_event)
WALLET = Door("nip47", tuple(make_wallet_documents()), knock_wallet)
HIDDEN = Door("hidden", make_hidden(), knock_hidden)
TEXT = Door(
    "uris",
    (
        f"blossom:{HASH}.bin?xs=a.b&xs={SERVER}&as={HASH}&sz=5".encode(),
        nip47.encode_uri(nip47.Connection(HASH, (RELAY,), CUSTOMER, "me@a.b")).encode(),
        bud.encode_header(SIGNED[-3]).encode(),
        encrypt("text").encode(),
        SERVER.encode(),
    ),
    knock_text,
)
DOORS = (EVENT, WALLET, HIDDEN, TEXT)
