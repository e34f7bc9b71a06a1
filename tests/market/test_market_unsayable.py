"""What cannot be said in an event (ecash of many proofs) ends its work, and blames nobody else."""

from __future__ import annotations

from tests.market.small_world import Member, make_market

from kumiai.market import effects as fx
from kumiai.market.customer import Begin, Phase
from kumiai.market.customer.state import Stage, Standing
from kumiai.market.kinds import Code, Policy
from kumiai.market.provider import Start
from kumiai.market.provider.state import Stage as Work


def cannot_say(prefix: str):  # type: ignore[no-untyped-def]
    def twist(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not effect.key.startswith(prefix):
            return effect
        member.take(fx.Failed(effect.key, "too-big", "14409 of 12000 bytes"))
        return None

    return twist


def run(twisted: str, prefix: str):  # type: ignore[no-untyped-def]
    plan = {"attempts_max": 2}
    world, customer, providers = make_market(
        (Policy.ESCROW,), providers=3, plan=plan, arbiter="02" + "ab" * 32, rounds=1
    )
    world.members[twisted].twist = cannot_say(prefix)
    for provider in providers:
        provider.take(Start())
    world.run()
    customer.take(Begin())
    world.run()
    world.pass_time(100)
    world.pass_time(200_000, 10_000)  # beyond the locktime of the ecash
    return world, customer, providers


def test_a_request_that_cannot_be_sent_is_no_fault_of_the_provider() -> None:
    world, customer, _ = run("customer", "publish/round/")
    state = customer.state
    assert state.phase is Phase.CLOSED
    assert {work.code for work in state.works.values()} == {Code.CANCELLED}
    assert all(member.faults == 0 for member in state.members.values())
    assert not any(member.reason == str(Code.NO_REPLY) for member in state.members.values())
    assert all(work.payment == "refunded" for work in state.works.values())
    assert world.bank.balances[customer.key.pubkey] == 1_000_000


def test_a_result_that_cannot_be_sent_is_declined_at_once() -> None:
    _, customer, providers = run("provider 0", "publish/result/")
    mute = providers[0]
    assert {work.stage for work in mute.state.works.values()} == {Work.FAILED}
    theirs = [w for w in customer.state.works.values() if w.provider == mute.key.pubkey]
    assert {work.code for work in theirs} == {Code.DECLINED}
    member = customer.state.members[mute.key.pubkey]
    assert member.standing is Standing.ENDED
    paid = [w for w in customer.state.works.values() if w.stage is Stage.PAID]
    assert len(paid) == 2
