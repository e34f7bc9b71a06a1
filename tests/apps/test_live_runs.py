"""Whole runs with aequa-live: widths in every round, verified; who reaches further is caught."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tests.apps.test_resume import WAIT_S, count_records, kill_at, start
from tests.apps.tiny import play, write_task

import kumiai
from kumiai.adapters.store.blobs import DirectoryBlobs
from kumiai.apps import audit
from kumiai.apps.audit import widths as audit_widths
from kumiai.apps.cli.tables import build_member_table
from kumiai.apps.report.texts import load_texts
from kumiai.apps.rundir import RunDir
from kumiai.apps.scenarios import SCENARIOS, Scenario
from kumiai.apps.verify import VerifyReport, verify_path
from kumiai.apps.view import RunView, load_view, save_view
from kumiai.learning import fixed_point
from kumiai.proofs import flags as flag

PPM = 1_000_000
SETTINGS = {
    "training.rounds": "3",
    "data.partition": "quantity",
    "data.trainers": "5",
    "model_rewards.policy": "aequa-live",
}


def shrink(rounds: int = 3) -> Scenario:
    scenario = SCENARIOS["aequa-live"]
    settings = dict(scenario.settings)
    training = settings["training"]
    assert isinstance(training, dict)
    settings["training"] = {**training, "rounds": rounds, "backend": "inline"}
    settings["validation"] = {"permutations_max": 12}
    return replace(scenario, settings=settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "run"
    play(shrink(), path)
    return path


@pytest.fixture(scope="module")
def view(folder: Path) -> RunView:
    return load_view(folder)


def read_subject(folder: Path) -> tuple[audit.Subject, VerifyReport]:
    report = VerifyReport()
    replay = audit.replay_log(RunDir(folder), report.error)
    return audit.Subject(RunDir(folder), replay, report, DirectoryBlobs(folder / "blobs")), report


def test_widths_begin_full_and_follow_the_contributions(view: RunView) -> None:
    honest = [m for m in view.members if m.role == "trainer" and not m.behaviour]
    assert all(m.round_widths_ppm[0] == PPM for m in honest)
    for number in (2, 3):
        before = view.rounds[: number - 1]
        values = {m.name: sum(row.values[m.name] for row in before) for m in honest}
        ordered = sorted(honest, key=lambda m: values[m.name])
        given = [m.round_widths_ppm[number - 1] for m in ordered]
        assert given == sorted(given) and given[-1] == PPM and given[0] == 250_000
    assert len({m.width_ppm for m in honest}) > 1


def test_the_folder_verifies_and_counts_every_update(folder: Path) -> None:
    report = verify_path(folder)
    assert report.is_ok and not report.findings, report.findings
    subject, _ = read_subject(folder)
    revealed = sum(len(found.revealed) for found in subject.replay.rounds.values())
    assert ("aggregate", 3 + revealed, True) in report.checks


def test_who_trains_beyond_its_width_is_refused_with_the_reason(view: RunView) -> None:
    (cheat,) = [m for m in view.members if m.behaviour == "overreach"]
    assert cheat.round_verdicts[0] == "VALID"  # all are full at first
    narrow = [w < PPM for w in cheat.round_widths_ppm]
    assert any(narrow)
    receipts = [r for r in view.receipts if r.member == cheat.name and r.round > 0]
    for receipt, is_narrow in zip(receipts, narrow, strict=True):
        if is_narrow:
            assert (receipt.verdict, receipt.reason_code) == ("INVALID", "outside")
            assert receipt.amount == 0
    assert cheat.name not in view.rounds[-1].included


def test_updates_are_zero_outside_of_the_width_in_the_receipt(folder: Path) -> None:
    subject, _ = read_subject(folder)
    compute = audit_widths.open_compute(subject, {})
    size, seen = compute.engine.layout.size, set()
    for found in subject.replay.rounds.values():
        for key, _, _ in found.included:
            given = found.assignments[key]
            data = subject.blobs.get(given.blob, 10**7)
            update_P = fixed_point.decode_vector("update", data, size)
            levels_P = compute._nesting.levels_P
            place = subject.replay.state.task.model.widths_ppm.index(given.width_ppm)
            assert not np.any(update_P[levels_P > place])
            seen.add(given.width_ppm)
    assert len(seen) >= 3


def test_verify_finds_a_committee_that_let_an_update_through_or_blamed_one_for_nothing(
    folder: Path,
) -> None:
    """As if the committee had judged otherwise: the widths alone, without any hold-out, say no."""
    for reason, changed, words in (
        ("outside", "counted", "changes the model outside of"),
        ("counted", "outside", "stays within"),
    ):
        subject, report = read_subject(folder)
        current = subject.replay.rounds[2]
        judgements = list(current.judgements)
        place = next(i for i, j in enumerate(judgements) if j.reason == reason)
        judgements[place] = replace(judgements[place], reason=changed)
        subject.replay.rounds[2] = replace(current, judgements=tuple(judgements))
        audit_widths.check_widths(subject)
        (finding,) = report.findings
        assert finding.where == "round 2" and words in finding.what


def test_every_validator_saw_it_and_the_flag_is_recomputed(folder: Path) -> None:
    subject, _ = read_subject(folder)
    current = subject.replay.rounds[2]
    names = [subject.replay.state.members[key].name for key in current.revealed]
    place = names.index("Hamidashi")
    for sheet in current.score_sheets.values():
        assert sheet.lines[place][3] == flag.OUTSIDE


def test_delivered_models_are_cut_to_the_final_width(folder: Path, view: RunView) -> None:
    for member in view.members:
        if member.role != "trainer" or not member.width_ppm:
            continue
        tensors = load_file(folder / member.model_path)
        hidden = max(tensor.shape[0] for name, tensor in tensors.items() if tensor.dim() == 2)
        assert hidden == max(10, 64 * member.width_ppm // PPM)


@pytest.mark.parametrize(
    ("language", "words"), [("en", "worked in that round"), ("ja", "参加者が受け持ったモデルの幅")]
)
def test_page_and_table_show_the_widths_and_what_they_do_not_hide(
    folder: Path, view: RunView, tmp_path: Path, language: str, words: str
) -> None:
    page = (folder / "report.html").read_text()
    assert words in page and '<small class="given">25%</small>' in page
    texts = load_texts(language)
    for columns in (80, 150):
        console = Console(record=True, width=columns, file=io.StringIO())
        console.print(build_member_table(view, texts, columns))
        assert "100→" in console.export_text()
    save_view(view, tmp_path)
    assert load_view(tmp_path) == view


def test_other_policies_show_none_of_it(tmp_path: Path) -> None:
    found = kumiai.run(
        write_task(tmp_path), tmp_path / "run", {**SETTINGS, "model_rewards.policy": "rank"}
    )
    assert all(not m.round_widths_ppm for m in found.members)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "worked in that round" not in page and 'class="given"' not in page
    assert all(r.width_ppm == 0 for r in found.receipts if r.round > 0)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_certificates(tmp_path: Path) -> None:
    whole = kumiai.run(write_task(tmp_path), tmp_path / "whole", SETTINGS)
    words = [word for k, v in SETTINGS.items() for word in ("--set", f"{k}={v}")]
    out = tmp_path / "again"
    last = count_records(tmp_path / "whole")
    process = start(tmp_path / "task.toml", out, settings=tuple(words))
    assert kill_at(process, out, random.Random(2).randrange(last // 2, last - 5))
    process = start(tmp_path / "task.toml", out, "--resume", settings=tuple(words))
    _, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, complaints.decode()
    again = load_view(out)
    assert [c.hash for c in again.certificates] == [c.hash for c in whole.certificates]
    assert [m.round_widths_ppm for m in again.members] == [
        m.round_widths_ppm for m in whole.members
    ]
    assert verify_path(out).is_ok
    torch.set_num_threads(1)
