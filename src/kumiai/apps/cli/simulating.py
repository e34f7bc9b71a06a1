"""`kumiai simulate`: play the economy with live progress, print the table, save the page."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich import box
from rich.console import Console
from rich.table import Table

from kumiai.adapters.cores import count_cores
from kumiai.adapters.sim.economy.parameters import read_overrides
from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.terminal import make_bars, render_plain
from kumiai.apps.economy.page import format_plain, format_signed, format_value, name_in, write_page
from kumiai.apps.economy.study import Study, plan_size, run_study, save_figures
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.base.errors import InputError, StoreError

TABLE_WIDTH = 112
STYLES = {"yes": "green", "no": "red", "undecided": "yellow"}


def simulate(
    agents: int,
    rounds: int,
    seeds: int,
    seed: int,
    overrides: Sequence[str],
    out: Path,
    lang: str | None,
    *,
    is_swept: bool,
) -> None:
    """Run the study and show it."""
    texts = load_texts(cast(Language, get_language(lang)))
    parameters = read_overrides(overrides)
    size = plan_size(parameters, agents, rounds, seeds, seed)
    _prepare(out)
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, TABLE_WIDTH))
    started = time.perf_counter()
    with make_bars(console) as bar:
        tasks = {
            name: bar.add_task(texts.text(f"simulate.stage.{name}"), total=None)
            for name in (("seeds", "sweep", "remedies") if is_swept else ("seeds",))
        }
        study = run_study(
            parameters,
            size,
            count_cores(),
            lambda stage, done, of: bar.update(tasks[stage], completed=done, total=of),
            is_swept=is_swept,
        )
    tables = build_tables(study, texts)
    is_wide = console.width >= TABLE_WIDTH
    for table in tables if is_wide else build_tables(study, texts, is_narrow=True):
        console.print(table)
    command = _repeat(agents, rounds, seeds, seed, overrides, is_swept)
    _save(study, tables, out, command, texts)
    seconds = f"{time.perf_counter() - started:.0f}"
    console.print(texts.text("simulate.saved", path=str(out), seconds=seconds), highlight=False)


def _prepare(out: Path) -> None:
    """Make the folder before minutes are spent on what would go into it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError("--out", str(out), "is a file, or in one: name a folder") from None
    except OSError as error:
        fix = f"cannot be made: {error.strerror}: name another folder"
        raise InputError("--out", str(out), fix) from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise InputError("--out", str(out), "cannot be written to: name another folder")


def build_tables(study: Study, texts: Texts, *, is_narrow: bool = False) -> list[Table]:
    """Return every strategy's margin, and what would make honesty best where it is not.

    is_narrow: short names and no frames, to fit 80 columns with a line a strategy.
    """
    frame = box.SIMPLE_HEAD if is_narrow else box.HEAVY_HEAD
    title, sides = texts.text("simulate.title"), 0 if is_narrow else 1
    margins = Table(title=title, box=frame, pad_edge=not is_narrow, padding=(0, sides))
    for key in ("strategy", "honest", "deviating", "margin", "better", "verdict"):
        justify = "left" if key in ("strategy", "verdict") else "right"
        is_whole = key in ("margin", "verdict")
        margins.add_column(texts.text(f"simulate.column.{key}"), justify=justify, no_wrap=is_whole)  # type: ignore[arg-type]
    for row in study.margins:
        short = texts.text(f"simulate.short.{row.strategy}")
        margins.add_row(
            short if is_narrow else name_in(study, row.strategy, texts),
            format_plain(row.honest),
            format_plain(row.deviating),
            f"{format_signed(row.margin)} ± {row.interval:.3f}",
            f"{row.better_off:.0%}",
            f"[{STYLES[row.verdict]}]{texts.text(f'simulate.verdict.{row.verdict}')}[/]",
        )
    is_wanted = bool(study.remedies or study.settled)
    return [margins, _build_remedies(study, texts)] if is_wanted else [margins]


def _build_remedies(study: Study, texts: Texts) -> Table:
    table = Table(title=texts.text("simulate.section.remedies"))
    for key in ("strategy", "parameter", "now", "needed"):
        table.add_column(texts.text(f"simulate.column.{key}"))
    for name in dict.fromkeys(remedy.strategy for remedy in study.remedies):
        found = [r for r in study.remedies if r.strategy == name and r.value is not None]
        for place, remedy in enumerate(found):
            table.add_row(
                "" if place else texts.text(f"simulate.short.{name}"),
                f"{remedy.name}: {texts.text(f'simulate.parameter.{remedy.name}')}",
                format_value(getattr(study.parameters, remedy.name)),
                format_value(round(remedy.value or 0.0, 6)),
            )
        if not found:
            nothing = texts.text("simulate.remedy.nothing")
            table.add_row(texts.text(f"simulate.short.{name}"), nothing, "", "")
    for name in study.settled:
        why = texts.text("simulate.remedy.settled")
        table.add_row(texts.text(f"simulate.short.{name}"), why, "", "")
    return table


def _repeat(
    agents: int, rounds: int, seeds: int, seed: int, overrides: Sequence[str], is_swept: bool
) -> str:
    """The command that gives the same figures again, wherever they are saved."""
    words = ["kumiai", "simulate", "--agents", agents, "--rounds", rounds, "--seeds", seeds]
    words += ["--seed", seed, *(word for text in overrides for word in ("--set", text))]
    return shlex.join(str(word) for word in [*words, *([] if is_swept else ["--no-sweep"])])


def _save(study: Study, tables: Sequence[Table], out: Path, command: str, texts: Texts) -> None:
    note = texts.text(
        "simulate.md_note",
        agents=f"{study.agents:,}",
        rounds=study.rounds,
        n=study.size.seeds,
        seed=study.size.seed,
        tasks=study.size.tasks * study.size.seeds,
    )
    text = f"# {texts.text('simulate.title')}\n\n`{command}`\n\n{note}\n\n"
    text += f"```text\n{render_plain(tables, TABLE_WIDTH)}```\n"
    try:
        save_figures(study, out / "simulation.json", command)
        write_page(study, out / "index.html", command)
        (out / "economics.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}", is_retriable=True) from error
