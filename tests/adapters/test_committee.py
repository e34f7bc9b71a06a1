"""Verdicts before the aggregator, as in a run: harmful members go, honest ones stay."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from kumiai.adapters.data.sources import load_digits
from kumiai.adapters.sim import attacks
from kumiai.adapters.sim import federation as sim
from kumiai.adapters.sim.committee import Committee
from kumiai.adapters.sim.federation import Federation, play
from kumiai.learning.aggregation import Settings
from kumiai.tasks import task_from_mapping

TOLERANCE = 0.03
TASK = task_from_mapping({"name": "x", "data": {"trainers": 10}})


@pytest.fixture(scope="module")
def federation():
    digits = load_digits()
    return Federation(digits.features, digits.labels, 10, rounds=8, validators=4)


@pytest.fixture(scope="module")
def clean(federation):
    return play(federation, "mean", None, Settings())


@pytest.mark.parametrize("attack", attacks.ATTACKS)
def test_even_the_mean_withstands_every_attack_behind_a_committee(federation, clean, attack):
    outcome = play(federation, "mean", attack, Settings(), TASK)
    assert outcome.accuracy >= clean.accuracy - TOLERANCE
    assert outcome.triggered <= clean.triggered + TOLERANCE


def test_without_verdicts_the_mean_is_lost(federation, clean):
    assert play(federation, "mean", "sign_flip", Settings()).accuracy < clean.accuracy - 0.3


def test_a_committee_lets_honest_members_be(federation, clean):
    outcome = play(federation, "mean", None, Settings(), TASK)
    assert outcome.accuracy >= clean.accuracy - 0.01


def test_who_harms_thrice_is_expelled_and_no_honest_member_is(federation, monkeypatch):
    seen = []

    class Watched(Committee):
        def judge(self, number, model_P, updates_NP):
            entered = super().judge(number, model_P, updates_NP)
            seen.append((entered, self.active))
            return entered

    monkeypatch.setattr(sim, "Committee", Watched)
    play(replace(federation, rounds=5), "mean", "sign_flip", Settings(), TASK)
    assert all(member >= 3 for entered, _ in seen for member in entered)
    assert statistics.mean(len(entered) for entered, _ in seen) > 6
    assert [active for _, active in seen][-1] == list(range(3, 10))
    assert [len(active) for _, active in seen][:2] == [10, 10]


def test_who_is_absent_neither_harms_nor_helps(federation, clean):
    gone = replace(federation, is_without_hostile=True)
    outcomes = {play(gone, "mean", attack, Settings()).accuracy for attack in (None, "sign_flip")}
    assert len(outcomes) == 1
    assert outcomes != {clean.accuracy}


def test_verdicts_need_a_committee(federation):
    with pytest.raises(ValueError, match="validators is 0"):
        play(replace(federation, validators=0), "mean", None, Settings(), TASK)
