"""Whole runs whose recipe has each member trained by two processes: as good, and verified."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from tests.apps.tiny import TASK, write_task

import kumiai
from kumiai.adapters.compute.execution.parallel import ParallelBackend
from kumiai.adapters.compute.execution.process import WorkerError
from kumiai.apps.verify import verify_path
from kumiai.base.errors import InputError

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "40_parallel"

RECIPE = """\
from torch import nn

parallel = "{mode}"


def build(width):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""
OWN = TASK.replace(
    'recipe = "mlp"\noptions = { hidden = 16 }',
    'recipe = "own.py:build"\nwidths_ppm = [1000000]',
).replace('backend = "inline"', 'backend = "inline"\nslim = false')


def play(folder: Path, mode: str, name: str = "run", **options: bool) -> kumiai.RunView:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.py").write_text(RECIPE.format(mode=mode), encoding="utf-8")
    return kumiai.run(write_task(folder, OWN), folder / name, **options)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> kumiai.RunView:
    return play(tmp_path_factory.mktemp("none"), "none")


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_a_run_is_as_good_as_inline_and_verifies(tmp_path, plain, mode):
    view = play(tmp_path, mode)
    assert view.phase == plain.phase == "FINISHED"
    assert f"{mode} over 2 processes" in view.environment["engine"]
    assert "inline" in plain.environment["engine"]
    final, expected = view.rounds[-1].accuracy_ppm, plain.rounds[-1].accuracy_ppm
    assert expected > 500_000
    assert abs(final - expected) <= 5_000  # two samples of the test part: rounding, no more
    report = verify_path(tmp_path / "run")
    assert report.is_ok, report.findings


def test_the_same_run_twice_is_the_same_bytes(tmp_path):
    one, two = (play(tmp_path, "fsdp", name) for name in ("one", "two"))
    assert [c.hash for c in one.certificates] == [c.hash for c in two.certificates]


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_a_run_goes_on_after_a_process_was_killed(tmp_path, monkeypatch, mode):
    expected = play(tmp_path, mode, "whole").certificates
    train, rounds = ParallelBackend.train, []

    def train_and_kill(self, *arguments):
        rounds.append(1)
        if len(rounds) == 2:
            os.kill(self.worker_pids[1], signal.SIGKILL)
        return train(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ParallelBackend, "train", train_and_kill)
        with pytest.raises(WorkerError, match="run the round again"):
            play(tmp_path, mode, "killed")
    assert len(rounds) == 2
    resumed = play(tmp_path, mode, "killed", resume=True).certificates
    assert [c.hash for c in resumed] == [c.hash for c in expected]


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"training.optimizer": "muon"}, r"training\.optimizer = 'muon'"),
        ({"privacy.mode": "local"}, r"privacy\.mode = 'local'"),
        ({"training.slim": "true", "model.widths_ppm": "[500000,1000000]"}, r"training\.slim"),
    ],
)
def test_settings_that_do_not_go_with_it_are_named_before_the_run(tmp_path, overrides, field):
    narrowing = RECIPE.format(mode="fsdp").replace("16", "round(16 * width)")
    (tmp_path / "own.py").write_text(narrowing, encoding="utf-8")
    with pytest.raises(InputError, match=field):
        kumiai.run(write_task(tmp_path, OWN), tmp_path / "run", overrides)


def test_a_built_in_recipe_takes_it_as_options(tmp_path):
    text = TASK.replace("hidden = 16", 'hidden = 16, parallel = "ddp", parallel_processes = 2')
    view = kumiai.run(write_task(tmp_path, text), tmp_path / "run", {"training.rounds": "1"})
    assert "ddp over 2 processes" in view.environment["engine"]
    bad = text.replace('"ddp"', '"both"')
    with pytest.raises(InputError, match=r"model\.recipe = 'mlp': .*parallel = 'both'"):
        kumiai.run(write_task(tmp_path, bad), tmp_path / "bad")


def test_the_example_runs(tmp_path):
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder)
    view = kumiai.run(folder / "task.toml", tmp_path / "run")
    assert view.phase == "FINISHED"
    assert "fsdp over 2 processes" in view.environment["engine"]
    assert view.rounds[-1].accuracy_ppm > 700_000
    assert verify_path(tmp_path / "run").is_ok
