"""What tests of several rooms share: servers that last until their end, and no limits of time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.services.cashu_mint import Mint, run_mint
from tests.services.lnbits import Lnbits, run_lnbits

# No test has a limit of time: on a busy machine an example may take any. The rest stays what the
# environment chose (the same examples each time where CI is set).
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

STORE_BYTES_MAX = 100 * 2**20
END_SECONDS_MAX = 20.0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests of one `xdist_group` on one worker, as `--dist loadgroup` promises.

    pytest-xdist 3.8 writes the group behind a test's id; pytest 9.2 keeps ids in another place, so
    that this came to nothing and every worker started all servers of a group.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        names = {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}
        group = f"@{'_'.join(sorted(names))}"
        if names and not item.nodeid.endswith(group) and hasattr(item, "_id"):
            item._id = type(item._id).parse(item.nodeid + group)


@pytest.fixture(scope="session")
def cashu_mint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mint]:
    """One real mint for all tests of the group "cashu"; skips where nutshell is not installed."""
    with run_mint(tmp_path_factory.mktemp("mint")) as running:
        yield running


@pytest.fixture(scope="session")
def lnbits_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lnbits]:
    """One real LNbits for all tests of the group "lnbits"; skips where it is not installed."""
    with run_lnbits(tmp_path_factory.mktemp("lnbits")) as running:
        yield running


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
