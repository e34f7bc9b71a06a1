"""kill -9 at random moments, then `--resume`: is the result the one of a run that nobody disturbed?

    python benchmarks/resume.py [--kills 20] [--seed 1] [--scenario fast]

Runs the scenario once undisturbed, then once for every kill: SIGKILL a random moment after a random
record of the log was written, resumed, compared by the hashes of all certificates and the ledger's
balances, and verified.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
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


def count_records(out: Path) -> int:
    """Return the height of the log, 0 where there is none yet."""
    if not (out / "log.db").exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{out / 'log.db'}?mode=ro", uri=True)) as log:
            return int(log.execute("SELECT COALESCE(MAX(height), 0) FROM records").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # being made


def kill_after(process: subprocess.Popen[bytes], out: Path, height: int, delay: float) -> int:
    """Kill the process `delay` seconds after the log reached `height`; return its height then."""
    while process.poll() is None and count_records(out) < height:
        time.sleep(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    process.kill()
    process.wait()
    return count_records(out)


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
    for name in ("kill", "records", "left behind", "certificates", "balances", "verify"):
        table.add_column(name, justify="right")
    draw = random.Random(given.seed)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        assert start(given.scenario, root / "whole", resume=False).wait() == 0
        expected, height = read_result(root / "whole"), count_records(root / "whole")
        for kill in range(1, given.kills + 1):
            out = root / f"killed-{kill}"
            process = start(given.scenario, out, resume=False)
            reached = kill_after(process, out, draw.randrange(height), draw.uniform(0, 0.5))
            left = "sealed" if (out / "seal.json").exists() else "unfinished"
            records = f"{reached} of {height}"
            resumed = start(given.scenario, out, resume=(out / "plan.json").exists())
            _, errors = resumed.communicate()
            if resumed.returncode != 0:
                failures += 1
                table.add_row(str(kill), records, left, errors.decode()[-60:], "-", "-")
                continue
            found = read_result(out)
            ok = verify_path(out).is_ok
            failures += found != expected or not ok
            print(f"kill {kill} of {given.kills}: {failures} failures so far", file=sys.stderr)
            table.add_row(
                str(kill),
                records,
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
