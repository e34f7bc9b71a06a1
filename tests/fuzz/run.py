"""Fuzz the doors, guided by coverage where atheris is installed, for so many seconds each.

    python -m tests.fuzz.run [--doors messages replica] [--seconds 60] [--corpus FOLDER]

atheris (libFuzzer for Python) keeps inputs that reach new branches and changes those again; the
changes are those of `mutate`, by turns with its own. Without atheris inputs are changed at random.
A finding ends the door's run with exit code 1; its input is written to FOLDER/DOOR-finding.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import time
from pathlib import Path

INPUT_BYTES_MAX = 100_000


def fuzz_guided(name: str, seconds: int, folder: Path) -> None:
    """Run one door in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["kumiai"]):
        from tests.fuzz.corpus import DOORS
    from tests.fuzz.mutate import mutate

    door, kept = DOORS[name], folder / name
    kept.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(door.seeds):
        (kept / f"seed-{number}").write_bytes(data)

    def change(data: bytes, size_max: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.25:
            return bytes(atheris.Mutate(data, size_max))
        return mutate(data, door.seeds, rng)[:size_max]

    options = [
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-exact_artifact_path={folder / (name + '-finding')}",
        "-print_final_stats=1",
        "-rss_limit_mb=4096",
    ]
    atheris.Setup([sys.argv[0], *options, str(kept)], door.knock, custom_mutator=change)
    atheris.Fuzz()


def fuzz_blindly(name: str, seconds: int, folder: Path) -> None:
    """Run one door in this process with random changes."""
    from tests.fuzz.corpus import DOORS
    from tests.fuzz.mutate import mutate

    door, count, end = DOORS[name], 0, time.monotonic() + seconds
    rng = random.Random(f"{name}/{time.time_ns()}")
    corpus = list(door.seeds)
    while time.monotonic() < end:
        data = mutate(rng.choice(corpus), door.seeds, rng)
        try:
            door.knock(data)
        except BaseException:
            (folder / f"{name}-finding").write_bytes(data)
            raise
        count += 1
        corpus = [*door.seeds, *corpus[len(door.seeds) :][-200:], data]
    print(f"stat::number_of_executed_units: {count}")


def main() -> int:
    """Run each door in a process of its own; return how many had a finding, 1 at most."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--doors", nargs="+")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, default=Path("fuzz-corpus"))
    parser.add_argument("--inner", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.corpus.mkdir(parents=True, exist_ok=True)
    is_guided = importlib.util.find_spec("atheris") is not None
    if given.inner:
        fuzz = fuzz_guided if is_guided else fuzz_blindly
        fuzz(given.inner, given.seconds, given.corpus)
        return 0
    from tests.fuzz.corpus import DOORS

    failed = 0
    for name in given.doors or list(DOORS):
        command = [sys.executable, "-m", "tests.fuzz.run", "--inner", name]
        command += ["--seconds", str(given.seconds), "--corpus", str(given.corpus)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        count = next((x.split()[-1] for x in lines if "number_of_executed_units" in x), "?")
        cover = next((x for x in reversed(lines) if " cov: " in x), "")
        reached = cover.split(" cov: ")[1].split()[0] if cover else "-"
        verdict = "ok" if done.returncode == 0 else f"FINDING, exit code {done.returncode}"
        print(f"{name:10} {count:>10} inputs, {reached:>5} branches: {verdict}", flush=True)
        if done.returncode:
            failed = 1
            print("\n".join(lines[-40:]), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
