"""Our codecs and nostr-sdk, which shares no code with them, read each other's work both ways."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.adapters.nostr import library
from kumiai.base.events import check_event
from kumiai.base.keys import key_from_secret
from kumiai.market.nips import bud, nip01, nip13, nip40, nip42, nip44, nip47, nip59, nip65, nip90
from kumiai.market.nips.drafts import Draft, sign_draft

sdk = pytest.importorskip("nostr_sdk", reason="nostr-sdk is not installed (extra `market`)")

SECRETS = st.binary(min_size=32, max_size=32).filter(lambda x: 0 < int.from_bytes(x) < 1 << 255)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
ONE, OTHER, ONCE = (key_from_secret(bytes([number]) * 32) for number in (1, 2, 3))
NOW = 1_800_000_000
# Control characters that NIP-01 writes raw are refused here (base.events), so none are drawn.
SAFE = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\r\t\b\f"), max_size=60
)
TAGS = st.lists(st.lists(SAFE, min_size=1, max_size=4), max_size=5)


def their_keys(key):
    return sdk.Keys.parse(key.secret.hex())


@settings(max_examples=60)
@given(SECRETS, st.integers(0, 65_535), st.integers(0, 2**40), SAFE, TAGS)
def test_events_signed_here_are_true_there(secret, kind, created_at, text, tags):
    event = nip01.sign_text(key_from_secret(secret), kind, created_at, text, tags)
    theirs = sdk.Event.from_json(nip01.encode_event(event).decode())
    assert theirs.verify()
    assert theirs.id().to_hex() == event.id
    assert theirs.content() == text
    assert [tag.to_vec() for tag in theirs.tags()] == tags
    assert nip01.decode_event(theirs.as_json()) == event


@settings(max_examples=60)
@given(SECRETS, st.integers(0, 65_535), st.integers(0, 2**40), SAFE, TAGS)
def test_events_signed_there_are_true_here(secret, kind, created_at, text, tags):
    builder = sdk.EventBuilder(sdk.Kind(kind), text).tags([sdk.Tag.parse(tag) for tag in tags])
    builder = builder.custom_created_at(sdk.Timestamp.from_secs(created_at))
    theirs = builder.finalize(sdk.Keys.parse(secret.hex()))
    event = nip01.decode_event(theirs.as_json())
    assert check_event(event) is None
    assert (event.kind, event.content) == (kind, text)
    assert [list(tag) for tag in event.tags if tag] == [tag.to_vec() for tag in theirs.tags()]


@settings(max_examples=40)
@given(st.integers(0, 3), st.integers(0, 5), st.sampled_from(("a", "b")), st.integers(0, 3), TAGS)
def test_filters_pick_the_same_events(kind, created_at, value, since, tags):
    tags = [["t", value], *tags]
    event = nip01.sign_text(ONE, kind, created_at, "", tags)
    wanted = nip01.Filter(
        kinds=(1, 2), authors=(ONE.pubkey,), tags={"t": ("a",)}, since=since, until=4
    )
    theirs = sdk.Filter.from_json(json.dumps(nip01.encode_filter(wanted)))
    found = theirs.match_event(sdk.Event.from_json(nip01.encode_event(event).decode()))
    assert wanted.has(event) == found


@settings(max_examples=60)
@given(TEXTS.filter(bool), SECRETS, SECRETS, st.binary(min_size=32, max_size=32))
def test_nip44_both_ways(text, secret, secret_2, nonce):
    one, other = key_from_secret(secret), key_from_secret(secret_2)
    payload = nip44.encrypt(one, other.pubkey, text, nonce)
    keys = their_keys(other)
    public = sdk.PublicKey.parse(one.pubkey)
    assert sdk.nip44_decrypt(keys.secret_key(), public, payload) == text
    theirs = sdk.nip44_encrypt(keys.secret_key(), public, text, sdk.Nip44Version.V2)
    assert nip44.decrypt(one, other.pubkey, theirs) == text


def test_a_gift_from_here_is_opened_there():
    rumor = nip59.make_rumor(ONE.pubkey, Draft(14, (("p", OTHER.pubkey),), "a key"), NOW)
    sealed = nip59.seal(ONE, OTHER.pubkey, rumor, NOW - 5, os.urandom(32))
    wrapped = nip59.wrap(ONCE, OTHER.pubkey, sealed, NOW - 9, os.urandom(32))
    theirs = sdk.Event.from_json(nip01.encode_event(wrapped).decode())
    found = sdk.UnwrappedGift.from_gift_wrap(their_keys(OTHER), theirs)
    assert found.sender().to_hex() == ONE.pubkey
    assert found.rumor().id().to_hex() == rumor.id
    assert found.rumor().content() == "a key"


def test_a_gift_from_there_is_opened_here():
    builder = sdk.EventBuilder(sdk.Kind(14), "a key").tags([sdk.Tag.parse(["p", OTHER.pubkey])])
    keys = their_keys(ONE)
    rumor = builder.finalize_unsigned(keys.public_key())
    theirs = sdk.nip59_make_gift_wrap(keys, sdk.PublicKey.parse(OTHER.pubkey), rumor)
    found = nip59.open_gift(OTHER, nip01.decode_event(theirs.as_json()))
    assert (found.pubkey, found.kind, found.content) == (ONE.pubkey, 14, "a key")
    assert found.id == rumor.ensure_id().id().to_hex()


def test_work_that_was_done_there_counts_here():
    builder = sdk.EventBuilder(sdk.Kind(5_600), "job")
    unsigned = builder.finalize_unsigned(their_keys(ONE).public_key())
    mined = unsigned.mine(sdk.SingleThreadPow(), 8).sign(their_keys(ONE))
    event = nip01.decode_event(mined.as_json())
    assert check_event(event) is None
    assert nip13.get_work(event) == 8


def test_expirations_mean_the_same():
    for at_s, is_past in ((1, True), (2**33, False)):
        event = sign_draft(ONE, Draft(1, (nip40.make_expiration(at_s),)), NOW)
        theirs = sdk.Event.from_json(nip01.encode_event(event).decode())
        assert theirs.is_expired() == is_past == nip40.is_expired(event.tags, NOW)


@pytest.mark.parametrize("draft", [
    nip42.make_auth("abc", "wss://relay.example"),
    nip65.encode_relay_list(nip65.RelayList(("wss://a.b",), ("wss://c.d",))),
    nip90.encode_request(nip90.JobRequest(5_600, relays=("wss://a.b",), bid_msat=1)),
    bud.make_auth(bud.Verb.GET, NOW, "Get", ("ab" * 32,), ("https://a.b",)),
])  # fmt: skip
def test_their_parser_takes_our_tags(draft):
    theirs = sdk.Event.from_json(nip01.encode_event(sign_draft(ONE, draft, NOW)).decode())
    assert theirs.verify()
    assert [tuple(tag.to_vec()) for tag in theirs.tags()] == list(draft.tags)


def test_wallet_uris_are_read_alike():
    connection = nip47.Connection(OTHER.pubkey, ("wss://relay.example",), ONE, "me@a.b")
    theirs = sdk.NostrWalletConnectUri.parse(nip47.encode_uri(connection))
    assert theirs.public_key().to_hex() == OTHER.pubkey
    assert theirs.secret().to_hex() == ONE.secret.hex()
    assert [str(url) for url in theirs.relays()] == ["wss://relay.example"]
    assert theirs.lud16() == "me@a.b"
    assert nip47.parse_uri(str(theirs)) == connection


HASH = "ab" * 32
BOOKED = nip47.Transaction(
    HASH, 21_000, nip47.Direction.INCOMING, nip47.State.SETTLED, "lnbcrt1", "words", "", HASH, 3,
    NOW, NOW + 60, NOW + 5,
)  # fmt: skip
ANSWERS = {
    nip47.GetBalance: ("get_balance", nip47.WalletBalance(123_000)),
    nip47.MakeInvoice: ("make_invoice", BOOKED),
    nip47.LookupInvoice: ("lookup_invoice", BOOKED),
    nip47.PayInvoice: ("pay_invoice", nip47.Paid(HASH, 7)),
    nip47.PayKeysend: ("pay_keysend", nip47.Fault(nip47.ErrorCode.INSUFFICIENT_BALANCE, "poor")),
    nip47.ListTransactions: ("list_transactions", nip47.Transactions((BOOKED, BOOKED))),
    nip47.GetInfo: ("get_info", nip47.NodeInfo(("pay_invoice", "make_hold_invoice"), (), "mine")),
}


async def serve_wallet(url, asked, is_heard):
    """A wallet of our codecs on a bare socket; it fills `asked` and says when it listens."""
    import websockets

    info = nip47.encode_info(nip47.Info(tuple(name for name, _ in ANSWERS.values())))
    async with websockets.connect(url) as socket:
        wanted = nip01.Filter(kinds=(nip47.REQUEST_KIND,), tags={"p": (OTHER.pubkey,)})
        await socket.send(json.dumps(["REQ", "all", nip01.encode_filter(wanted)]))

        async def publish(draft, at):
            event = sign_draft(OTHER, draft, at)
            await socket.send(json.dumps(["EVENT", nip01.to_mapping(event)]))

        await publish(info, NOW)
        async for message in socket:
            parts = json.loads(message)
            if parts[0] == "EOSE":
                is_heard.set()
            if parts[0] != "EVENT":
                continue
            event = nip01.read_event(parts[2])
            assert check_event(event) is None
            request = nip47.decode_request(OTHER, event, event.created_at)
            asked.append(request)
            method, outcome = ANSWERS[type(request)]
            draft = nip47.encode_response(OTHER, event, method, outcome, os.urandom(32))
            await publish(draft, event.created_at)


async def use_wallet():
    relay = sdk.LocalRelayBuilder().build()
    await relay.run()
    url, asked = str(await relay.url()), []
    is_heard = asyncio.Event()
    wallet = asyncio.create_task(serve_wallet(url, asked, is_heard))
    await asyncio.wait_for(is_heard.wait(), 120)  # what is asked before that is lost
    uri = nip47.encode_uri(nip47.Connection(OTHER.pubkey, (url,), ONE))
    builder = sdk.NostrWalletConnectBuilder(sdk.NostrWalletConnectUri.parse(uri))
    client = builder.timeout(timedelta(seconds=120)).build()
    try:
        assert (await client.get_balance()).balance == 123_000
        made = await client.make_invoice(
            sdk.MakeInvoiceRequest(
                amount=21_000, description="words", description_hash=None, expiry=60
            )
        )
        assert (made.invoice, made.payment_hash, made.amount) == ("lnbcrt1", HASH, 21_000)
        found = await client.lookup_invoice(
            sdk.LookupInvoiceRequest(payment_hash=HASH, invoice=None)
        )
        assert (found.preimage, found.fees_paid) == (HASH, 3)
        assert found.state == sdk.TransactionState.SETTLED
        assert found.transaction_type == sdk.TransactionType.INCOMING
        paid = await client.pay_invoice(
            sdk.PayInvoiceRequest(id=None, invoice="lnbcrt1", amount=None)
        )
        assert (paid.preimage, paid.fees_paid) == (HASH, 7)
        listed = await client.list_transactions(
            sdk.ListTransactionsRequest(
                _from=sdk.Timestamp.from_secs(5), until=None, limit=20, offset=None, unpaid=True,
                transaction_type=sdk.TransactionType.OUTGOING,
            )
        )  # fmt: skip
        assert [each.settled_at.as_secs() for each in listed] == [NOW + 5] * 2
        assert (await client.get_info()).alias == "mine"
        with pytest.raises(sdk.NostrSdkError, match="poor"):
            await client.pay_keysend(
                sdk.PayKeysendRequest(
                    id=None, amount=5, pubkey="02" + HASH, preimage=None, tlv_records=[]
                )
            )
    finally:
        wallet.cancel()
        await client.client().shutdown()
        relay.shutdown()
    return asked


def test_their_wallet_client_talks_to_a_wallet_of_ours():
    assert asyncio.run(library._run(sdk, use_wallet())) == [
        nip47.GetBalance(),
        nip47.MakeInvoice(21_000, "words", "", 60),
        nip47.LookupInvoice(HASH),
        nip47.PayInvoice("lnbcrt1"),
        nip47.ListTransactions(5, None, 20, None, True, nip47.Direction.OUTGOING),
        nip47.GetInfo(),
        nip47.PayKeysend(5, "02" + HASH),
    ]
