"""A member that was not there for a while: others' silence is not judged by what it missed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.market.small_world import Member, World, make_market

from kumiai.market import effects as fx
from kumiai.market.customer import Begin, CustomerState, Phase
from kumiai.market.customer.state import Stage
from kumiai.market.customer.waking import WAKE_S
from kumiai.market.kinds import Code, Policy
from kumiai.market.nips.nip01 import has_any
from kumiai.market.provider import Start
from kumiai.market.provider.state import Standing

ARBITER = "02" + "ab" * 32


class Bed:
    """Takes a member out of the world; what is said meanwhile lies on the relay."""

    def __init__(self, world: World, member: Member) -> None:
        self.world, self.member = world, member
        self.since, self.asleep_s = len(world.letters), world.now_s
        del world.members[member.name]
        self.todo = [it for it in world.todo if it[0] is member]
        world.todo = type(world.todo)(it for it in world.todo if it[0] is not member)

    def leave(self, *, is_told: bool = True) -> None:
        world, member = self.world, self.member
        world.members[member.name] = member
        if is_told:
            member.take(fx.Woken(world.now_s - self.asleep_s))
        member.take(fx.Ticked())
        world.todo.extend(self.todo)
        for letter in world.letters[self.since :]:
            if has_any(member.machine.list_filters(member.state), letter.event):
                member.take(fx.Heard(letter))
        world.run()


def run_until(world: World, holds: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if holds():
            return
        if world.todo:
            member, effect = world.todo.popleft()
            world.carry_out(member, effect)
            continue
        world.now_s += 1
        for member in world.members.values():
            member.take(fx.Ticked())
    raise AssertionError("it never came to that")


def begin(payment: Policy, **changes: int) -> tuple[World, Member, list[Member]]:
    world, customer, providers = make_market((payment,), arbiter=ARBITER, **changes)
    for provider in providers:
        provider.take(Start())
    world.run()
    customer.take(Begin())
    return world, customer, providers


def count(customer: Member, *stages: Stage) -> int:
    return sum(1 for work in customer.state.works.values() if work.stage in stages)


# money comes between an update and its key in two ways of payment only
MOMENTS = [
    *((payment, stage) for payment in Policy for stage in (Stage.ASKED, Stage.DELIVERED)),
    (Policy.HOLD, Stage.FETCHED),
    (Policy.HOLD, Stage.LOCKED),
    (Policy.FAIR, Stage.FETCHED),
]


@pytest.mark.parametrize(("payment", "stage"), MOMENTS)
def test_a_customer_that_slept_loses_nobody(payment: Policy, stage: Stage) -> None:
    world, customer, providers = begin(payment)
    run_until(world, lambda: count(customer, stage) > 0)
    bed = Bed(world, customer)
    world.run()
    world.pass_time(600)  # train_s is 100
    bed.leave()
    world.pass_time(120)
    state: CustomerState = customer.state
    assert state.outcome == "all rounds done"
    # a fair payment begun so late would bring its key after the round: nobody's fault, not paid
    is_too_late = payment is Policy.FAIR and stage is Stage.FETCHED
    assert sum(done.accepted for done in state.history) == 9 - int(is_too_late)
    paid_msat = sum(member.paid_msat for member in state.members.values())
    assert sum(p.state.earned_msat for p in providers) == paid_msat
    assert not [m for m in state.members.values() if m.faults]


def test_nobody_who_was_asked_is_lost() -> None:
    world, customer, _ = begin(Policy.HOLD)
    run_until(world, lambda: len(customer.state.requests) == 3)
    bed = Bed(world, customer)
    world.run()
    world.pass_time(600)
    bed.leave()
    world.pass_time(60)
    assert [done.accepted for done in customer.state.history] == [3, 3, 3]


def test_one_that_is_not_told_takes_them_for_silent() -> None:
    """What the others' tests rest on."""
    world, customer, _ = begin(Policy.HOLD)
    run_until(world, lambda: len(customer.state.requests) == 3)
    bed = Bed(world, customer)
    world.run()
    world.pass_time(600)
    bed.leave(is_told=False)
    faults = [member.faults for member in customer.state.members.values()]
    assert sum(faults) >= 3


def test_who_was_silent_indeed_is_replaced_after_its_time_once_more() -> None:
    world, customer, providers = begin(Policy.HOLD)
    run_until(world, lambda: customer.state.phase is Phase.ROUND)
    gone = providers[0]
    del world.members[gone.name]
    world.todo = type(world.todo)(it for it in world.todo if it[0] is not gone)
    run_until(world, lambda: count(customer, Stage.OPENED) == 2)
    bed = Bed(world, customer)
    world.pass_time(600)
    bed.leave()
    work = next(w for w in customer.state.works.values() if w.provider == gone.key.pubkey)
    assert work.is_open and work.grace_s == 600 + WAKE_S
    world.pass_time(100 + WAKE_S)
    work = customer.state.works[work.key]
    assert (work.stage, work.code) == (Stage.CLOSED, Code.NO_REPLY)
    world.pass_time(200)
    assert customer.state.outcome == "all rounds done"


def test_offers_and_acceptances_are_waited_for_again() -> None:
    world, customer, _ = begin(Policy.HOLD)
    run_until(world, lambda: customer.state.phase is Phase.OFFERS)
    bed = Bed(world, customer)
    world.run()
    world.pass_time(300)
    bed.leave()
    assert len(customer.state.offers) == 4
    run_until(world, lambda: customer.state.phase is Phase.CONTRACTS)
    bed = Bed(world, customer)
    world.run()
    world.pass_time(300)
    bed.leave()
    world.pass_time(200)
    assert customer.state.outcome == "all rounds done"


def test_times_that_others_see_stay_as_they_were_said() -> None:
    world, customer, _ = begin(Policy.ESCROW)
    run_until(world, lambda: count(customer, Stage.WORKING, Stage.ASKED) == 3)
    before = {work.key: work.deadline_s for work in customer.state.works.values()}
    customer.take(fx.Woken(600))
    after = {work.key: work.deadline_s for work in customer.state.works.values()}
    assert before == after


def test_an_update_given_up_at_a_time_slept_over_is_fetched_again() -> None:
    world, customer, _ = begin(Policy.HOLD)
    run_until(world, lambda: count(customer, Stage.DELIVERED) > 0)
    key, effect = next((k, e) for k, e in customer.state.pending.items() if isinstance(e, fx.Fetch))
    world.todo.clear()
    customer.take(fx.Woken(600))
    customer.take(fx.Failed(key, "not-there", "no server has it"))
    again = customer.state.pending[key]
    assert isinstance(again, fx.Fetch) and again.deadline_s == effect.deadline_s + 600 + WAKE_S
    customer.take(fx.Failed(key, "not-there", "no server has it"))  # in its own time: it counts
    assert key not in customer.state.pending
    assert count(customer, Stage.REJECTED) == 1


def test_a_closed_job_is_not_changed_by_sleep() -> None:
    world, customer, _ = begin(Policy.HOLD)
    run_until(world, lambda: customer.state.phase is Phase.CLOSED)
    before = customer.state
    customer.take(fx.Woken(600))
    assert customer.state == before


def test_a_provider_that_slept_does_not_call_its_customer_silent() -> None:
    world, customer, providers = begin(Policy.HOLD)
    run_until(world, lambda: customer.state.phase is Phase.ROUND)
    asleep = next(p for p in providers if p.state.contracts)
    for is_told, standing in ((True, Standing.ACTIVE), (False, Standing.ENDED)):
        contract = next(iter(asleep.state.contracts.values()))
        missed_s = 100_000
        world.now_s += missed_s
        if is_told:
            asleep.take(fx.Woken(missed_s))
        asleep.take(fx.Ticked())
        asleep.take(fx.Ticked())
        assert asleep.state.contracts[contract.id].standing is standing
