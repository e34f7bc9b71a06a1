"""A fault planted in the arena is found: a claim that forgets that it was paid.

The same fault is found by forge's invariants and by halmos: see `contracts/tools/security.py`.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import CONTRACTS
from tests.adapters.evm.arena_door import Artifact
from tests.adapters.evm.arena_world import open_door
from tests.adapters.evm.engines import PyEvmEngine
from tests.adapters.evm.test_differential import play


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The arena with the fault, compiled as the shipped one is."""
    if shutil.which("node") is None or not (CONTRACTS / "node_modules" / "solc").exists():
        pytest.skip("node and its packages are not installed: run `make contracts`")
    path = Path(tmp_path_factory.mktemp("seeded")) / "Seeded.json"
    command = ["node", "tools/build.mjs", "--seeded", str(path)]
    subprocess.run(command, cwd=CONTRACTS, check=True, capture_output=True, timeout=300)
    return Artifact(path)


@pytest.mark.slow
def test_random_histories_find_the_planted_fault(seeded):
    with pytest.raises(AssertionError, match=r"claim said|differs|holds"):
        play(open_door(PyEvmEngine(), seeded), examples=40, is_shrunk=False)
