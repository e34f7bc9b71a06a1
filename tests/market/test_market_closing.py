"""A closing frees a provider's room: its own customer's closing, nobody else's."""

from __future__ import annotations

from tests.market.small_world import make_market

from kumiai.base.keys import derive_key
from kumiai.market.customer import Begin
from kumiai.market.drafts import draft_closing
from kumiai.market.effects import Heard, Ticked
from kumiai.market.kinds import Policy
from kumiai.market.letters import Letter
from kumiai.market.nips.nip01 import sign_text
from kumiai.market.provider import Start
from kumiai.market.provider.state import Standing


def test_a_closing_ends_its_own_customers_contracts_alone() -> None:
    world, customer, providers = make_market((Policy.INVOICE,))
    for provider in providers:
        provider.take(Start())
    world.run()
    customer.take(Begin())
    while not any(provider.state.works for provider in providers):
        if not world.todo:
            world.now_s += 5
            customer.take(Ticked())
            continue
        member, effect = world.todo.popleft()
        world.carry_out(member, effect)
    at_work = [p for p in providers if p.state.works]
    job = customer.state.job
    assert job is not None
    stranger = derive_key(bytes(32), "stranger")
    draft = draft_closing(job.id, 1, "", [])
    event = sign_text(stranger, int(draft.kind), world.now_s, draft.text, draft.tags)
    assert all(c.standing is Standing.ACTIVE for p in at_work for c in p.state.contracts.values())
    for provider in at_work:
        before = provider.state.contracts
        provider.take(Heard(Letter(event)))
        assert provider.state.contracts == before
    world.run()
    world.pass_time(60)
    ended = [c for p in at_work for c in p.state.contracts.values()]
    assert {c.standing for c in ended} == {Standing.ENDED}
    assert {c.reason for c in ended} == {"the job is closed"}
