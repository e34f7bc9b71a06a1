"""Whole audited runs on digits: fakers are caught and pay for it, honest members are not blamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.apps.tiny import play, shrink

from kumiai.adapters.store.blobs import DirectoryBlobs
from kumiai.apps import audit
from kumiai.apps.audit.replays import check_replays
from kumiai.apps.casts import VALIDATORS, make_people
from kumiai.apps.population import Person
from kumiai.apps.rundir import RunDir
from kumiai.apps.scenarios import Scenario
from kumiai.apps.verify import VerifyReport, verify_path
from kumiai.apps.view import RunView
from kumiai.base.errors import InputError
from kumiai.nodes.auditing import make_target
from kumiai.rounds.state import RunState
from kumiai.tasks.document import task_from_mapping

pytestmark = pytest.mark.slow

Change = Callable[[Scenario], Scenario]


def audited(
    *cheats: Person, rounds: int = 2, behaviours: dict[str, str] | None = None, **terms: object
) -> Scenario:
    """The faker's scenario with other cheats and terms. behaviours: of validators, by name."""
    scenario = shrink("faker", rounds)
    people = tuple(
        replace(person, behaviour=(behaviours or {}).get(person.name, person.behaviour))
        for person in make_people(*cheats, honest=3, canary=False)
    )
    known = scenario.settings["audit"]
    assert isinstance(known, dict)
    settings = {**scenario.settings, "audit": {**known, **terms}}
    return replace(scenario, settings=settings, people=people)


def reasons(view: RunView, name: str) -> list[str]:
    return [r.reason_code for r in view.receipts if r.member == name and r.round > 0]


def find(view: RunView, name: str):  # type: ignore[no-untyped-def]
    return next(member for member in view.members if member.name == name)


def check_honest(view: RunView) -> None:
    """No honest trainer is blamed, whatever happens beside it."""
    for member in view.members:
        if member.role == "trainer" and not member.behaviour:
            assert "fabricated" not in reasons(view, member.name)
            assert "unproven" not in reasons(view, member.name)
            assert member.reward > 0


@pytest.fixture(scope="module")
def faker_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunView, Path]:
    out = tmp_path_factory.mktemp("audited") / "faker"
    return play(audited(Person("Mekki", "trainer", "faker"), rounds=3), out), out


def test_a_faker_is_caught_slashed_and_loses_the_pay_held_back(
    faker_run: tuple[RunView, Path],
) -> None:
    view, _ = faker_run
    assert "fabricated" in reasons(view, "Mekki")
    assert view.totals["burnt"] > 0
    last = [r.reason_code for r in view.receipts if r.member == "Mekki" and r.round == 0]
    assert last == ["final-convicted"]
    check_honest(view)


def test_verify_replays_the_audits_and_agrees(faker_run: tuple[RunView, Path]) -> None:
    report = verify_path(faker_run[1])
    assert report.findings == []
    (count,) = [count for name, count, _ in report.checks if name == "replays"]
    assert count >= 9


def open_subject(out: Path) -> tuple[audit.Subject, VerifyReport]:
    report, run_dir = VerifyReport(), RunDir(out)
    replay = audit.replay_log(run_dir, report.error)
    return audit.Subject(run_dir, replay, report, DirectoryBlobs(run_dir.blobs)), report


def test_verify_finds_a_certified_verdict_that_its_replay_refutes(
    faker_run: tuple[RunView, Path],
) -> None:
    """As if all auditors had approved a fake: the committee's word is not what the bits say."""
    subject, report = open_subject(faker_run[1])
    for index, current in subject.replay.rounds.items():
        sheets = {
            key: replace(
                sheet, audits=tuple(replace(a, verdict=a.verdict.VALID) for a in sheet.audits)
            )
            for key, sheet in current.score_sheets.items()
        }
        words = replace(current.audits, accused=(), words={})
        subject.replay.rounds[index] = replace(current, score_sheets=sheets, audits=words)
    check_replays(subject)
    assert any(
        "Mekki's trace was certified VALID, its replay gives INVALID" in found.what
        for found in report.findings
    )


def test_the_log_alone_says_what_is_replayed(faker_run: tuple[RunView, Path]) -> None:
    """A verifier asks for exactly what the validators were asked for."""
    subject, _ = open_subject(faker_run[1])
    state: RunState = subject.replay.state
    for current in subject.replay.rounds.values():
        for challenge in current.audits.challenges:
            target = make_target(state.task_id, current, challenge, state.shards, 5)
            assert target.shard == state.shards[challenge.member]
            assert {0, *challenge.segments} <= {index for index, _ in target.leaves}


@pytest.mark.parametrize(
    "behaviour", ["skipper", "stale", "spoofer", "grinder", "poisoner", "fabricator"]
)
def test_each_attack_on_a_trace_is_fabrication(behaviour: str, tmp_path: Path) -> None:
    view = play(audited(Person("Mekki", "trainer", behaviour), rounds=1), tmp_path / "run")
    assert reasons(view, "Mekki") == ["fabricated"]
    assert find(view, "Mekki").reward == 0
    assert view.totals["burnt"] > 0
    check_honest(view)


def test_copying_a_trace_is_fabrication(tmp_path: Path) -> None:
    scenario = audited(Person("Mekki", "trainer", "trace-copier"), rounds=1)
    view = play(replace(scenario, victims={"Mekki": "Aoba"}), tmp_path / "run")
    assert reasons(view, "Mekki") == ["fabricated"]
    check_honest(view)


def test_withholding_costs_the_round_and_no_stake(tmp_path: Path) -> None:
    view = play(audited(Person("Kakushi", "trainer", "withholder"), rounds=1), tmp_path / "run")
    assert reasons(view, "Kakushi") == ["withheld"]
    assert view.totals["burnt"] == 0
    check_honest(view)


def test_who_has_no_trace_cannot_reveal(tmp_path: Path) -> None:
    view = play(audited(Person("Rakuda", "trainer", "free-rider"), rounds=1), tmp_path / "run")
    assert reasons(view, "Rakuda") == ["late"]
    check_honest(view)


def test_a_lazy_auditor_approves_a_fake_and_loses_stake(tmp_path: Path) -> None:
    scenario = audited(
        Person("Mekki", "trainer", "fabricator"),
        rounds=1,
        behaviours={VALIDATORS[3]: "lazy-auditor"},
        auditors=4,
    )
    view = play(scenario, tmp_path / "run")
    assert reasons(view, "Mekki") == ["fabricated"]
    assert find(view, VALIDATORS[3]).reward == 0
    assert find(view, VALIDATORS[3]).reason_code == "final-refuted"
    assert view.totals["burnt"] > 100  # the faker's and the auditor's
    check_honest(view)


def test_a_colluding_auditor_is_overruled_by_a_re_audit(tmp_path: Path) -> None:
    scenario = audited(
        Person("Mekki", "trainer", "fabricator"),
        rounds=2,
        behaviours=dict.fromkeys(VALIDATORS[3:], "colluding-auditor"),
        auditors=3,
        reaudit_ppm=1_000_000,
    )
    view = play(scenario, tmp_path / "run")
    assert set(reasons(view, "Mekki")) == {"fabricated"}
    assert find(view, VALIDATORS[3]).reward < find(view, VALIDATORS[0]).reward
    check_honest(view)


def test_false_accusations_convict_nobody(tmp_path: Path) -> None:
    scenario = audited(rounds=1, behaviours={VALIDATORS[0]: "false-accuser"}, auditors=4)
    view = play(scenario, tmp_path / "run")
    assert view.totals["burnt"] == 0
    check_honest(view)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("data", "mode", "private"),
        ("training", "codec", "ef|topk:density=0.1|int2"),
        ("training", "algorithm", "scaffold"),
        ("training", "backend", "process"),
        ("validation", "canaries", 1),
        ("model_rewards", "policy", "aequa-live"),
        ("audit", "auditors", 9),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_field_and_fix(
    section: str, field: str, value: object
) -> None:
    settings: dict[str, dict[str, object]] = {
        "data": {"mode": "assigned"},
        "validation": {"canaries": 0},
        "audit": {"mode": "replay"},
    }
    settings[section] = {**settings.get(section, {}), field: value}
    with pytest.raises(InputError) as found:
        task_from_mapping({"name": "x", **settings})
    assert f"{section}.{field}" in str(found.value)
