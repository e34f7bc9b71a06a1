"""Whole runs on digits in which validators write zeros or repeat: they lose, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.apps.tiny import play, shrink, write_task

from kumiai.adapters.compute import rechecked as room
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.store.blobs import DirectoryBlobs
from kumiai.apps import audit, wiring
from kumiai.apps.audit.compute import open_compute
from kumiai.apps.audit.rechecks import check_rechecks
from kumiai.apps.audit.scores import read_holdouts
from kumiai.apps.casts import VALIDATORS, make_people
from kumiai.apps.population import Person
from kumiai.apps.rundir import RunDir
from kumiai.apps.scenarios import Scenario
from kumiai.apps.verify import VerifyReport, verify_path
from kumiai.apps.view import RunView
from kumiai.base.amounts import PPM
from kumiai.nodes import ports
from kumiai.nodes.jobs import make_score_job
from kumiai.nodes.rechecking import read_sheet
from kumiai.rounds.opened import Ballot
from kumiai.rounds.rechecks import conclude, find_convicted
from kumiai.tasks.sections import ValidationSection

pytestmark = pytest.mark.slow

MORE = ("Ougi", "Pine", "Quince")
LIARS = {"Pine": "zeros", "Quince": "echo"}


def rechecked(rounds: int = 4, **terms: object) -> Scenario:
    """Four honest trainers and seven validators, of whom one writes zeros and one repeats.

    All sheets are drawn: a liar gets away only where the other one rechecks it every time.
    """
    scenario = shrink("honest", rounds)
    judges = tuple(Person(name, "validator", LIARS.get(name, ""), stake=600) for name in MORE)
    known = scenario.settings["validation"]
    assert isinstance(known, dict)
    validation = {**known, "validators": 7, "recheck_ppm": PPM, **terms}
    data = scenario.settings.get("data", {})
    assert isinstance(data, dict)
    settings = {
        **scenario.settings,
        "validation": validation,
        "data": {**data, "trainers": 4, "options": {"samples": 1500}},
    }
    return replace(scenario, settings=settings, people=(*make_people(honest=4), *judges))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunView, Path]:
    out = tmp_path_factory.mktemp("rechecked") / "run"
    return play(rechecked(), out), out


def open_subject(out: Path) -> tuple[audit.Subject, VerifyReport]:
    report, run_dir = VerifyReport(), RunDir(out)
    replay = audit.replay_log(run_dir, report.error)
    return audit.Subject(run_dir, replay, report, DirectoryBlobs(run_dir.blobs)), report


def test_zeros_and_echoes_lose_what_was_held_back_and_nobody_else_does(
    run: tuple[RunView, Path],
) -> None:
    view, _ = run
    last = {r.member: (r.reason_code, r.amount) for r in view.receipts if r.round == 0}
    assert {last[name] for name in LIARS} == {("false-scores", 0)}
    for name in (*VALIDATORS, "Ougi"):
        assert last[name][0] == "final-validator" and last[name][1] > 0
    assert all(member.slashed == 0 for member in view.members if member.role == "validator")
    least = min(view.member(name).reward for name in (*VALIDATORS, "Ougi"))
    assert max(view.member(name).reward for name in LIARS) * 4 < least


def test_verify_recomputes_the_convictions_and_agrees(run: tuple[RunView, Path]) -> None:
    report = verify_path(run[1])
    assert [f for f in report.findings if f.severity == "error"] == []
    (count,) = [count for name, count, _ in report.checks if name == "rechecks"]
    assert count >= 2


def test_verify_finds_a_conviction_that_the_hold_out_refutes(run: tuple[RunView, Path]) -> None:
    """As if six of seven had called an honest sheet false."""
    subject, report = open_subject(run[1])
    replay = subject.replay
    (index,) = [i for i, current in replay.rounds.items() if current.rechecks.drawn]
    current = replay.rounds[index]
    judge = next(key for key, m in replay.state.members.items() if m.name == VALIDATORS[0])
    sheet = (1, judge)
    others = [key for key in current.committee if key != judge]
    ballots = {key: Ballot(frozenset({sheet}), frozenset()) for key in others[1:]}
    lie = replace(
        current.rechecks,
        drawn={**current.rechecks.drawn, sheet: others[0]},
        accused=(sheet,),
        ballots=ballots,
    )
    forged = replace(current, rechecks=lie)
    assert find_convicted(forged) == {judge}
    replay.rounds[index] = forged
    assert check_rechecks(subject) == 1
    (finding,) = report.findings
    assert finding.severity == "error" and VALIDATORS[0] in finding.what


def test_verify_notes_a_false_sheet_that_a_quorum_approved(run: tuple[RunView, Path]) -> None:
    subject, report = open_subject(run[1])
    replay = subject.replay
    (index,) = [i for i, current in replay.rounds.items() if current.rechecks.accused]
    current = replay.rounds[index]
    sheet = current.rechecks.accused[0]
    approving = {
        key: Ballot(frozenset(), frozenset({sheet}))
        for key in current.committee
        if key not in (sheet[1], current.rechecks.drawn[sheet])
    }
    lie = replace(current.rechecks, accused=(sheet,), ballots=approving)
    replay.rounds[index] = replace(current, rechecks=lie)
    assert conclude(replay.rounds[index], sheet) is False
    check_rechecks(subject)
    (finding,) = report.findings
    assert finding.severity == "note" and "a quorum approved them" in finding.what


def make_jobs(subject: audit.Subject) -> list[ports.RecheckJob]:
    """All sheets of the first round, as one validator would be asked for them."""
    state, current = subject.replay.state, subject.replay.rounds[1]
    model, _, previous = subject.replay.models_before[1]
    blobs = dict(zip(state.holdouts.owners, state.holdout_blobs, strict=True))
    targets = tuple(
        ports.RecheckTarget(
            make_score_job(current, key, model, previous), blobs[key], read_sheet(sheet)
        )
        for key, sheet in sorted(current.score_sheets.items())
    )
    return [ports.RecheckJob(5, "somebody", targets)]


def find_false(subject: audit.Subject, compute: EngineCompute) -> set[str]:
    (result,) = compute.recheck(make_jobs(subject))
    names = {key: member.name for key, member in subject.replay.state.members.items()}
    return {names[author] for _, author, is_false in result.lines if is_false}


def test_a_machine_that_did_not_score_finds_the_same(run: tuple[RunView, Path]) -> None:
    """Nothing is recognised there: every sheet is computed from blobs alone."""
    subject, _ = open_subject(run[1])
    assert find_false(subject, open_compute(subject, {})) == set(LIARS)


def test_what_a_process_has_scored_itself_counts_on_the_same_data_only(
    run: tuple[RunView, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, _ = open_subject(run[1])
    holdouts = read_holdouts(subject)
    compute = open_compute(subject, holdouts)
    (asked,) = make_jobs(subject)
    compute.score([target.job for target in asked.targets])
    scored: list[int] = []
    original = room.score_round

    def count(task, measure, decoded, jobs, *more):  # type: ignore[no-untyped-def]
        scored.append(len(jobs))
        return original(task, measure, decoded, jobs, *more)

    monkeypatch.setattr(room, "score_round", count)
    assert find_false(subject, compute) == set(LIARS)
    assert scored == []  # all were recognised
    swapped = {key: holdouts[other] for key, other in zip(holdouts, [*holdouts][1:], strict=False)}
    other = open_compute(subject, {**holdouts, **swapped})
    other.score([target.job for target in asked.targets])
    assert find_false(subject, other) == set(LIARS)
    assert sum(scored) == len(swapped)  # on other data than was opened it must compute


def test_about_an_unreadable_hold_out_nothing_is_said(run: tuple[RunView, Path]) -> None:
    subject, _ = open_subject(run[1])
    (asked,) = make_jobs(subject)
    first, *rest = asked.targets
    broken = subject.blobs.put(b"no tensors")
    job = replace(asked, targets=(replace(first, holdout=broken), *rest))
    (result,) = open_compute(subject, {}).recheck([job])
    assert first.job.validator not in {author for _, author, _ in result.lines}
    assert len(result.lines) == len(rest)


def test_the_default_share_finds_them_too(tmp_path: Path) -> None:
    """Of twelve sheets of each: that none is seen by an honest rechecker has chance 0.5 ** 12."""
    default = ValidationSection().recheck_ppm
    view = play(rechecked(rounds=12, recheck_ppm=default), tmp_path / "run")
    last = {r.member: r.reason_code for r in view.receipts if r.round == 0}
    assert {name for name, reason in last.items() if reason == "false-scores"} == set(LIARS)


KINDS: dict[str, dict[str, str]] = {
    "secure": {
        "privacy.mode": "secure",
        "privacy.group_size": "3",
        "data.trainers": "6",
        "training.weighting": "equal",
        "validation.canaries": "0",
    },
    "private": {"privacy.mode": "local", "validation.work_z_milli": "0"},
    "directions": {"validation.valuation": "cosine"},
    "root": {"training.aggregator": "trust_root"},
    "fragments": {"training.fragments": "2", "training.codec": "ef|topk:density=0.2|int8"},
    "widths": {"model_rewards.policy": "aequa-live"},
    "compete": {"mode": "compete"},
    "committee": {"validation.ordering": "committee"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_verify_can_recompute_can_be_rechecked(kind: str, tmp_path: Path) -> None:
    """One of four has never looked, so its sheets are computed in the run, from blobs alone."""
    settings = {**KINDS[kind], "validation.recheck_ppm": str(PPM)}
    path = write_task(tmp_path)
    task = wiring.read_task(path, settings)
    casting = wiring.cast_locally(task)
    people = tuple(
        replace(person, behaviour="lazy") if person.name == "validator-4" else person
        for person in casting.people
    )
    view = wiring.run_local(
        task,
        replace(casting, people=people),
        tmp_path / "run",
        lambda event: None,
        resume=False,
        base_dir=tmp_path,
    )
    last = {r.member: r.reason_code for r in view.receipts if r.round == 0}
    judges = {name: reason for name, reason in last.items() if name.startswith("validator")}
    assert judges.pop("validator-4") == "false-scores"
    assert set(judges.values()) == {"final-validator"}
    report = verify_path(tmp_path / "run")
    assert report.is_ok
    (count,) = [count for name, count, _ in report.checks if name == "rechecks"]
    assert count > 0
