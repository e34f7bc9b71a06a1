"""kill -9 at random moments, then `--resume`: is the result the one of a run that nobody disturbed?

    python benchmarks/resume.py [--kills 20] [--seed 1] [--scenario fast]

Runs the scenario once undisturbed, then once for every kill: SIGKILL at a random moment, resumed,
compared by the hashes of all certificates and the ledger's balances, and verified.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kumiai.adapters.store.ledger import SqliteLedger
from kumiai.apps.verify import verify_path
from kumiai.apps.view import load_view


def start(scenario: str, out: Path, resume: bool) -> subprocess.Popen[bytes]:
    """Start `kumiai demo` in a process of its own."""
    code = "import sys; from kumiai.apps.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "demo", "--scenario", scenario, "--quiet"]
    command += ["--out", str(out)] + (["--resume"] if resume else [])
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def read_result(out: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the certificates' hashes and every account of the ledger."""
    with SqliteLedger.open_readonly(out / "ledger.db") as ledger:
        accounts = dict(ledger.accounts())
    return tuple(c.hash for c in load_view(out).certificates), accounts


def main() -> None:
    """Print one row a kill."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", default="fast")
    given = parser.parse_args()
    table = Table(title=f"kill -9 and --resume: {given.scenario}, {given.kills} kills")
    for name in ("kill", "after s", "left behind", "certificates", "balances", "verify"):
        table.add_column(name, justify="right")
    draw = random.Random(given.seed)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        started = time.perf_counter()
        assert start(given.scenario, root / "whole", resume=False).wait() == 0
        whole_seconds = time.perf_counter() - started
        expected = read_result(root / "whole")
        for kill in range(1, given.kills + 1):
            out = root / f"killed-{kill}"
            after = draw.uniform(0.2, 0.98) * whole_seconds
            process = start(given.scenario, out, resume=False)
            try:
                process.wait(after)
                left = "had ended"
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                left = "sealed" if (out / "seal.json").exists() else "unfinished"
            resumed = start(given.scenario, out, resume=(out / "plan.json").exists())
            _, errors = resumed.communicate()
            if resumed.returncode != 0:
                failures += 1
                table.add_row(str(kill), f"{after:.1f}", left, errors.decode()[-60:], "-", "-")
                continue
            found = read_result(out)
            ok = verify_path(out).is_ok
            failures += found != expected or not ok
            table.add_row(
                str(kill),
                f"{after:.1f}",
                left,
                "identical" if found[0] == expected[0] else "DIFFER",
                "identical" if found[1] == expected[1] else "DIFFER",
                "ok" if ok else "FAILED",
            )
    Console(width=100).print(table)
    Console().print(f"failures: {failures} of {given.kills}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
