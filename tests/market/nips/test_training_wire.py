"""The training microstandard stays NIP-90: its events are read by the codecs of this folder."""

from __future__ import annotations

import json

import pytest

from kumiai.adapters.blobs import authorization
from kumiai.apps.market.directory import list_providers
from kumiai.base.keys import derive_key
from kumiai.market import drafts, terms
from kumiai.market.kinds import Kind, Policy, Status
from kumiai.market.nips import bud, heartbeat, nip09, nip44, nip89, nip90
from kumiai.market.provider import Leave, Provider, ProviderPolicy, Start
from kumiai.nodes.market.letterbox import sign_draft

CUSTOMER, PROVIDER = derive_key(b"wire", "c"), derive_key(b"wire", "p")
NOW, HASH, POINT = 1_800_000_000, "ab" * 32, "02" + "cd" * 32
SERVER = "http://127.0.0.1:24242"
BLOB = terms.BlobRef(HASH, 1_000, (SERVER, "https://b.example"))
JOB = terms.JobTerms(
    task=BLOB, recipe="mlp", algorithm="diloco", rounds=10, shards=5, samples=100,
    shard_bytes=1_000, model_bytes=1_000, update_bytes_max=2_000, input_shape=(28, 28),
    class_count=10, train_s=60, reveal_s=60, judge_s=60, bid_msat=21_000,
    payment=(Policy.HOLD, Policy.INVOICE), committee=(HASH,) * 50, quorum=34, jury=(HASH,),
)  # fmt: skip
OFFER = terms.OfferTerms(20_000, Policy.HOLD, POINT, 30, POINT, NOW + 60)
CONTRACT = terms.ContractTerms(0, BLOB, HASH, 20_000, Policy.HOLD, POINT, HASH)
ROUND = terms.RoundTerms(1, 0, BLOB, 7, NOW + 60, 20_000, HASH)
RESULT = terms.ResultTerms(BLOB, HASH, 100, 10, 1_000, -5)
RELAYS = ("wss://relay.example", "ws://127.0.0.1:7777")


def sign(key, draft):
    return sign_draft(key, draft, NOW, bytes)


def opener(key, peer):
    return lambda payload: nip44.decrypt(key, peer.pubkey, payload)


def get_names(params):
    return [param.name for param in params]


JOB_EVENT = sign(CUSTOMER, drafts.draft_job(JOB, NOW + 60, RELAYS))
OFFER_EVENT = sign(PROVIDER, drafts.draft_offer(JOB_EVENT, OFFER))
CONTRACT_EVENT = sign(
    CUSTOMER,
    drafts.draft_contract(JOB_EVENT.id, OFFER_EVENT.id, PROVIDER.pubkey, CONTRACT, NOW + 60),
)
ROUND_EVENT = sign(
    CUSTOMER,
    drafts.draft_round(JOB_EVENT.id, CONTRACT_EVENT.id, PROVIDER.pubkey, ROUND, NOW + 60),
)


def test_a_job_is_a_request():
    request = nip90.decode_request(JOB_EVENT)
    assert (request.bid_msat, request.relays, request.expires_at_s) == (21_000, RELAYS, NOW + 60)
    assert request.topics == ("training",)
    assert [tag for tag in JOB.list_tags() if tag[0] == "param"] == [
        ("param", param.name, *param.values) for param in request.params
    ]
    uri = bud.parse_uri(request.inputs[0].data)
    assert (uri.sha256, uri.servers, uri.size_bytes) == (HASH, BLOB.servers, 1_000)
    assert request.inputs[0].marker == "task"


def test_a_sealed_job_is_an_encrypted_request_without_a_provider():
    event = sign(CUSTOMER, drafts.draft_job(JOB, NOW + 60, RELAYS, job_key="07" * 32))
    closed = nip90.decode_request(event)
    assert (closed.is_encrypted, closed.params, closed.providers) == (True, (), ())
    opened = nip90.decode_request(event, lambda x: nip44.decrypt_with(bytes([7]) * 32, x))
    assert opened.params == nip90.decode_request(JOB_EVENT).params


@pytest.mark.parametrize("event", [CONTRACT_EVENT, ROUND_EVENT], ids=["contract", "round"])
def test_contracts_and_rounds_are_encrypted_requests_to_one_provider(event):
    request = nip90.decode_request(event, opener(PROVIDER, CUSTOMER))
    assert request.providers == (PROVIDER.pubkey,)
    assert "price_msat" in get_names(request.params)
    assert request.inputs[0].type is nip90.InputType.URL


def test_offers_and_results_are_results_of_their_requests():
    offer = nip90.decode_result(OFFER_EVENT)
    assert (offer.request, offer.amount_msat) == (JOB_EVENT, 20_000)
    draft = drafts.draft_result(
        ROUND_EVENT, JOB_EVENT.id, CONTRACT_EVENT.id, 1, RESULT, 20_000, "lnbcrt200n1abc"
    )
    result = nip90.decode_result(sign(PROVIDER, draft), opener(CUSTOMER, PROVIDER))
    assert (result.request, result.request_id) == (ROUND_EVENT, ROUND_EVENT.id)
    assert (result.amount_msat, result.bolt11) == (20_000, "lnbcrt200n1abc")
    assert [tuple(tag) for tag in json.loads(result.content)] == RESULT.list_tags()
    acceptance = sign(PROVIDER, drafts.draft_acceptance(CONTRACT_EVENT, JOB_EVENT.id))
    assert nip90.decode_result(acceptance).request == CONTRACT_EVENT


@pytest.mark.parametrize("status", Status)
def test_every_status_is_one_of_the_five(status):
    draft = drafts.draft_feedback(
        ROUND_EVENT.id, JOB_EVENT.id, CUSTOMER.pubkey, status, "a sentence", HASH
    )
    feedback = nip90.decode_feedback(sign(PROVIDER, draft), opener(CUSTOMER, PROVIDER))
    assert (feedback.status, feedback.info) == (status.value, "a sentence")
    assert feedback.request_id == ROUND_EVENT.id


def test_a_cancellation_is_a_deletion():
    event = sign(CUSTOMER, drafts.draft_cancel([(JOB_EVENT.id, Kind.JOB)], "no more budget"))
    assert nip09.decode_deletion(event).kinds == (5_600,)
    assert nip09.has_withdrawn(event, JOB_EVENT)
    assert not nip09.has_withdrawn(event, OFFER_EVENT)


def test_a_providers_announcement_and_heartbeat_are_read_as_such():
    policy = ProviderPolicy(
        PROVIDER.pubkey, HASH, "a name", 21_000, POINT, (Policy.HOLD,), recipes=("mlp",)
    )
    machine = Provider(policy)
    begun = machine.step(machine.begin(), NOW, Start())
    said = [e.draft for e in begun.effects]
    announcement, beat = (sign(PROVIDER, draft) for draft in said)
    handler = nip89.decode_handler(announcement)
    assert handler.kinds == (5_600,)
    assert (handler.content["name"], handler.content["price_msat"]) == ("a name", 21_000)
    alive = heartbeat.decode_heartbeat(beat)
    assert (alive.name, alive.expires_at_s, alive.status) == (handler.name, NOW + 600, "online")
    (listed,) = list_providers([announcement, beat], NOW + 1)
    assert (listed.is_alive, listed.price_msat, listed.payment) == (True, 21_000, ("hold",))
    (goodbye,) = machine.step(begun.state, NOW + 5, Leave()).effects
    gone = heartbeat.decode_heartbeat(sign(PROVIDER, goodbye.draft))
    assert (gone.name, gone.expires_at_s, gone.status) == (handler.name, NOW + 65, "offline")


def test_the_blob_servers_authorisations_are_those_of_bud_11():
    for verb in (bud.Verb.UPLOAD, bud.Verb.GET, bud.Verb.DELETE):
        header = authorization.sign_authorization(
            CUSTOMER, verb, NOW, hashes=[HASH], servers=[SERVER]
        )
        event = bud.decode_header(header)
        assert bud.check_auth(event, verb, NOW, SERVER, HASH, needs_scope=True) is None
        draft = bud.make_auth(verb, NOW + 60, "words", (HASH,), (SERVER,))
        ours = bud.encode_header(sign_bud(draft))
        found = authorization.read_authorization(ours, verb, NOW, SERVER, 3_600)
        assert (found.pubkey, found.hashes) == (CUSTOMER.pubkey, (HASH,))


def sign_bud(draft):
    from kumiai.market.nips.drafts import sign_draft as sign_plain

    return sign_plain(CUSTOMER, draft, NOW)
