"""`demo`, `run` and `scenarios`: choose a folder, show progress, end with the table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kumiai.apps.cli.entry import EXIT_INTERRUPTED, get_language
from kumiai.apps.cli.live import LiveProgress
from kumiai.apps.cli.tables import build_headline_text, build_member_table
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.apps.view import FILE_NAME, ProgressEvent, RunView, load_view
from kumiai.base.errors import InputError, RunFailedError

RUNS = Path("runs")
MARKET = "market"  # a demo of its own: apps.market.demo
COPIES_MAX = 10_000

Work = Callable[[Path, Callable[[ProgressEvent], None]], RunView]


@dataclass(frozen=True, slots=True)
class Ways:
    """How a run is done beside what its task says. settlement "": as the task says."""

    is_compared: bool = False
    order_processes: bool = False
    settlement: str = ""
    rpc: str | None = None

    def say(self) -> str:
        """Return the options that ask for the same again."""
        words = " --alone" * self.is_compared
        words += f" --settlement {self.settlement}" if self.settlement else ""
        return words + (f" --rpc {shlex.quote(self.rpc)}" if self.rpc else "")


def demo(
    scenario: str | None,
    seed: int,
    out: Path | None,
    resume: bool,
    lang: str | None,
    quiet: bool,
    ways: Ways | None = None,
) -> None:
    """Run one entry of the menu and show it."""
    from kumiai.apps.scenarios import DEFAULT, SCENARIOS

    ways, name = ways or Ways(), scenario or DEFAULT
    if name == MARKET:
        from kumiai.apps.cli.marketing import showing
        from kumiai.apps.cli.marketing.extra import need_extra

        _refuse_ways(ways, resume)
        need_extra()
        showing.demo(seed, choose_folder(f"{MARKET}-{seed}", out, resume=False), lang, quiet)
        return
    if name not in SCENARIOS:
        choices = ", ".join([*SCENARIOS, MARKET])
        raise InputError("--scenario", name, f"choose one of: {choices}")
    folder = choose_folder(f"{name}-{seed}", out, resume)
    again = f"kumiai demo --scenario {name} --seed {seed}" + ways.say()

    def work(target: Path, progress: Callable[[ProgressEvent], None]) -> RunView:
        from kumiai.apps import wiring  # takes seconds: the display is up by now

        return wiring.run_demo(
            name,
            seed,
            target,
            progress,
            resume=resume,
            is_compared=ways.is_compared,
            order_processes=ways.order_processes,
            settlement=ways.settlement,
            rpc=ways.rpc,
        )

    _show_run(work, name, folder, "" if ways.order_processes else again, lang, quiet)


def run(
    task: Path,
    overrides: Sequence[str],
    out: Path | None,
    resume: bool,
    lang: str | None,
    quiet: bool,
    ways: Ways | None = None,
) -> None:
    """Run the user's own task and show it."""
    ways = ways or Ways()
    settings = parse_overrides(overrides)
    if not task.is_file():
        fix = "there is no such file; `kumiai new my-task` makes one to start from"
        raise InputError("task", str(task), fix)
    stem = task.resolve().parent.name if task.stem == "task" else task.stem
    folder = choose_folder(stem, out, resume)
    words = ["kumiai", "run", str(task)]
    for override in overrides:
        words += ["--set", override]

    def work(target: Path, progress: Callable[[ProgressEvent], None]) -> RunView:
        from kumiai.apps import wiring  # takes seconds: the display is up by now

        return wiring.run_task(
            task,
            settings,
            target,
            resume,
            progress,
            ways.is_compared,
            ways.order_processes,
            ways.rpc,
        )

    again = "" if ways.order_processes else shlex.join(words) + ways.say()
    _show_run(work, stem, folder, again, lang, quiet)


def parse_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """["training.rounds=3"] -> {"training.rounds": "3"}; InputError without "=" or given twice."""
    settings: dict[str, str] = {}
    for item in overrides:
        name, separator, value = item.partition("=")
        name = name.strip()
        if not separator or not name:
            raise InputError("--set", item, "write FIELD=VALUE, e.g. --set training.rounds=3")
        if name in settings:
            raise InputError("--set", item, f"{name} was already set to {settings[name]}")
        settings[name] = value.strip()
    return settings


def choose_folder(name: str, out: Path | None, resume: bool) -> Path:
    """The run's folder: `out`, or a new `runs/NAME`, or with `resume` the newest `runs/NAME`."""
    if out is not None:
        return out
    taken = None
    for number in range(1, COPIES_MAX):
        folder = RUNS / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            break
        taken = folder
    else:
        raise InputError("--out", str(RUNS / name), "too many runs of that name: give --out DIR")
    if not resume:
        return folder
    if taken is None:
        fix = "there is no run to resume there: give its folder with --out DIR"
        raise InputError("--resume", str(RUNS / name), fix)
    return taken


def _show_run(
    work: Work, title: str, folder: Path, again: str, lang: str | None, quiet: bool
) -> None:
    """Run and show. again: the command that takes it up, "" where nothing can."""
    texts = load_texts(cast(Language, get_language(lang)))
    console = Console(quiet=quiet, highlight=False)
    try:
        with LiveProgress(console, texts, title, is_quiet=quiet) as progress:
            view = work(folder, progress)
    except KeyboardInterrupt:
        hint = "interrupted; its order was in real time: it cannot be taken up again"
        if again:
            hint = f"interrupted; continue with: {again} --out {shlex.quote(str(folder))} --resume"
        print(f"kumiai: {hint}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except RunFailedError:
        if (folder / FILE_NAME).is_file():
            _show_result(console, load_view(folder), folder, texts)
        raise
    if lang:
        from kumiai.apps.report import write_report

        write_report(view, folder / "report.html", cast(Language, str(lang)))
    if quiet:
        typer.echo(str(folder))
        return
    _show_result(console, view, folder, texts)


def _show_result(console: Console, view: RunView, folder: Path, texts: Texts) -> None:
    console.print()
    console.print(build_headline_text(view, texts))
    console.print(build_member_table(view, texts, console.width))
    console.print(_next_steps(view, folder, texts))


def _next_steps(view: RunView, folder: Path, texts: Texts) -> Padding:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    shown = shlex.quote(str(folder))
    report = folder / "report.html"
    link = Text(str(report), style=f"cyan link {report.resolve().as_uri()}")
    grid.add_row(texts.text("next.report"), link)
    grid.add_row(texts.text("next.run_dir"), Text(str(folder)))
    grid.add_row(texts.text("next.verify"), Text(f"kumiai verify {shown}", "bold"))
    worker = next((m.name for m in view.members if m.role == "trainer"), "")
    if worker:
        command = f"kumiai inspect {shown} --member {shlex.quote(worker)}"
        grid.add_row(texts.text("next.inspect"), Text(command, "bold"))
    return Padding(grid, (0, 0, 1, 0))


def _refuse_ways(ways: Ways, resume: bool) -> None:
    """The market's demo has members of its own, money of its own, and no committee's order."""
    given = {
        "--resume": resume,
        "--alone": ways.is_compared,
        "--order-processes": ways.order_processes,
        "--settlement": bool(ways.settlement),
        "--rpc": ways.rpc is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise InputError(
                option, "given", f"has no meaning with --scenario {MARKET}: leave it out"
            )


def list_scenarios(lang: str | None) -> None:
    """Print the menu."""
    from kumiai.apps.scenarios import DEFAULT, SCENARIOS

    texts = load_texts(cast(Language, get_language(lang)))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for scenario in SCENARIOS.values():
        title = scenario.title_ja if texts.language == "ja" else scenario.title
        mark = f"  ({texts.text('scenarios.default')})" if scenario.name == DEFAULT else ""
        body = Text.assemble((title, "bold"), (mark, "dim"), "\n", scenario.description)
        body.append(f"\n{scenario.expected}\n", "dim")
        table.add_row(scenario.name, body)
    body = Text.assemble((texts.text("market.scenario.title"), "bold"), "\n")
    body.append(texts.text("market.scenario.description"))
    body.append(f"\n{texts.text('market.scenario.expected')}\n", "dim")
    table.add_row(MARKET, body)
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(texts.text("scenarios.run"), "dim"))
