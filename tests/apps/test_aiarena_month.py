"""AIArena's month in small, on the embedded chain: differences are noticed, flaws not shared."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import chain_lab
from aiarena_flaws import measure_claim_growth, measure_settle_growth, try_overpaying
from aiarena_people import EMISSION, Counts, draw_crews, draw_days
from aiarena_replay import Replay
from chain_desk import Desk
from chain_lab import Lab, Wallet, open_lab

ROUNDS, SEED = 3, 0
COUNTS = Counts(trainers=8, validators=8, delegators=24, tasks=2, rounds=ROUNDS)


Room = tuple[Lab, Desk, list[Wallet]]


@pytest.fixture
def room() -> Iterator[Room]:
    people = [Wallet(f"trier {number}") for number in range(8)]
    with open_lab("embedded", people) as lab:
        yield lab, Desk(lab, people[0]), people


@pytest.fixture
def replay() -> Iterator[Replay]:
    """A month in which everything is settled and nobody has claimed."""
    crews = draw_crews(COUNTS, SEED)
    owner, sender = Wallet("owner"), Wallet("sender")
    people = [
        each.wallet for crew in crews for each in crew.trainers + crew.validators + crew.backers
    ]
    with open_lab("embedded", [owner, sender, *people]) as opened:
        made = Replay(opened, crews, owner, sender)
        made.plan(ROUNDS, SEED, processes=1)
        made.gather(committee_size=4)
        made.settle()
        yield made


@pytest.mark.parametrize("is_alone", [False, True])
def test_everybody_gets_to_the_wei_what_the_rules_say(replay: Replay, is_alone: bool) -> None:
    replay.check_roots()
    replay.claim(None, is_alone=is_alone)
    replay.unwind()
    tally = replay.tally
    claims = tally.kinds["claim a month's pay"]
    assert claims.done == tally.claims
    assert claims.count == (tally.claims if is_alone else COUNTS.tasks)
    assert (claims.gas < 60_000 * claims.done) != is_alone  # of first claims, each
    assert tally.claims == tally.balances == tally.leaves > COUNTS.delegators
    assert tally.left == 0
    for books in tally.books:
        assert books.claimed == books.paid
        assert books.paid + books.refund == books.budget
    assert sum(books.budget for books in tally.books) <= EMISSION * ROUNDS
    assert tally.kinds["settle a round"].count == COUNTS.tasks * ROUNDS


def test_what_nobody_claims_stays_in_the_contract(replay: Replay) -> None:
    replay.claim(3)
    replay.unwind()
    assert replay.tally.claims == 3 * COUNTS.tasks
    assert replay.tally.left == sum(b.paid - b.claimed for b in replay.tally.books) > 0


def test_one_wei_too_much_in_the_rules_is_noticed(replay: Replay) -> None:
    month = replay._months[0]
    somebody = next(iter(month.cumulative))
    wrong = {**month.cumulative, somebody: month.cumulative[somebody] + 1}
    replay._months[0] = replace(month, cumulative=wrong)
    with pytest.raises(AssertionError):
        replay.check_roots()
    with pytest.raises((AssertionError, RuntimeError)):
        replay.claim(None)


def test_another_refund_than_the_rules_say_is_noticed(replay: Replay) -> None:
    replay._months[0] = replace(replay._months[0], refund=replay._months[0].refund + 1)
    with pytest.raises(AssertionError):
        replay.claim(None)


def test_people_and_days_come_from_the_seed() -> None:
    first, again, other = (draw_crews(COUNTS, seed) for seed in (1, 1, 2))
    assert [_describe(crew) for crew in first] == [_describe(crew) for crew in again]
    assert [_describe(crew) for crew in first] != [_describe(crew) for crew in other]
    assert draw_days(first[0], 2, 1) == draw_days(again[0], 2, 1) != draw_days(first[0], 2, 2)
    counted = [sum(len(getattr(crew, role)) for crew in first)
               for role in ("trainers", "validators", "backers")]  # fmt: skip
    assert counted == [COUNTS.trainers, COUNTS.validators, COUNTS.delegators]


def test_a_request_holds_no_more_than_a_node_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_lab, "BATCH", 3)
    monkeypatch.setattr(chain_lab, "BODY_MAX", 10)
    bodies = ["1", "22", "3", "4", "5" * 8, "6" * 30, "7", "8"]
    packed = [["1", "22", "3"], ["4", "5" * 8], ["6" * 30], ["7", "8"]]
    assert list(chain_lab._pack(bodies)) == packed
    assert list(chain_lab._pack([])) == []


def test_nobody_gets_more_than_everything(room: Room) -> None:
    found = try_overpaying(*room)
    assert found.is_certificate_refused
    assert found.promised > found.certified
    assert found.claimed == found.certified  # who came first was paid, the rest got nothing
    assert found.other_before == found.other_after


def test_a_claim_costs_the_same_after_many_rounds_and_tasks(room: Room) -> None:
    found = measure_claim_growth(*room, tasks=4, rounds=6)
    assert found.is_flat, found


def test_a_settlement_costs_the_same_for_many_members(room: Room) -> None:
    found = measure_settle_growth(*room, many=300)
    assert found.is_flat, found


def _describe(crew: object) -> object:
    return [
        [(each.wallet.address, *(getattr(each, name, None) for name in ("stake", "amount", "node")))
         for each in getattr(crew, role)]
        for role in ("trainers", "validators", "backers")
    ]  # fmt: skip
