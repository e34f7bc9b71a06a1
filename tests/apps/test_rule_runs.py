"""Whole runs on digits under every learning rule: they learn, and anyone can recompute them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.apps.tiny import TASK, write_task

import kumiai
from kumiai.apps.cli import main
from kumiai.apps.verify import verify_path
from kumiai.apps.view import RunView
from kumiai.base.errors import InputError

ROUNDS = 6
LEARNT_PPM = 400_000  # four times chance: any new field changes the task's id, and so the seeds

RULES = {
    "fedavg": {},
    "fednova": {"algorithm": "fednova", "momentum": "0.5"},
    "fednova-adam": {
        "algorithm": "fednova",
        "server_optimizer": "adam",
        "server_learning_rate": "0.05",
    },
    "scaffold": {"algorithm": "scaffold"},
    "scaffold-everything": {
        "algorithm": "scaffold",
        "server_optimizer": "yogi",
        "server_learning_rate": "0.05",
        "lr_schedule": "cosine",
        "codec": "ef|topk:density=0.2|int8",
        "backend": "vectorised",
    },
    "muon": {"optimizer": "muon", "learning_rate": "0.02"},
    "muloco": {"algorithm": "diloco", "optimizer": "muon", "learning_rate": "0.02"},
    # the papers' local work and codec; the outer step is the plain mean, without momentum
    "sparseloco": {
        "algorithm": "diloco",
        "learning_rate": "0.01",
        "server_optimizer": "sgd",
        "server_momentum": "0",
        "server_learning_rate": "1",
        "codec": "ef:decay=0.95|topk:density=0.1|int2",
    },
    # a reduction of DeMo: its codec and decay, but no sign of the combined step
    "demo-codec": {"codec": "ef:decay=0.999|dct:chunk=64|topk:density=0.1"},
    "streaming-diloco": {
        "algorithm": "diloco",
        "learning_rate": "0.01",
        "fragments": "3",
        "codec": "ef|int4",
    },
    "streaming-trust-root": {"fragments": "2", "aggregator": "trust_root"},
    "cosine": {"lr_schedule": "cosine", "lr_warmup_rounds": "1", "learning_rate": "0.4"},
    "linear": {"lr_schedule": "linear", "learning_rate": "0.4"},
    "step": {"lr_schedule": "step", "lr_step_rounds": "3", "learning_rate": "0.3"},
    "nesterov": {"server_optimizer": "nesterov", "server_momentum": "0.5"},
    "adagrad": {
        "server_optimizer": "adagrad",
        "server_learning_rate": "0.1",
        "server_beta_mean": "0",
    },
    "yogi": {"server_optimizer": "yogi", "server_learning_rate": "0.05"},
    "adam": {"server_optimizer": "adam", "server_learning_rate": "0.05"},
}


def run(folder: Path, rule: dict[str, str], rounds: int = ROUNDS) -> RunView:
    settings = {f"training.{name}": value for name, value in rule.items()}
    settings |= {"training.rounds": str(rounds)}
    return kumiai.run(write_task(folder), folder / "run", settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_a_run_learns_and_verifies_under_every_rule(tmp_path: Path, name: str) -> None:
    found = run(tmp_path, RULES[name])
    assert found.phase == "FINISHED"
    accuracies = [r.accuracy_ppm for r in found.rounds]
    assert accuracies[0] < accuracies[-1]
    assert accuracies[-1] > LEARNT_PPM, accuracies
    report = verify_path(tmp_path / "run")
    assert report.is_ok, report.findings


def test_server_numbers_that_overflow_are_one_line_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--set", "training.server_learning_rate_ppm=10000000"]
    words += ["--set", "training.server_momentum_ppm=999999"]
    task = write_task(tmp_path, TASK)
    assert main(["run", str(task), "--out", str(tmp_path / "run"), "--quiet", *words]) == 2
    message = capsys.readouterr().err
    assert "training.server_learning_rate_ppm" in message
    assert "overflows 62 bits" in message
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="overflows 62 bits"):
        run(tmp_path, {"server_learning_rate": "10", "server_momentum": "0.999999"})
