"""Whole runs whose rounds do not wait for everybody: verified, shown, killed, and attacked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tests.apps.test_resume import WAIT_S, count_records, kill_at, start
from tests.apps.tiny import play, write_task

import kumiai
from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.cli.inspection import _member_tree
from kumiai.apps.population import Person
from kumiai.apps.receipts import read_receipt_file
from kumiai.apps.report import write_report
from kumiai.apps.report.texts import load_texts
from kumiai.apps.scenarios import SCENARIOS, Scenario
from kumiai.apps.verify import verify_path
from kumiai.apps.view import RunView, load_view
from kumiai.rounds import scoring

pytestmark = pytest.mark.slow

SLOW = ("Ginkgo", "Hinoki")


def shrink(rounds: int = 8, **training: object) -> Scenario:
    scenario = SCENARIOS["slow"]
    settings = dict(scenario.settings)
    known = settings["training"]
    assert isinstance(known, dict)
    settings["training"] = {**known, "rounds": rounds, "backend": "inline", **training}
    settings["validation"] = {"permutations_max": 12}
    return replace(scenario, settings=settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slow") / "run"
    play(shrink(), path)
    return path


@pytest.fixture(scope="module")
def view(folder: Path) -> RunView:
    return load_view(folder)


def list_reasons(view: RunView, name: str) -> list[str]:
    return [r.reason_code for r in view.receipts if r.member == name and r.round > 0]


def test_the_slow_are_counted_later_and_paid_and_nobody_is_blamed(view: RunView) -> None:
    for name in SLOW:
        old = [r for r in view.receipts if r.member == name and r.staleness]
        assert old and all(1 <= r.staleness <= 8 for r in old)
        assert {"busy", "counted"} <= set(list_reasons(view, name))
        assert view.member(name).reward > 0
    trainers = [m for m in view.members if m.role == "trainer"]
    assert [m.name for m in trainers if m.verdict == "INVALID"] == []
    assert view.rounds[-1].accuracy_ppm > 800_000


def test_a_run_that_waits_takes_three_times_as_long(view: RunView, tmp_path: Path) -> None:
    waiting = play(shrink(rounds=2, buffer=0, staleness_max=0), tmp_path / "run")
    least = min(row.virtual_ms for row in waiting.rounds)
    assert 3 * max(row.virtual_ms for row in view.rounds) < least


def test_everything_about_it_is_verified(folder: Path) -> None:
    report = verify_path(folder, score_rounds="all")
    assert report.is_ok, report.findings
    assert not [f for f in report.findings if "did not score" in f.detail]


def test_a_committee_that_forgets_the_discount_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(weights: Sequence[int], staleness_N: Sequence[int]) -> list[int]:
        return list(weights)

    monkeypatch.setattr(scoring, "discount_weights", keep)
    play(shrink(rounds=5), tmp_path / "run")
    monkeypatch.undo()
    report = verify_path(tmp_path / "run")
    assert not report.is_ok
    assert any("refused" in finding.what for finding in report.findings), report.findings


def test_receipts_say_the_age_and_only_where_there_is_one(folder: Path, view: RunView) -> None:
    for row in view.receipts:
        receipt = read_receipt_file(folder / row.path)["receipt"]
        assert receipt.get("staleness", 0) == row.staleness
        assert ("staleness" in receipt) == (row.staleness > 0)
        assert verify_path(folder / row.path).is_ok or row.round == 0
        if row.round > 2:
            break


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ("rounds before this one", "still at work")), ("ja", ("ラウンド前に始めた", "作業中"))],
)
def test_the_age_is_shown_in_both_languages(
    folder: Path, view: RunView, tmp_path: Path, language: str, words: tuple[str, ...]
) -> None:
    texts = load_texts(language)  # type: ignore[arg-type]
    console = Console(width=300, file=io.StringIO())
    console.print(_member_tree(view, folder, "Hinoki", texts))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    page = tmp_path / f"{language}.html"
    write_report(view, page, language)  # type: ignore[arg-type]
    for word in words:
        assert word in shown
        assert word in page.read_text(encoding="utf-8")


def test_a_copier_who_comes_a_round_later_with_what_was_shown_is_caught(tmp_path: Path) -> None:
    """It needs twice the time of whom it copies, so its copy is committed as old work."""
    people = (*SCENARIOS["slow"].people, Person("Utsushi", "trainer", "copier"))
    scenario = replace(shrink(), people=people, victims={"Utsushi": "Aoba"}, network=NetworkModel())
    view = play(scenario, tmp_path / "run")
    ages = [r.staleness for r in view.receipts if r.member == "Utsushi" and r.verdict == "INVALID"]
    assert ages and min(ages) >= 1
    assert "old-copy" in list_reasons(view, "Utsushi")
    assert set(list_reasons(view, "Utsushi")) <= {"busy", "old-copy", "no-work", "no-reply"}
    assert view.member("Utsushi").reward == 0 and view.member("Utsushi").slashed > 0
    assert not [c for c in list_reasons(view, "Aoba") if "copy" in c]
    assert all("Utsushi" not in row.included for row in view.rounds)
    assert verify_path(tmp_path / "run", score_rounds="all").is_ok


def test_codecs_with_memory_go_on_with_old_work(tmp_path: Path) -> None:
    codec = "ef|topk:density=0.2|int2"
    view = play(shrink(rounds=6, codec=codec, weighting="equal"), tmp_path / "run")
    assert any(r.staleness for r in view.receipts if r.reason_code == "counted")
    assert view.rounds[-1].accuracy_ppm > view.rounds[0].accuracy_ppm
    assert verify_path(tmp_path / "run").is_ok


def test_private_members_account_for_old_work_too(tmp_path: Path) -> None:
    scenario = shrink(rounds=5)
    privacy = {"mode": "local", "noise_multiplier_milli": 500}
    settings = {
        **scenario.settings,
        "privacy": privacy,
        "validation": {"permutations_max": 12, "work_z_milli": 0},
    }
    view = play(replace(scenario, settings=settings), tmp_path / "run")
    old = [r for r in view.receipts if r.staleness]
    assert old and all(r.epsilon_milli > 0 for r in old)
    assert verify_path(tmp_path / "run").is_ok


def test_a_killed_run_with_a_buffer_is_resumed_to_the_same_end(tmp_path: Path) -> None:
    """Three of four close a round: the fourth, and who comes a moment later, commit old work."""
    settings = {"training.rounds": "4", "training.buffer": "3", "training.staleness_max": "3"}
    task = write_task(tmp_path)
    whole = kumiai.run(task, tmp_path / "whole", settings)
    assert any(r.staleness for r in whole.receipts)
    flags = tuple(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))
    out, height = tmp_path / "run", count_records(tmp_path / "whole") // 2
    process = start(task, out, settings=flags)
    assert kill_at(process, out, height) or process.returncode == 0
    process = start(task, out, "--resume", settings=flags)
    _, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, complaints.decode()
    resumed = load_view(out)
    assert [c.hash for c in resumed.certificates] == [c.hash for c in whole.certificates]
    assert [r.hash for r in resumed.receipts] == [r.hash for r in whole.receipts]
    assert verify_path(out).is_ok
