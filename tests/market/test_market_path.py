"""The whole path of a job, customer and providers as pure machines, every way of payment."""

from __future__ import annotations

import pytest
from tests.market.small_world import make_market

from kumiai.market.customer import Begin, Phase
from kumiai.market.customer.state import Stage
from kumiai.market.kinds import Policy
from kumiai.market.provider import Start


@pytest.mark.parametrize("policy", list(Policy))
def test_a_job_is_served_and_paid_to_the_msat(policy: Policy) -> None:
    world, customer, providers = make_market((policy,), arbiter="02" + "ab" * 32)
    before = world.bank.total
    for provider in providers:
        provider.take(Start())
    world.run()
    customer.take(Begin())
    world.run()
    world.pass_time(60)
    state = customer.state
    assert state.outcome == "all rounds done"
    assert state.phase is Phase.CLOSED
    assert [done.accepted for done in state.history] == [3, 3, 3]
    assert all(work.stage is Stage.PAID for work in state.works.values())
    paid = [world.bank.balances[p.key.pubkey] for p in providers]
    assert paid == [3_000, 3_003, 3_006, 0]
    assert world.bank.balances[customer.key.pubkey] == 1_000_000 - sum(paid)
    assert [p.state.earned_msat for p in providers] == paid
    assert world.bank.total == before
    assert not customer.rejected and not any(p.rejected for p in providers)
    assert not customer.state.pending
