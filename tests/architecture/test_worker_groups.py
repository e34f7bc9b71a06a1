"""Tests of one `xdist_group` run on one worker: they share servers that take long to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOOK = "from tests.conftest import pytest_collection_modifyitems\n"
MODULE = """
import os, pathlib, pytest

pytestmark = pytest.mark.xdist_group("the group")

@pytest.mark.parametrize("number", range(12))
def test_it(number):
    with pathlib.Path(__file__).with_name("workers").open("a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_a_group_stays_on_one_worker(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{HOOK}")
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / name).write_text(MODULE)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    workers = (tmp_path / "workers").read_text().split()
    assert len(workers) == 24 and len(set(workers)) == 1
