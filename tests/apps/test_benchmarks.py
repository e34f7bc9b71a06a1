"""The benchmarks run, in their smallest form: no figure is claimed that nothing can print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SMALL = {
    "aggregation.py": "--sizes 8x20000 --seconds 0.01 --libraries none",
    "aiarena_month.py": "--share 0.0001 --tasks 1 --rounds 2 --processes 1",
    "asynchrony.py": "--rounds 1 --seeds 1",
    "chain_bls.py": "--node embedded --committees 4",
    "chain_gas.py": "--sizes 4+4 --committees 4 --leaves 10",
    "codecs.py": "--size 5000 --drift-size 2000 --rounds 2 --repeats 1",
    "codecs_accuracy.py": "--rounds 2 --codec dense ef|int8",
    "economics_noise.py": "--seeds 1",
    "market_replay.py": "--works 30",
    "market_wallet.py": "--payments 3",
    "order_pot.py": "--rows 0 --rates 30",
    "overhead.py": "--trainers 4 --rounds 3 --data digits",
    "parallel.py": "--layers 1 --heads 1 --iterations 1 --repeats 1",
    "privacy.py": "--rounds 2 --seeds 1",
    "quality.py": "--seeds 1 --scenario fast",
    "resume.py": "--kills 1 --scenario owners",
    "robustness.py": "--rounds 2 --seeds 1 --partitions iid --attacks sign_flip --rows alone",
    "rules.py": "--rules fedavg --rounds 2 --seeds 1",
    "world.py": "--trainers 20 --rounds 2",
}


SAVED = sorted(SMALL.keys() - {"resume.py"})


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs_in_its_smallest_form(tmp_path: Path, name: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *SMALL[name].split()]
    if name in SAVED:
        command += ["--save", str(tmp_path / "results")]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "KUMIAI_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    for ending in (".svg", ".json") if name in SAVED else ():
        saved = (tmp_path / "results" / name).with_suffix(ending).read_text(encoding="utf-8")
        assert "url(http" not in saved  # a picture for offline use
        assert name.removesuffix(".py") in saved
    assert done.stdout.strip()
