"""What a customer makes of its jury's word, and of ecash that comes back or does not."""

from __future__ import annotations

import pytest
from tests.market.hostile import find_letters, play, speak, with_param
from tests.market.small_world import Member, World
from tests.market.test_market_judge_rules import JUROR, OTHER, make_dispute, make_tried

from kumiai.apps.market.customer import is_settled
from kumiai.market import effects as fx
from kumiai.market.customer import Phase
from kumiai.market.customer.state import Stage
from kumiai.market.drafts import draft_ruling
from kumiai.market.kinds import Code, Kind, Policy, Ruling
from kumiai.market.nips.nip01 import sign_text


def rule(world: World, customer: Member) -> None:
    (work,) = [w for w in customer.state.works.values() if w.stage is Stage.REJECTED]
    contract = customer.state.members[work.provider].contract
    place = (customer.state.job.id, contract, OTHER, work.verdict, customer.key.pubkey)
    speak(world, JUROR, draft_ruling(*place, Ruling.ACCEPTED, Code.ACCEPTED))


def test_a_ruling_after_the_refund_pays_nobody_in_words_alone() -> None:
    """The ecash was ours again; the customer signed it away and booked it as paid."""
    world, customer, providers, _ = make_tried(Policy.ESCROW)
    play(world, customer, providers, 60)
    world.pass_time(26 * 3_600, 600)
    (work,) = [w for w in customer.state.works.values() if w.stage is Stage.REJECTED]
    assert work.payment == "refunded"
    spent_msat = customer.state.spent_msat
    rule(world, customer)
    (work,) = [w for w in customer.state.works.values() if w.key == work.key]
    assert work.stage is Stage.REJECTED
    assert customer.state.spent_msat == spent_msat == 1_001 + 1_002


@pytest.mark.parametrize("is_own", [True, False])
def test_a_juror_signs_the_ecash_of_the_disputed_work_alone(is_own: bool) -> None:
    """Who wins a dispute, perhaps with itself as the customer, gets no other job's ecash by it."""
    world, customer, providers, juror = make_tried(Policy.ESCROW, rounds=2)
    play(world, customer, providers, 60)
    good, other = providers[0].state.works.values()
    tags = [
        ("status", "rejected", "no-gain", "x") if tag[0] == "status" else tag
        for tag in good.verdict.tags
    ]
    verdict = sign_text(customer.key, good.verdict.kind, world.now_s, "x", tags)
    draft = make_dispute(world, providers[0], 0, verdict)
    if not is_own:
        draft = with_param(draft, "token", other.request.terms.token)
    speak(world, providers[0].key, draft)
    rulings = find_letters(world, Kind.RULING)
    assert len(rulings) == 2
    assert any(("encrypted",) in letter.event.tags for letter in rulings) == is_own
    assert juror.state.pending == {}


@pytest.mark.parametrize("policy", [Policy.ESCROW, Policy.INVOICE, Policy.HOLD, Policy.FAIR])
def test_a_job_with_a_jury_comes_to_rest(policy: Policy) -> None:
    """A rejected work stayed reserved for ever: whoever watched a closed job never ended."""
    world, customer, providers, _ = make_tried(policy)
    play(world, customer, providers, 60)
    world.pass_time(30 * 3_600, 600)
    assert customer.state.phase is Phase.CLOSED
    assert customer.state.reserved_msat == 0
    assert is_settled(customer.state)


def test_ecash_that_a_mint_gives_back_to_nobody_is_spent() -> None:
    """The provider and a juror spent it while we heard of no ruling: it left the budget's sight."""
    world, customer, providers, _ = make_tried(Policy.ESCROW)

    def refuse(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not isinstance(effect, fx.RedeemToken):
            return effect
        member.take(fx.Failed(effect.key, "bad-invoice", "it was spent"))
        return None

    customer.twist = refuse
    play(world, customer, providers, 60)
    world.pass_time(60 * 3_600, 600)
    (work,) = [w for w in customer.state.works.values() if w.stage is Stage.REJECTED]
    assert work.payment == "failed"
    assert customer.state.spent_msat == 3_003
    assert customer.state.members[work.provider].paid_msat == 1_000
    assert customer.state.reserved_msat == 0
