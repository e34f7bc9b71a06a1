"""What tests of several rooms share: one small Ray, gone when they end, and no limits of time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test has a limit of time: on a busy machine an example may take any. The rest stays what the
# environment chose (the same examples each time where CI is set).
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

STORE_BYTES_MAX = 100 * 2**20
END_SECONDS_MAX = 20.0


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[object]:
    """Our own embedded Ray with two workers, kept until the last test; its processes must end."""
    if find_spec("ray") is None:  # not imported: that must happen under our settings
        pytest.skip("Ray is not installed: the extra `ray`")
    from kumiai.adapters.compute.execution import ray_cluster as room

    cluster = room.join_cluster(room.RayOptions("", 2, STORE_BYTES_MAX))
    folder = Path(cluster._own_dir)
    cluster.get_workers(2)
    started = [pid for pid in list_descendants(os.getpid()) if is_of_ray(pid)]
    assert set(cluster.worker_pids) <= set(started)
    yield cluster
    assert cluster.leases == 1, "an engine was not closed"
    started += [pid for pid in list_descendants(os.getpid()) if is_of_ray(pid)]
    room.leave_cluster(cluster)
    deadline = time.monotonic() + END_SECONDS_MAX
    while (left := [pid for pid in started if is_of_ray(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"processes of Ray are still there: {left}"
    assert not folder.exists()


def list_descendants(pid: int) -> list[int]:
    """Return the process ids below `pid` (Linux; elsewhere none)."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *list_descendants(child)]
    return found


def is_of_ray(pid: int) -> bool:
    """Whether the process lives and is one of Ray's (a number may be given to another later)."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"ray" in command
