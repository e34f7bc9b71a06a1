"""Every state of the order's agreement, in small: a model that holds, others broken on purpose.

    python models/check.py [--fast] [--show SWITCH]

Needs `spin` and a C compiler (on Debian: apt install spin gcc). The model is pbft.pml beside this
file; what it covers and what it does not is in docs/adr/0031-model-of-the-order.md. Exit code 1 if
the right model fails, if its search ended before all states were seen, or if a broken one passes.

QUORUM=2 is f + 1, and what n / 3 * 2 gives for 4 and for 5. The other switches: see pbft.pml.

states     different states that were stored; all that can be reached where nothing was broken
depth      the longest run without a state twice, in the checker's own steps
steps      of a broken model: what the replicas do in the run that was found, a shortest one
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

SOURCE = Path(__file__).resolve().parent / "pbft.pml"
TOOLS = ("spin", "cc")
ADDRESS_BYTES_MAX = 6_000_000_000  # none comes near; more would be a mistake in the model
DEPTH_MAX = 100_000
DIGESTS = ("nothing", "A", "B", "the null batch")
AGREEMENT, ONE_VOTE, KEPT = "two_digests_decided", "voted_twice", "decision_lost"


@dataclass(frozen=True)
class Model:
    """pbft.pml with switches. flaw: the property that it must break, "" where all must hold."""

    name: str
    switches: tuple[str, ...]
    flaw: str = ""
    is_fast: bool = True

    @property
    def is_right(self) -> bool:
        """Tell whether all must hold."""
        return not self.flaw


@dataclass(frozen=True)
class Result:
    """What spin said. flaw: the property that was broken, "" for none; steps: how, line by line."""

    flaw: str
    is_complete: bool
    states: int
    depth: int
    megabytes: float
    seconds: float
    steps: tuple[str, ...] = ()

    def is_as_expected(self, model: Model) -> bool:
        """Tell whether the right model held in every state, or a broken one broke as it should."""
        return self.flaw == model.flaw and (self.is_complete or not model.is_right)


def make_right(views: int, places: int, traitor: int, *more: str, is_fast: bool = True) -> Model:
    """Return the right model within bounds."""
    bounds = (f"VIEWS={views}", f"PLACES={places}", f"TRAITOR={traitor}")
    return Model("", (*bounds, *more), is_fast=is_fast)


def make_broken(name: str, *switches: str, flaw: str = AGREEMENT) -> Model:
    """Return a broken model. Where agreement is what must break, nothing else is looked at."""
    return Model(name, (*switches, *(("ONLY_AGREEMENT",) if flaw == AGREEMENT else ())), flaw)


RIGHT = (
    *(make_right(2, 1, traitor) for traitor in range(4)),
    *(make_right(2, 1, traitor, "UNCUT", is_fast=False) for traitor in range(4)),
    *(make_right(3, 1, traitor, is_fast=traitor == 3) for traitor in range(4)),
    make_right(3, 1, 3, "UNCUT", is_fast=False),
    *(make_right(2, 2, traitor) for traitor in (2, 3)),
    make_right(2, 1, 0, "N=5", is_fast=False),
)

BROKEN = (
    make_broken("quorum n / 3 * 2, a leader lies", "QUORUM=2"),
    make_broken("quorum n / 3 * 2, a backup lies", "QUORUM=2", "TRAITOR=3"),
    make_broken("n = 5, quorum n / 3 * 2", "N=5", "QUORUM=2"),
    make_broken("n = 5, quorum of 2f + 1", "N=5", "QUORUM=3"),
    make_broken("a new view forgets proofs", "FORGETS_PROOFS", flaw=KEPT),
    make_broken("a new view forgets proofs", "FORGETS_PROOFS"),
    make_broken("a new view takes the first proof", "TAKES_FIRST_PROOF", "VIEWS=3"),
    make_broken("VIEW-CHANGEs hide proofs", "HIDES_PROOFS"),
    make_broken("the journal is lost, a leader lies", "LOSES_JOURNAL", flaw=ONE_VOTE),
    make_broken("the journal is lost, a leader lies", "LOSES_JOURNAL"),
    make_broken("the journal is lost, a backup lies", "LOSES_JOURNAL", "TRAITOR=3"),
    make_broken("what a NEW-VIEW proposes is lost", "LOSES_NEW_VIEW", "TRAITOR=1"),
    make_broken("COMMIT without the proof", "COMMITS_WITHOUT_PROOF"),
    make_broken("votes in a view that was left", "VOTES_IN_LEFT_VIEW"),
    make_broken("the primary's PREPARE counts", "PRIMARY_PREPARES"),
)


def list_missing_tools() -> list[str]:
    """Return which programs are not there."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def check(model: Model, folder: Path) -> Result:
    """Let spin visit every state of a model; files go into `folder`, which must be empty.

    A broken model is searched breadth first, so that the run found is a shortest one. Raises
    subprocess.CalledProcessError where spin or the compiler refuses the model.
    """
    switches = [f"-D{switch}" for switch in model.switches]
    kind = "-DCOLLAPSE" if model.is_right else "-DBFS"
    _call(["spin", *switches, "-a", str(SOURCE)], folder)
    _call(["cc", "-O1", "-w", "-DSAFETY", kind, "-o", "pan", "pan.c"], folder)
    started = time.monotonic()
    said = _call(["./pan", f"-m{DEPTH_MAX}"], folder)
    seconds = time.monotonic() - started
    found = re.search(
        r"assertion violated .*?(two_digests_decided|voted_twice|decision_lost)", said
    )
    errors = int(_find(r"errors: (\d+)", said))
    return Result(
        found[1] if found else "" if errors == 0 else "another error",
        "Search not completed" not in said and "max search depth too small" not in said,
        int(float(_find(r"([\d.e+]+) states, stored", said))),
        int(_find(r"depth reached (\d+)", said)),
        float(_find(r"([\d.]+)\s+total actual memory usage", said)),
        seconds,
        _replay(switches, folder) if errors else (),
    )


def _replay(switches: list[str], folder: Path) -> tuple[str, ...]:
    trail = next(folder.glob("*.trail"))
    said = _call(["spin", *switches, "-t", "-k", trail.name, str(SOURCE)], folder)
    lines = (line.strip() for line in said.splitlines() if line.strip().startswith("replica "))
    return tuple(
        re.sub(r"\b(digest|proposes|shows) (\d)", lambda m: f"{m[1]} {DIGESTS[int(m[2])]}", line)
        for line in lines
    )


def _call(command: list[str], folder: Path) -> str:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES_MAX, ADDRESS_BYTES_MAX))

    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, preexec_fn=limit
    )
    return done.stdout


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"spin did not print {pattern!r}:\n{text[-2000:]}")
    return found[1]


def make_table(title: str, heads: tuple[str, ...]) -> Table:
    """Return an empty table."""
    table = Table(title=title, title_justify="left")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 else "right")
    table.add_column("result")
    return table


def describe(model: Model, result: Result) -> list[str]:
    """Return a row's cells."""
    switches = " ".join(model.switches)
    cells = [switches] if model.is_right else [model.name, switches]
    cells += [f"{result.states:,}", str(result.depth if model.is_right else len(result.steps))]
    cells += [f"{result.megabytes:,.0f}", f"{result.seconds:.1f}"]
    verdict = f"broke: {result.flaw}" if result.flaw else "holds"
    if model.is_right and not result.is_complete:
        verdict += ", but not all states were seen"
    return [*cells, verdict if result.is_as_expected(model) else f"[red]{verdict}[/red]"]


def check_all(models: list[Model], console: Console) -> int:
    """Check and print; return how many did not do as they should."""
    right = make_table("the model: every state", ("switches", "states", "depth", "MB", "s"))
    broken = make_table("broken on purpose", ("what", "switches", "states", "steps", "MB", "s"))
    failures = 0
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            result = check(model, Path(folder))
        failures += not result.is_as_expected(model)
        (right if model.is_right else broken).add_row(*describe(model, result))
    for table in (right, broken):
        console.print(table)
    return failures


def show(switch: str, console: Console) -> int:
    """Print the run that a broken model allows; return how many there are of that name."""
    models = [model for model in BROKEN if switch in model.switches]
    if not models:
        known = sorted({name for model in BROKEN for name in model.switches} - {"ONLY_AGREEMENT"})
        console.print(f"no broken model has the switch {switch!r}: use one of {', '.join(known)}")
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            result = check(model, Path(folder))
        console.print(f"{model.name} ({' '.join(model.switches)}): {result.flaw}")
        for step in result.steps:
            console.print(f"  {step}")
    return len(models)


def main() -> int:
    """Read arguments, check, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--fast", action="store_true", help="only those that take seconds")
    parser.add_argument("--show", metavar="SWITCH", help="print the run that a switch allows")
    given = parser.parse_args()
    console = Console(width=130, highlight=False)
    missing = list_missing_tools()
    if missing:
        console.print(f"not installed: {', '.join(missing)} (on Debian: apt install spin gcc)")
        return 1
    if given.show:
        return 0 if show(given.show, console) else 1
    models = [model for model in (*RIGHT, *BROKEN) if model.is_fast or not given.fast]
    failures = check_all(models, console)
    console.print(f"{len(models)} models, {failures} not as expected")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
