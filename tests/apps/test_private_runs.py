"""Runs whose members train by DP-SGD: what is told, what is not, and what survives a stop."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch
from tests.apps.tiny import TASK, write_task

import kumiai
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.private_work import account_epsilon
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.adapters.store.log import SqliteLog
from kumiai.apps import rundir, wiring
from kumiai.apps.cli import main
from kumiai.apps.report import render_report
from kumiai.apps.verify import verify_path
from kumiai.apps.view import RunView
from kumiai.apps.workload import make_engine
from kumiai.base import events
from kumiai.base.errors import InputError
from kumiai.learning.privacy.accountant import compute_epsilon_milli
from kumiai.learning.recipe import build_recipe
from kumiai.nodes.ports import TrainJob
from kumiai.rounds.kinds import Kind
from kumiai.tasks.document import parse_task

PRIVATE = TASK + 'work_z_milli = 0\n[privacy]\nmode = "local"\nnoise_multiplier = 0.8\n'


def run(folder: Path, text: str = PRIVATE, name: str = "run") -> RunView:
    return kumiai.run(write_task(folder, text), folder / name)


def read_reveals(out: Path) -> list[dict]:
    with SqliteLog.open_readonly(out / "log.db") as log:
        return [
            {"by": r.event.pubkey, **events.read_content(r.event)}
            for r in log.read()
            if r.event.kind == Kind.REVEAL
        ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    return run(folder), folder / "run"


def test_a_private_run_ends_verifies_and_leaves_no_secret(finished):
    view, out = finished
    assert view.phase == "FINISHED"
    report = verify_path(out)
    assert report.is_ok, report.findings
    assert ("privacy", 10, True) in report.checks  # 4 members and the probe, 2 rounds
    assert not (out / "noise.key").exists()


def test_every_receipt_bears_the_epsilon_of_all_rounds_so_far(finished):
    view, out = finished
    trainers = [m for m in view.members if m.role == "trainer"]
    for member in trainers:
        for row in (r for r in view.receipts if r.member == member.name and r.round):
            receipt = json.loads((out / row.path).read_text())["receipt"]
            steps = row.round * 2 * -(-receipt["samples"] // 32)  # two epochs a round
            expected = compute_epsilon_milli(steps, 32, receipt["samples"], 0.8, 1e-5)
            assert receipt["epsilon_milli"] == expected == row.epsilon_milli
        assert member.epsilon_milli == max(
            r.epsilon_milli for r in view.receipts if r.member == member.name
        )
    assert all(m.epsilon_milli == 0 for m in view.members if m.role == "validator")


def test_no_loss_over_private_samples_is_told(finished):
    reveals = read_reveals(finished[1])
    assert len(reveals) == 10
    assert {r["loss_ppm"] for r in reveals} == {0}
    assert all(r["epsilon_milli"] > 0 for r in reveals)


def test_noise_is_no_function_of_the_task(finished, tmp_path):
    """Same task, same seed, same members: without the secret nobody gets the same updates."""
    again = read_reveals((run(tmp_path), tmp_path / "run")[1])
    honest = {r["blob"] for r in read_reveals(finished[1]) if r["samples"] != 300}
    assert len(honest) == 8
    assert not honest & {r["blob"] for r in again}


def test_a_stopped_run_goes_on_with_the_same_noise(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir.os, "urandom", lambda count: bytes(range(count)))
    whole = run(tmp_path, name="whole")

    def stop_in_round_two(event):
        if event.kind == "phase" and event.round == 2:
            raise KeyboardInterrupt

    path, out = write_task(tmp_path, PRIVATE), tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        wiring.run_task(path, {}, out, False, stop_in_round_two)
    key = out / "noise.key"
    assert key.read_bytes() == bytes(range(32))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    monkeypatch.setattr(rundir.os, "urandom", bytes)
    resumed = wiring.run_task(path, {}, out, True, lambda event: None)
    assert [c.model_digest for c in resumed.certificates] == [
        c.model_digest for c in whole.certificates
    ]
    assert [r.hash for r in resumed.receipts] == [r.hash for r in whole.receipts]
    assert not key.exists()


def test_other_data_or_another_model_gets_other_noise():
    """Equal noise on two results would cancel in their difference."""
    task = parse_task(PRIVATE)
    recipe = build_recipe("mlp", {"hidden": 4}, (1_000_000,), (6,), 3)
    engine = make_engine(task, recipe)

    def key(features, job):
        shard = (torch.full((5, 6), features), torch.zeros(5, dtype=torch.int64))
        compute = EngineCompute(
            task, recipe, engine, MemoryBlobs(), {"m": shard}, {}, noise_secrets={"m": bytes(32)}
        )
        return compute._noise.derive_key(job)

    first = TrainJob(1, "m", "aa", 7)
    keys = [
        key(0.0, first),
        key(1.0, first),
        key(0.0, TrainJob(1, "m", "bb", 7)),
        key(0.0, TrainJob(1, "m", "aa", 8)),
    ]
    assert len(set(keys)) == 4
    assert key(0.0, first) == keys[0]


def test_verify_finds_who_claims_less_than_its_iterations_give(tmp_path, monkeypatch):
    true = EngineCompute.claim_epsilon
    monkeypatch.setattr(EngineCompute, "claim_epsilon", lambda *a: true(*a) // 2)
    run(tmp_path)
    report = verify_path(tmp_path / "run")
    told = [f for f in report.findings if "milli-epsilon" in f.what]
    assert not report.is_ok and len(told) == 10
    assert "claims" in told[0].what and "iterations give" in told[0].what


def test_report_and_inspection_show_epsilon_in_both_languages(finished, capsys):
    view, out = finished
    member = next(m for m in view.members if m.role == "trainer")
    shown = f"{-(-member.epsilon_milli // 10) / 100:.2f}"
    page = render_report(view)
    assert f'<td class="num">{shown}</td>' in page
    assert "Epsilon (claimed)" in page and "イプシロン（申告）" in page
    assert "Members trained with differential privacy" in page
    for lang, word in (("en", "privacy spent so far"), ("ja", "プライバシー消費")):
        assert main(["inspect", str(out), "--member", member.name, "--lang", lang]) in (0, None)
        text = capsys.readouterr().out
        assert word in text and shown in text


def test_a_run_without_privacy_claims_none(tmp_path):
    view = run(tmp_path, TASK)
    assert {r["epsilon_milli"] for r in read_reveals(tmp_path / "run")} == {0}
    assert "Epsilon (claimed)" not in render_report(view)
    assert not (tmp_path / "run" / "noise.key").exists()


@pytest.mark.parametrize(
    ("old", "new", "field", "fix"),
    [
        ("multiplier = 0.8", "multiplier = 0", "privacy.noise_multiplier_milli", "at least 1"),
        ("multiplier = 0.8", "multiplier = -1", "privacy.noise_multiplier_milli", "at least 0"),
        ('"local"\n', '"local"\nclip_norm = 0\n', "privacy.clip_norm_ppm", "at least 1"),
        ('"local"\n', '"local"\ndelta = 0\n', "privacy.delta_ppb", "between 1 and 999999999"),
        ('"local"\n', '"local"\ndelta = 1\n', "privacy.delta_ppb", "between 1 and 999999999"),
        ('"local"\n', '"local"\ndelta = 2\n', "privacy.delta_ppb", "at most 1000000000"),
        ('"local"', '"central"', "privacy.mode", "must be one of"),
        ('"inline"', '"vectorised"', "training.backend", '"auto" or "inline"'),
        ('"inline"', '"process"', "training.backend", '"auto" or "inline"'),
    ],
)
def test_what_cannot_protect_is_refused_by_field_value_and_fix(old, new, field, fix):
    assert old in PRIVATE
    with pytest.raises(InputError) as caught:
        parse_task(PRIVATE.replace(old, new))
    assert caught.value.field_name == field
    assert fix in caught.value.fix


def test_batch_normalisation_is_refused_at_the_door(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def recipe(width):\n"
        "    n = max(1, round(16 * width))\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, n), nn.BatchNorm1d(n),"
        " nn.ReLU(), nn.Linear(n, 10))\n"
    )
    text = PRIVATE.replace('recipe = "mlp"', 'recipe = "mine.py:recipe"')
    text = text.replace("options = { hidden = 16 }\n", "")
    with pytest.raises(InputError, match="BatchNorm1d") as caught:
        run(tmp_path, text)
    assert caught.value.field_name == "privacy.mode"


def test_epsilon_of_nothing_is_nothing():
    assert account_epsilon(parse_task(TASK), 100, 50) == 0
    assert account_epsilon(parse_task(PRIVATE), 0, 50) == 0
