"""A provider that leaves, or is switched off, says so; what it offered before binds it no more."""

from __future__ import annotations

import pytest
from tests.market.hostile import STRANGER, find_letters, make_attacked
from tests.market.small_world import Member, World, make_terms

from kumiai.market import effects as fx
from kumiai.market.customer import Begin
from kumiai.market.drafts import draft_job
from kumiai.market.kinds import HEARTBEAT_LIFE_S, HEARTBEAT_S, Kind, Policy, Status
from kumiai.market.letters import Letter
from kumiai.market.nips.nip01 import get_value, sign_text
from kumiai.market.provider import Leave, Pause, Start
from kumiai.market.provider.announcing import GOODBYE_LIFE_S, is_said
from kumiai.market.provider.state import Standing

REASON = "we have left the market since we offered"


def start() -> tuple[World, Member, Member]:
    world, customer, (provider,) = make_attacked(Policy.INVOICE, providers=1, rounds=1, shards=1)
    provider.take(Start())
    world.run()
    return world, customer, provider


def list_beats(world: World) -> list[tuple[str | None, int]]:
    """What each heartbeat says, and for how long."""
    events = [letter.event for letter in find_letters(world, Kind.HEARTBEAT)]
    return [
        (get_value(e.tags, "status"), int(get_value(e.tags, "expiration") or 0) - e.created_at)
        for e in events
    ]


HERE, GONE = ("online", HEARTBEAT_LIFE_S), ("offline", GOODBYE_LIFE_S)


def test_who_leaves_takes_its_heartbeat_back() -> None:
    world, _, provider = start()
    world.now_s += 1
    provider.take(Leave())
    world.run()
    assert list_beats(world) == [HERE, GONE]
    world.pass_time(3 * HEARTBEAT_S)
    provider.take(Leave())
    world.run()
    assert list_beats(world) == [HERE, GONE]
    assert is_said(provider.state)


@pytest.mark.parametrize("command", [Leave, Pause])
def test_two_heartbeats_are_never_of_one_second(command: type) -> None:
    """Relays keep one a key, and of two of one second not the later."""
    world, _, provider = start()
    provider.take(command())
    world.run()
    assert list_beats(world) == [HERE]
    assert not is_said(provider.state)
    world.pass_time(1, 1)
    assert list_beats(world) == [HERE, GONE]
    provider.take(Start())
    world.run()
    assert len(list_beats(world)) == 2
    world.pass_time(1, 1)
    assert list_beats(world) == [HERE, GONE, HERE]


def test_a_contract_about_an_old_offer_is_declined_after_leaving() -> None:
    """It was taken: who had left trained for hours more, and for whoever still knew its offer."""
    world, customer, provider = start()
    provider.twist = lambda _m, e: None if isinstance(e, fx.Fetch) else e
    customer.take(Begin())
    world.run()
    world.pass_time(5)
    assert len(provider.state.offers) == 1 and not provider.state.contracts
    provider.take(Leave())
    world.pass_time(15)
    (contract,) = provider.state.contracts.values()
    assert (contract.standing, contract.reason) == (Standing.ENDED, REASON)
    assert provider.state.rejected == ()
    assert not provider.state.pending
    said = find_letters(world, Kind.FEEDBACK)[-1].event
    assert [tag[1:] for tag in said.tags if tag[0] == "status"] == [(str(Status.ERROR), REASON)]
    assert customer.state.members[provider.key.pubkey].reason == REASON


def test_what_was_agreed_on_before_leaving_is_finished() -> None:
    world, customer, provider = start()
    kept: list[fx.Effect] = []
    provider.twist = lambda _m, e: kept.append(e) if isinstance(e, fx.Train) else e  # type: ignore[func-returns-value]
    customer.take(Begin())
    world.run()
    world.pass_time(15)
    provider.take(Leave())
    world.do_train(provider, kept[0])  # type: ignore[arg-type]
    world.pass_time(30)
    assert provider.state.earned_msat == 1_000


def test_an_offer_that_is_not_signed_yet_is_not_made_after_leaving() -> None:
    world, _, provider = start()
    draft = draft_job(make_terms((Policy.INVOICE,)), world.now_s + 1_000, ())
    job = sign_text(STRANGER, int(Kind.JOB), world.now_s, "", draft.tags)
    provider.take(fx.Heard(Letter(job)))
    ((_, offer),) = world.todo
    world.todo.clear()
    provider.take(Leave())
    assert not provider.state.jobs and offer.key not in provider.state.pending


def test_who_is_switched_off_offers_for_nothing_until_it_is_back() -> None:
    world, customer, provider = start()
    world.pass_time(10)
    provider.take(Pause())
    world.run()
    assert list_beats(world) == [HERE, GONE] and is_said(provider.state)
    customer.take(Begin())
    world.run()
    world.pass_time(5)
    assert not provider.state.jobs
    provider.take(Start())
    world.run()
    world.deliver(Letter(find_letters(world, Kind.JOB)[0].event), "")
    world.run()
    world.pass_time(60)
    assert list_beats(world)[2:] == [HERE]
    assert provider.state.earned_msat == 1_000


def test_who_is_counted_on_is_not_said_to_be_gone() -> None:
    """Its customers wait for it, and it comes back in the middle of a round."""
    world, customer, provider = start()
    provider.twist = lambda _m, e: None if isinstance(e, fx.Train) else e
    customer.take(Begin())
    world.run()
    world.pass_time(15)
    before = provider.state
    provider.take(Pause())
    assert provider.state == before and is_said(before)
