"""A job's own times hold a provider's place: not for longer than its owner allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.market.hostile import begin, make_attacked, play
from tests.market.small_world import Member, World

from kumiai.market.kinds import Policy
from kumiai.market.provider import Provider
from kumiai.market.provider.requests import compute_wait_s
from kumiai.market.provider.state import Standing

DAY_S = 24 * 3600
JUST_A_DAY: dict[str, Any] = {"train_s": 7_200, "reveal_s": 7_200, "judge_s": 7_200}


def start(**changes: Any) -> tuple[World, Member, Member]:
    world, customer, providers = make_attacked(
        Policy.INVOICE, providers=1, rounds=1, shards=1, **{**JUST_A_DAY, **changes}
    )
    return world, customer, providers[0]


def allow(provider: Member, wait_s_max: int) -> None:
    provider.machine = Provider(replace(provider.machine.policy, wait_s_max=wait_s_max))


@pytest.mark.parametrize("longer", ["", "train_s", "reveal_s", "judge_s"])
def test_a_job_that_would_hold_a_place_for_more_than_a_day_is_passed_over(longer: str) -> None:
    """Times of 30 days each kept a place for a year, for the price of one round."""
    world, customer, provider = start(**({longer: 7_201} if longer else {}))
    begin(world, customer, [provider])
    assert (compute_wait_s(customer.state.terms) > DAY_S) is bool(longer)
    assert len(provider.state.jobs) == (0 if longer else 1)
    assert len(provider.state.offers) == (0 if longer else 1)


@pytest.mark.parametrize(("wait_s_max", "is_taken"), [(86_399, False), (86_400, True), (0, True)])
def test_the_owner_says_how_long(wait_s_max: int, is_taken: bool) -> None:
    world, customer, provider = start()
    allow(provider, wait_s_max)
    play(world, customer, [provider], 100)
    assert bool(provider.state.earned_msat) is is_taken


def test_short_times_still_hold_the_pay_until_the_invoice_ends() -> None:
    """Four rounds of a second each are 12 s; the pay of one can take ten minutes more."""
    world, customer, provider = start(train_s=10, reveal_s=1, judge_s=1)
    allow(provider, 613)
    begin(world, customer, [provider])
    assert compute_wait_s(customer.state.terms) == 614
    assert not provider.state.jobs


@pytest.mark.parametrize("longer", [False, True])
def test_a_sealed_job_is_declined_once_its_times_can_be_read(longer: bool) -> None:
    world, customer, provider = start(judge_s=7_201 if longer else 7_200, plan={"is_sealed": True})
    begin(world, customer, [provider])
    world.pass_time(15)
    (contract,) = provider.state.contracts.values()
    if longer:
        wanted = "its times can hold a place or pay here for 86404 s, more than our 86400"
        assert (contract.standing, contract.reason) == (Standing.ENDED, wanted)
        assert customer.state.members[provider.key.pubkey].reason == wanted
    else:
        assert (contract.reason, provider.state.earned_msat) == ("the job is closed", 1_000)
