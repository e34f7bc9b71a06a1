"""A stranger posts thousands of jobs that fit: only so many get an offer, or are written down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.market.hostile import STRANGER, begin, make_attacked, speak
from tests.market.small_world import Member, World, make_terms

from kumiai.base.events import Event
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market import effects as fx
from kumiai.market.drafts import draft_cancel, draft_job
from kumiai.market.kinds import Kind, Policy
from kumiai.market.letters import Letter
from kumiai.market.nips.nip01 import sign_text
from kumiai.market.provider import Provider, Start
from kumiai.market.provider.jobs import COUNTED_S_MIN
from kumiai.nodes.market.replay import has_changed

CROWD = [derive_key(b"offers", str(number)) for number in range(40)]
OF_ONE, OF_ALL, LIFE_S = 4, 100, 3_600


def make_provider(**changes: Any) -> tuple[World, Member]:
    world, _, (provider,) = make_attacked(Policy.INVOICE, providers=1)
    provider.machine = Provider(replace(provider.machine.policy, **changes))
    provider.take(Start())
    world.run()
    return world, provider


def post(world: World, key: SigningKey, number: int = 0, life_s: int = 10**6) -> Event:
    """A job of a stranger, which differs by its number and fits."""
    draft = draft_job(make_terms((Policy.INVOICE,), samples=100 + number), world.now_s + life_s, ())
    event = sign_text(key, int(Kind.JOB), world.now_s, "", draft.tags)
    world.deliver(Letter(event), "")
    world.run()
    return event


def count_offers(world: World) -> int:
    return sum(letter.event.kind == Kind.OFFER for letter in world.letters)


def test_a_flood_of_one_customer_gets_few_offers_and_keeps_nobody_out() -> None:
    world, provider = make_provider()
    for number in range(500):
        post(world, CROWD[0], number)
    assert count_offers(world) == OF_ONE == len(provider.state.jobs)
    post(world, STRANGER)
    assert count_offers(world) == OF_ONE + 1


def test_a_job_that_is_passed_over_leaves_no_trace() -> None:
    """What changes nothing is not written down: no flood fills a provider's journal."""
    world, provider = make_provider()
    for number in range(OF_ONE):
        post(world, CROWD[0], number)
    before, now_s = provider.state, world.now_s
    draft = draft_job(make_terms((Policy.INVOICE,)), now_s + 10**6, ())
    event = sign_text(CROWD[0], int(Kind.JOB), now_s, "", draft.tags)
    outcome = provider.machine.step(before, now_s, fx.Heard(Letter(event)))
    assert not has_changed(before, outcome)
    assert not outcome.rejected


def test_many_keys_together_get_a_bounded_number_of_offers() -> None:
    world, provider = make_provider()
    for number in range(OF_ONE):
        for key in CROWD:
            post(world, key, number)
    post(world, STRANGER)
    assert count_offers(world) == OF_ALL == len(provider.state.jobs)


def test_who_has_paid_before_is_kept_out_by_no_flood() -> None:
    world, customer, (provider,) = make_attacked(Policy.INVOICE, providers=1, rounds=1, shards=1)
    begin(world, customer, [provider])
    world.pass_time(30)
    assert provider.state.earned_msat
    for number in range(OF_ONE):
        for key in CROWD:
            post(world, key, number)
    before = count_offers(world)
    for number in range(2 * OF_ONE):
        post(world, customer.key, number)
    assert count_offers(world) == before + OF_ONE


@pytest.mark.parametrize("life_s", [1, 10**6])
def test_an_offer_that_has_ended_counts_no_more(life_s: int) -> None:
    """However soon its job ends it counts for ten minutes: else jobs of a second were a flood."""
    world, _ = make_provider()
    lasts_s = COUNTED_S_MIN if life_s == 1 else LIFE_S
    for number in range(OF_ONE + 1):
        post(world, CROWD[0], number, life_s)
    world.pass_time(lasts_s - 5)
    post(world, CROWD[0], 10, life_s)
    assert count_offers(world) == OF_ONE
    world.pass_time(5)
    post(world, CROWD[0], 11, life_s)
    assert count_offers(world) == OF_ONE + 1


def test_withdrawing_a_job_makes_no_room_for_the_next() -> None:
    world, _ = make_provider()
    for number in range(3 * OF_ONE):
        job = post(world, CROWD[0], number)
        speak(world, CROWD[0], draft_cancel([(job.id, Kind.JOB)]))
    assert count_offers(world) == OF_ONE


@pytest.mark.parametrize("is_ended", [False, True])
def test_an_offer_that_became_a_contract_counts_no_more_unless_it_ended_unpaid(
    is_ended: bool,
) -> None:
    """Contract, cancel, again: each time there was room for another offer, without end."""
    world, customer, (provider,) = make_attacked(Policy.INVOICE, providers=1, rounds=1, shards=1)
    provider.twist = lambda _m, e: None if isinstance(e, fx.Train) else e
    begin(world, customer, [provider])
    world.pass_time(15)
    (contract,) = provider.state.contracts.values()
    if is_ended:
        speak(world, customer.key, draft_cancel([(contract.id, Kind.CONTRACT)]))
    before = count_offers(world)
    for number in range(2 * OF_ONE):
        post(world, customer.key, number)
    assert count_offers(world) == before + OF_ONE - is_ended


def test_a_policy_without_bounds_is_as_before() -> None:
    """A folder from before: its journal is folded as it was."""
    world, provider = make_provider(offers_max=0, offers_of_one_max=0)
    for number in range(2 * OF_ALL):
        post(world, CROWD[0], number)
    assert count_offers(world) == 2 * OF_ALL == len(provider.state.offers)
