"""A private member's noise: one key for one piece of work, another for any other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kumiai.adapters.compute.private_work import NoiseKeys
from kumiai.nodes.ports import TrainJob
from kumiai.tasks import task_from_mapping

JOB = TrainJob(1, "m", "model", 7, "held back", "control", 3)
SHARD = (torch.zeros(2, 3), torch.zeros(2))


def make_keys(seed: int = 0, shard: tuple[torch.Tensor, torch.Tensor] = SHARD) -> NoiseKeys:
    task = task_from_mapping({"name": "x", "seed": seed, "privacy": {"mode": "local"}})
    return NoiseKeys(task, {"m": bytes(32), "n": bytes(32)}, {"m": shard, "n": shard})


def test_the_same_work_gets_the_same_key() -> None:
    assert make_keys().derive_key(JOB) == make_keys().derive_key(JOB)


@pytest.mark.parametrize(
    "change",
    [{"model": "other"}, {"seed": 8}, {"codec_state": "other"}, {"server_state": "other"}],
)
def test_another_start_gets_another_key(change: dict[str, object]) -> None:
    other = replace(JOB, **change)  # type: ignore[arg-type]
    assert make_keys().derive_key(other) != make_keys().derive_key(JOB)


def test_another_task_or_other_data_get_another_key() -> None:
    keys = {
        make_keys().derive_key(JOB),
        make_keys(seed=1).derive_key(JOB),
        make_keys(shard=(torch.ones(2, 3), torch.zeros(2))).derive_key(JOB),
        make_keys(shard=(torch.zeros(3, 2), torch.zeros(2))).derive_key(JOB),
    }
    assert len(keys) == 4
