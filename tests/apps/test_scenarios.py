"""Every entry of the menu does what its `expected` sentence says, in a few rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest
from tests.apps.tiny import play, shrink

from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.casts import VALIDATORS
from kumiai.apps.report import write_report
from kumiai.apps.report.summary import build_headline
from kumiai.apps.scenarios import SCENARIOS
from kumiai.apps.view import MemberView, RunView

pytestmark = pytest.mark.slow

Play = Callable[..., RunView]
_PLAYED: dict[tuple[str, int], RunView] = {}


@pytest.fixture
def menu(tmp_path: Path) -> Play:
    """Play a scenario shrunk, once a session."""

    def get(name: str, rounds: int = 3) -> RunView:
        if (name, rounds) not in _PLAYED:
            _PLAYED[name, rounds] = play(shrink(name, rounds), tmp_path / name)
        return _PLAYED[name, rounds]

    return get


def _cheats(run: RunView) -> list[MemberView]:
    return [m for m in run.members if m.role == "trainer" and m.behaviour]


def _honest(run: RunView) -> list[MemberView]:
    return [m for m in run.members if m.role == "trainer" and not m.behaviour]


def _spent(run: RunView) -> int:
    return sum(m.reward for m in run.members)


def _reasons(run: RunView, name: str) -> list[str]:
    return [r.reason_code for r in run.receipts if r.member == name and r.round > 0]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_scenario_ends_with_all_rounds_certified_and_money_conserved(
    menu: Play, name: str
) -> None:
    run = menu(name)
    assert run.phase == "FINISHED"
    assert [c.round for c in run.certificates] == [1, 2, 3, 4]
    assert all(len(c.signers) >= c.quorum for c in run.certificates)
    assert _spent(run) + run.totals["refunded"] == run.totals["funded"]
    assert all(m.verdict != "INVALID" for m in _honest(run)), [
        (m.name, m.reason) for m in _honest(run) if m.verdict == "INVALID"
    ]


@pytest.mark.parametrize(
    "name", ["cooperative", "fast", "free-rider", "copier", "poisoner", "sign-flip", "text"]
)
def test_cheats_earn_nothing_and_honest_members_do(menu: Play, name: str) -> None:
    run = menu(name)
    cheats = _cheats(run)
    assert cheats
    for cheat in cheats:
        assert cheat.reward * 100 <= _spent(run), (cheat.name, cheat.reward)
        if cheat.behaviour in ("free-rider", "copier"):
            assert cheat.reward == 0
            assert cheat.verdict == "INVALID"
    assert sum(m.reward > 0 for m in _honest(run)) >= len(_honest(run)) - 1


def test_the_model_of_the_main_job_learns(menu: Play) -> None:
    run = menu("cooperative")
    assert run.rounds[-1].accuracy_ppm > run.rounds[0].accuracy_ppm > 150_000


def test_the_text_run_measures_bits_and_shows_what_its_model_writes(
    menu: Play, tmp_path: Path
) -> None:
    run = menu("text")
    assert run.token_bytes_ppm == 1_000_000  # every character of the corpus is one byte
    assert run.rounds[-1].loss_ppm < run.rounds[0].loss_ppm < 3_951_000  # ln 52: knows nothing
    assert len(run.text_start) == 32 and len(run.text_written) == 160
    bits = f"{run.rounds[-1].loss_ppm / 693_147.18:.2f}"
    for language in ("en", "ja"):
        page = tmp_path / f"{language}.html"
        write_report(run, page, language)
        assert bits in page.read_text(encoding="utf-8")
        assert escape(run.text_start) in page.read_text(encoding="utf-8")
    assert menu("fast").token_bytes_ppm == 0 and not menu("fast").text_written


def test_a_free_rider_is_told_from_work_by_its_updates(menu: Play) -> None:
    run = menu("free-rider")
    assert set(_reasons(run, "Rakuda")) == {"no-work"}
    assert all("Rakuda" not in r.included for r in run.rounds)


def test_a_copy_is_named_and_its_original_keeps_its_rank(menu: Play) -> None:
    run = menu("copier")
    sentences = {r.reason for r in run.receipts if r.member == "Utsushi" and r.round > 0}
    assert any("Aoba" in sentence for sentence in sentences)
    assert set(_reasons(run, "Utsushi")) == {"copy"}
    assert run.member("Aoba").reward > 0
    assert "copy" not in _reasons(run, "Aoba")


@pytest.mark.parametrize(("name", "cheat"), [("poisoner", "Dokudami"), ("sign-flip", "Sakasa")])
def test_harm_is_left_out_of_the_model(menu: Play, name: str, cheat: str) -> None:
    run = menu(name)
    assert set(_reasons(run, cheat)) <= {"harmful", "no-gain", "no-work"}
    assert "harmful" in _reasons(run, cheat)
    assert all(cheat not in r.included for r in run.rounds)


def test_a_sybil_pair_earns_no_more_than_the_one_alone_would(menu: Play, tmp_path: Path) -> None:
    """Alone with the pair's whole stake: stake itself earns, which is no matter of names."""
    together, scenario = menu("sybil-pair"), shrink("sybil-pair")
    stakes = {p.name: p.stake for p in scenario.people}
    people = tuple(
        replace(p, stake=stakes["Aoba"] + stakes["Aoba II"]) if p.name == "Aoba" else p
        for p in scenario.people
        if p.name != "Aoba II"
    )
    alone = play(replace(scenario, people=people, victims={}), tmp_path / "alone")
    pair = [together.member(name) for name in ("Aoba", "Aoba II")]
    assert sum(m.reward - m.slashed for m in pair) <= alone.member("Aoba").reward
    assert together.member("Aoba II").reward == 0


def test_a_colluding_validator_lifts_nobody_and_loses_itself(menu: Play) -> None:
    run = menu("colluding-validators")
    assert run.member("Rakuda").reward == 0
    judges = {m.name: m for m in run.members if m.role == "validator"}
    colluder = judges.pop(VALIDATORS[3])
    assert colluder.behaviour == "colluder"
    assert colluder.reward < min(m.reward for m in judges.values())
    last = {r.member: r.reason_code for r in run.receipts if r.round == 0}
    assert last[colluder.name] == "false-scores"
    assert {last[name] for name in judges} == {"final-validator"}
    rider = menu("free-rider")  # the same run without the collusion: the same work counts
    assert [sorted(r.included) for r in run.rounds] == [sorted(r.included) for r in rider.rounds]


def test_a_lazy_validator_loses_what_was_held_back(menu: Play) -> None:
    run = menu("lazy-validator")
    judges = {m.name: m for m in run.members if m.role == "validator"}
    lazy = judges.pop(VALIDATORS[3])
    final = [r for r in run.receipts if r.member == lazy.name and r.round == 0]
    assert [(r.amount, r.reason_code) for r in final] == [(0, "false-scores")]
    assert lazy.reward * 5 < min(m.reward for m in judges.values())


def test_who_is_late_is_not_paid_and_not_penalised(menu: Play) -> None:
    run = menu("late")
    late = run.member("Birch")
    assert _reasons(run, "Birch") == ["late"] * 3
    assert (late.slashed, late.reward, late.verdict) == (0, 0, "INCONCLUSIVE")
    assert all(m.reward > 0 for m in _honest(run) if m.name != "Birch")


def test_who_crashed_is_not_paid_for_it_and_not_blamed(menu: Play) -> None:
    run = menu("crash")
    trainer, validator = run.member("Cedar"), run.member(VALIDATORS[2])
    assert trainer.slashed == validator.slashed == 0
    assert "no-reply" in _reasons(run, "Cedar")
    assert "silent" in _reasons(run, VALIDATORS[2])
    paid = {r.reason_code: r.amount for r in run.receipts if r.member in ("Cedar", VALIDATORS[2])}
    assert paid["no-reply"] == paid["silent"] == 0


def test_churn_certifies_every_round(menu: Play) -> None:
    run = menu("churn")
    assert len(run.rounds) == 3
    away = [m.name for m in _honest(run) if "no-reply" in _reasons(run, m.name)]
    assert away
    assert all(run.member(name).slashed == 0 for name in away)


def test_nobody_honest_gets_a_negative_verdict(menu: Play) -> None:
    for receipt in menu("honest").receipts:
        is_probe = receipt.member == "Yamabiko"
        assert is_probe or receipt.verdict != "INVALID", receipt


def test_natural_owners_are_paid_by_what_their_data_added(menu: Play) -> None:
    run = menu("owners")
    members = sorted(_honest(run), key=lambda m: m.contribution_ppm)
    assert members[0].reward < members[-1].reward
    assert all(m.samples > 0 for m in members)


def test_the_same_seed_gives_the_same_run(menu: Play, tmp_path: Path) -> None:
    again = play(shrink("free-rider"), tmp_path / "again", network=NetworkModel())
    assert again.certificates == menu("free-rider").certificates
    other = play(shrink("free-rider", rounds=1), tmp_path / "other", seed=1)
    assert other.certificates[0].hash != again.certificates[0].hash


def test_who_writes_zeros_loses_what_was_held_back(menu: Play) -> None:
    run = menu("zeros")
    last = {r.member: r for r in run.receipts if r.round == 0}
    judges = {name: last[name].reason_code for name in VALIDATORS}
    assert judges == {**dict.fromkeys(VALIDATORS, "final-validator"), VALIDATORS[3]: "false-scores"}
    assert last[VALIDATORS[3]].amount == 0
    paid = [run.member(name).reward for name in VALIDATORS]
    assert paid[3] * 5 < min(paid[:3])
    headline = {sentence.key: sentence for sentence in build_headline(run)}
    assert headline["headline.false_scores"].places == {"names": VALIDATORS[3]}
    assert all(member.slashed == 0 for member in run.members)


def test_a_traitor_in_the_committee_is_proven_and_the_rest_goes_on(menu: Play) -> None:
    run = menu("byzantine")
    (traitor,) = [m for m in run.members if m.behaviour == "equivocator"]
    assert traitor.name == VALIDATORS[0]
    assert traitor.reward == 0
    assert traitor.slashed == 60
    assert traitor.reason_code == "final-proven"
    (faker,) = _cheats(run)
    assert faker.slashed > 0
    receipts = {r.round: r for r in run.receipts if r.member == faker.name}
    caught = [number for number, r in receipts.items() if r.reason_code == "fabricated"]
    assert caught and receipts[0].reason_code == "final-convicted"
    assert all(receipts[number].amount == 0 for number in (0, *caught))  # each draw may miss
    assert all(not m.slashed for m in run.members if m not in (traitor, faker))
    assert all(m.reward > 0 for m in run.members if m.role == "validator" and m is not traitor)
    keys = {key for c in run.certificates for key in c.signers}
    assert traitor.pubkey not in keys
