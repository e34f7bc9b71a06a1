"""What strangers could do to a provider, as a reading found it: each failed before its mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.market.hostile import STRANGER, begin, find_letters, make_attacked, speak
from tests.market.small_world import Member, World, make_market, make_terms

from kumiai.adapters.nostr.outbox import is_public
from kumiai.adapters.nostr.relays import RELAYS_MAX, normalize_url
from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.customer import Cancel
from kumiai.market.drafts import draft_cancel, draft_job, draft_judgement, draft_offer
from kumiai.market.judging_terms import JudgementLine
from kumiai.market.kinds import Kind, Policy, Ruling
from kumiai.market.letters import Letter
from kumiai.market.nips.nip01 import sign_text
from kumiai.market.params import ParamError
from kumiai.market.provider import Start
from kumiai.market.provider.state import Stage, Standing
from kumiai.market.reading import read_message
from kumiai.market.terms import OfferTerms, find_blob

NOW = 1_000_000
POSTER = derive_key(b"provider doors", "poster")


def make_job(relays: Sequence[str]) -> Event:
    draft = draft_job(make_terms(), NOW + 1_000, relays)
    return sign_text(POSTER, int(draft.kind), NOW, "", draft.tags)


def hold_back(member: Member, *kinds: type) -> list[fx.Effect]:
    """Let a member's effects of these sorts wait in a list."""
    kept: list[fx.Effect] = []

    def twist(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, kinds):
            kept.append(effect)
            return None
        return effect

    member.twist = twist
    return kept


def offer_for(relays: Sequence[str]) -> fx.Publish:
    """What a provider says to a job that asks for answers there."""
    _, _, (provider, *_) = make_market(providers=1)
    provider.take(Start())
    job = make_job(relays)
    provider.take(fx.Heard(Letter(job)))
    (offer,) = [e for key, e in provider.state.pending.items() if key == f"publish/offer/{job.id}"]
    assert isinstance(offer, fx.Publish)
    return offer


ADDRESSES = st.sampled_from(
    ["", "not a relay", "http://a.example", "wss://a.example:443/", "WSS://A.Example", "ws://[::1",
     "wss://" + "a" * 300, "wss://u@b.example", "wss://b.example:0", "wss://c.example/x?y#z"]
)  # fmt: skip


@given(st.lists(ADDRESSES | st.text(max_size=30).filter(str.isprintable), max_size=20))
def test_where_a_job_asks_for_answers_is_an_address_or_left_out(relays: list[str]) -> None:
    """One job with a relay that is none ended every provider that offered, at each start."""
    offer = offer_for(relays)
    assert len(offer.relays) <= RELAYS_MAX // 2
    assert len({normalize_url(url) for url in offer.relays}) == len(offer.relays)


def test_a_job_sends_nobody_into_its_own_network() -> None:
    inside = ["ws://127.0.0.1:22", "ws://10.0.0.1", "ws://localhost.", "ws://nas.local.", "ws://x"]
    offer = offer_for([*inside, "wss://relay.example/", "wss://8.8.8.8"])
    assert offer.relays == ("wss://relay.example", "wss://8.8.8.8")
    assert not any(map(is_public, inside))


def start(policy: Policy = Policy.HOLD, **changes: Any) -> tuple[World, Member, Member]:
    world, customer, providers = make_attacked(policy, providers=3, **changes)
    return world, customer, providers[0]


@pytest.mark.parametrize("end", ["cancel", "failure", "silence"])
def test_what_a_contract_that_is_over_needed_is_fetched_no_further(end: str) -> None:
    """Contract, cancel, again: each left a download of gigabytes that nothing bounded."""
    world, customer, provider = start()
    kept = hold_back(provider, fx.Fetch)
    begin(world, customer, [*world.members.values()][1:])
    world.pass_time(15)
    assert {effect.key.split("/")[1] for effect in kept} == {"task", "shard"}
    if end == "cancel":
        customer.take(Cancel())
    elif end == "failure":
        provider.take(fx.Failed(kept[0].key, "not-there", "no server has it"))
    else:
        customer.twist = lambda _m, _e: None
        world.pass_time(4_000, 100)
    world.run()
    assert {c.standing for c in provider.state.contracts.values()} == {Standing.ENDED}
    left = [key for key in provider.state.pending if key.startswith(("fetch/", "unseal/"))]
    assert not left


def test_a_round_request_can_be_withdrawn_by_itself() -> None:
    """The page says so; it was worked on all the same, for nothing."""
    world, customer, provider = start()
    hold_back(provider, fx.Train)
    begin(world, customer, [*world.members.values()][1:])
    world.pass_time(15)
    (work,) = provider.state.works.values()
    withdrawn = draft_cancel([(work.key, Kind.ROUND_REQUEST)])
    event = sign_text(STRANGER, int(Kind.CANCEL), world.now_s, "", withdrawn.tags)
    provider.take(fx.Heard(Letter(event)))
    assert provider.state.works[work.key].stage is Stage.TRAINING
    speak(world, customer.key, withdrawn)
    assert provider.state.works[work.key].stage is Stage.FAILED
    assert not [key for key in provider.state.pending if key.endswith(work.key)]
    (contract,) = provider.state.contracts.values()
    assert contract.standing is Standing.ACTIVE


def test_what_was_delivered_cannot_be_withdrawn() -> None:
    world, customer, provider = start(Policy.INVOICE, rounds=1)
    customer.twist = lambda _m, e: None if isinstance(e, fx.Judge) else e
    begin(world, customer, [*world.members.values()][1:])
    world.pass_time(15)
    (work,) = provider.state.works.values()
    assert work.stage is Stage.DELIVERED
    speak(world, customer.key, draft_cancel([(work.key, Kind.ROUND_REQUEST)]))
    assert provider.state.works[work.key] == work


@pytest.mark.parametrize(
    "server",
    ["", "http://", "http://[", "http://a:99999", "http://a:b:c", "http://:80", "http://[1.2.3.4]",
     "ftp://a.example", "http://a b"],
)  # fmt: skip
def test_a_blob_lies_at_an_address_or_is_refused(server: str) -> None:
    """A contract, a request or a result that named port 99999 ended whoever fetched it."""
    uri = f"blossom:{'ab' * 32}.sealed?xs={server}&sz=5"
    with pytest.raises(ParamError, match="xs"):
        find_blob([("i", uri, "url", "", "shard")], "shard")


def test_what_is_for_everybody_is_not_hidden() -> None:
    """A judge that hides its lines shows the provider nothing that it could count."""
    world, customer, _ = start(rounds=1)
    begin(world, customer, [*world.members.values()][1:])
    world.pass_time(15)
    request = find_letters(world, Kind.ROUND_REQUEST)[0].event
    line = JudgementLine(STRANGER.pubkey, Ruling.ACCEPTED, "accepted", 5)
    terms = OfferTerms(5, Policy.HOLD, "02" + "ab" * 32, 5, "", NOW + 100)
    drafts = [
        draft_judgement(request, "ab" * 32, 1, 0, 5, 5, [line]),
        draft_offer(make_job([]), terms),
    ]
    for draft in drafts:
        shown = [tag for tag in draft.tags if tag[0] != "param"]
        hidden = tuple(tag for tag in draft.tags if tag[0] == "param")
        event = sign_text(STRANGER, int(draft.kind), NOW, "x", [*shown, ("encrypted",)])
        found = read_message(Letter(event, hidden), NOW)
        assert isinstance(found, Reject)
        assert "for everybody" in found.detail
