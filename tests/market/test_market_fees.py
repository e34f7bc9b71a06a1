"""What payments cost is in the budget: reserved beside each one, freed when it was not used."""

from __future__ import annotations

from typing import Any

import pytest
from tests.market.hostile import ARBITER, begin, play
from tests.market.small_world import Member, World, make_market

from kumiai.market import effects as fx
from kumiai.market.customer import Phase
from kumiai.market.fees import compute_fee_max
from kumiai.market.kinds import Policy

ROUND_MSAT = 1_000 + 1_001 + 1_002
FEES_MSAT = 3 * 2_000  # the limit of three small payments
FUNDS_MSAT = 1_000_000


def make_costly(policy: Policy, budget_msat: int, **changes: Any) -> tuple[World, Member, list]:
    """A market whose customer pays over a network that takes fees."""
    return make_market(
        (policy,),
        budget_msat=budget_msat,
        arbiter=ARBITER if policy is Policy.ESCROW else "",
        plan={"has_fees": True},
        **changes,
    )


def get_gone(world: World, customer: Member) -> int:
    return FUNDS_MSAT - world.bank.balances[customer.key.pubkey]


def test_the_limit_of_a_fee_is_a_hundredth_or_two_satoshi() -> None:
    assert [compute_fee_max(msat) for msat in (1, 200_000, 200_100, 10**9)] == [
        2_000, 2_000, 2_001, 10**7,
    ]  # fmt: skip


@pytest.mark.parametrize("policy", [Policy.HOLD, Policy.FAIR, Policy.INVOICE])
def test_no_fee_takes_a_job_over_its_budget(policy: Policy) -> None:
    """Without the reserve the third round was begun: 27,009 msat left, of a budget of 22,000."""
    budget_msat = 22_000
    world, customer, providers = make_costly(policy, budget_msat, rounds=5)
    world.bank.fee_msat = compute_fee_max(1_000)
    begin(world, customer, providers)
    for _ in range(200):
        world.pass_time(1, 1)
        assert get_gone(world, customer) <= budget_msat
        assert customer.state.spent_msat + customer.state.reserved_msat <= budget_msat
    world.pass_time(900)
    state = customer.state
    assert state.outcome == "the budget does not cover another round"
    assert len(state.history) == 2
    assert state.spent_msat == get_gone(world, customer) == 2 * (ROUND_MSAT + FEES_MSAT)
    assert state.reserved_msat == 0


@pytest.mark.parametrize("policy", [Policy.HOLD, Policy.FAIR, Policy.INVOICE])
def test_what_a_payment_did_not_cost_pays_the_next_round(policy: Policy) -> None:
    world, customer, providers = make_costly(policy, 3 * ROUND_MSAT + FEES_MSAT)
    play(world, customer, providers)
    assert customer.state.outcome == "all rounds done"
    assert customer.state.spent_msat == 3 * ROUND_MSAT
    assert customer.state.reserved_msat == 0


@pytest.mark.parametrize("policy", list(Policy))
def test_a_payment_under_way_has_its_limit_reserved(policy: Policy) -> None:
    """Ecash is sent without a route: nothing is reserved beside it."""
    world, customer, providers = make_costly(policy, 100_000, rounds=1)
    customer.twist = lambda _m, e: None if isinstance(e, fx.Pay | fx.SignToken) else e
    begin(world, customer, providers)
    world.pass_time(15)
    fees_msat = 0 if policy is Policy.ESCROW else FEES_MSAT
    assert customer.state.reserved_msat == ROUND_MSAT + fees_msat


def test_a_payment_that_failed_for_good_frees_its_limit() -> None:
    world, customer, providers = make_costly(Policy.INVOICE, 100_000, rounds=1)

    def fail(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not isinstance(effect, fx.Pay):
            return effect
        member.take(fx.PaymentSeen(effect.key, "failed"))
        return None

    customer.twist = fail
    play(world, customer, providers)
    assert customer.state.phase is Phase.CLOSED
    assert (customer.state.spent_msat, customer.state.reserved_msat) == (0, 0)


def test_one_round_that_the_limits_do_not_fit_is_not_begun() -> None:
    world, customer, providers = make_costly(Policy.HOLD, ROUND_MSAT + FEES_MSAT - 1)
    play(world, customer, providers)
    assert customer.state.outcome == "the budget does not cover another round"
    assert not customer.state.works


def test_play_money_takes_no_fees_and_reserves_none() -> None:
    world, customer, providers = make_market(budget_msat=3 * ROUND_MSAT)
    play(world, customer, providers)
    assert customer.state.outcome == "all rounds done"
