"""A whole run whose members train on Ray: the same certificates, workers killed or not."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.apps.tiny import write_task

import kumiai
from kumiai.adapters.compute.execution import ray_backend
from kumiai.adapters.compute.execution.process import WorkerError
from kumiai.base.errors import InputError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: the extra `ray`"),
    pytest.mark.xdist_group("ray"),
]

ON_RAY = {"training.backend": "ray"}


def test_a_run_goes_on_after_its_workers_were_killed(tmp_path, ray_cluster, monkeypatch):
    """The second round loses a worker and may lose none: an error; resumed, the same models."""
    task = write_task(tmp_path)
    expected = kumiai.run(task, tmp_path / "whole", ON_RAY).certificates
    train, rounds = ray_backend.RayBackend.train, []

    def train_and_kill(self, *arguments):
        rounds.append(1)
        if len(rounds) == 2:
            for pid in ray_cluster.worker_pids:
                os.kill(pid, signal.SIGKILL)
        return train(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ray_backend.RayBackend, "train", train_and_kill)
        patch.setattr(ray_backend, "DEATHS_MAX", 0)
        with pytest.raises(WorkerError, match="--resume"):
            kumiai.run(task, tmp_path / "ray", ON_RAY)
    assert len(rounds) == 2
    resumed = kumiai.run(task, tmp_path / "ray", ON_RAY, resume=True).certificates
    assert [c.hash for c in resumed] == [c.hash for c in expected]


def test_the_address_is_the_machines_and_not_the_tasks(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("KUMIAI_RAY_ADDRESS", "ray://somewhere:1")
    with pytest.raises(InputError, match="KUMIAI_RAY_ADDRESS"):
        kumiai.run(write_task(tmp_path), tmp_path / "out", ON_RAY)
