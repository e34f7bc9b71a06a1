"""Rules of different families in one run: what one tells the trainers, the other's work hears."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.apps.tiny import write_task

import kumiai
from kumiai.apps.verify import verify_path


@pytest.mark.parametrize(
    "settings",
    [
        {"aggregator": "trust_root", "lr_schedule": "cosine"},
        {"aggregator": "centered_clip", "algorithm": "fednova"},
        {"aggregator": "multi_krum", "algorithm": "scaffold", "server_optimizer": "yogi"},
        {"codec": "ef|topk:density=0.1|int8", "algorithm": "scaffold", "lr_schedule": "step"},
        {"aggregator": "norm_clip", "optimizer": "muon", "algorithm": "diloco"},
        {"privacy": "local", "lr_schedule": "cosine", "algorithm": "scaffold"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
def test_a_run_of_several_rules_learns_and_verifies(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    overrides = {f"training.{name}": value for name, value in settings.items()}
    if overrides.pop("training.privacy", ""):
        overrides |= {"privacy.mode": "local", "privacy.noise_multiplier": "0.1"}
        overrides |= {"validation.work_z_milli": "0", "training.rounds": "5"}  # noise is random
    run = kumiai.run(write_task(tmp_path), tmp_path / "run", overrides)
    assert run.rounds[-1].accuracy_ppm > 150_000  # ten classes: chance is 100,000
    report = verify_path(tmp_path / "run")
    assert report.is_ok and report.findings == []
