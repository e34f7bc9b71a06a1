"""`kumiai bench aequa`: play the comparison with live progress, print the table, save it all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

from kumiai.apps.bench import aequa
from kumiai.apps.bench.picture import draw
from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.terminal import make_bars, render_plain
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.base.errors import InputError

QUICK_ROUNDS = 10
TABLE_WIDTH = 118


def bench_aequa(
    sources: str,
    splits: str,
    members: str,
    seeds: int,
    rounds: int,
    quick: bool,
    out: Path,
    lang: str | None,
) -> None:
    """Run the comparison and show it."""
    texts = load_texts(cast(Language, get_language(lang)))
    counts = _read_counts(members)
    names = [name for name in sources.split(",") if name]
    if quick:
        names, counts, seeds, rounds = names[:1], counts[:1], 1, min(rounds, QUICK_ROUNDS)
    cells = aequa.list_cells(names, [s for s in splits.split(",") if s], counts, seeds)
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, TABLE_WIDTH))
    started = time.perf_counter()
    stem = out / "aequa"
    results = _play(cells, rounds, console, texts, stem)
    rows = aequa.summarise(results)
    for table in build_tables(rows, texts):
        console.print(table)
    aequa.save(results, rounds, stem)
    words = {key: texts.text(f"bench.{key}") for key in ("title", "contribution", "received")}
    words |= {measure: texts.text(f"bench.{measure}") for measure in aequa.MEASURES}
    stem.with_suffix(".svg").write_text(draw(results, rows, words), encoding="utf-8")
    text = render_plain(build_tables(rows, texts), TABLE_WIDTH)
    _save_markdown(stem.with_suffix(".md"), text, cells, rounds, texts)
    seconds = f"{time.perf_counter() - started:.0f}"
    console.print(texts.text("bench.saved", path=str(stem), seconds=seconds), highlight=False)


def _play(
    cells: Sequence[aequa.Cell], rounds: int, console: Console, texts: Texts, stem: Path
) -> aequa.Results:
    """Play all cells under a bar; without a terminal one line a cell."""
    with make_bars(console) as bar:
        task = bar.add_task(texts.text("bench.playing"), total=len(cells))

        def progress(so_far: aequa.Results) -> None:
            aequa.save(so_far, rounds, stem)  # an interrupted table keeps what it has
            cell, scores = so_far[-1]
            ours = next(score for score in scores if score.method == aequa.OURS)
            pearson = "–" if ours.pearson is None else f"{ours.pearson:.3f}"
            name = f"{cell.source} {cell.split} N={cell.members} #{cell.seed}"
            bar.update(task, advance=1, description=f"{name}: ρ {pearson}")
            if not console.is_terminal:
                console.print(f"{name}: pearson {pearson}, best {ours.best:.3f}", highlight=False)

        return aequa.play(cells, rounds, progress)


def build_tables(rows: Sequence[aequa.Row], texts: Texts) -> list[Table]:
    """Return the figures of every cell, and in how many cells Aequa is ahead."""
    figures = Table(title=texts.text("bench.title"))
    for key in ("data", "split", "members", "method"):
        figures.add_column(texts.text(f"bench.{key}"), no_wrap=True)
    for measure in aequa.MEASURES:
        figures.add_column(texts.text(f"bench.{measure}"), justify="right")
    before = None
    for row in rows:
        cell = (row.source, row.split, row.members)
        if before not in (None, cell):
            figures.add_section()
        names = ("", "", "") if before == cell else (row.source, row.split, str(row.members))
        before = cell
        style = "bold" if row.method == aequa.OURS else ""
        values = [f"{getattr(row, measure):.3f}" for measure in aequa.MEASURES]
        figures.add_row(*names, row.method, *values, style=style)
    return [figures, _build_wins(rows, texts)]


def _build_wins(rows: Sequence[aequa.Row], texts: Texts) -> Table:
    wins, won = aequa.count_wins(rows), aequa.count_won_against_all(rows)
    table = Table(title=texts.text("bench.wins"))
    table.add_column(texts.text("bench.measure"))
    for peer in next(iter(wins.values())):
        table.add_column(peer, justify="right")
    table.add_column(texts.text("bench.all_peers"), justify="right", style="bold")
    for measure in aequa.MEASURES:
        counts = ["/".join(map(str, triple)) for triple in wins[measure].values()]
        ahead, cells = won[measure]
        table.add_row(texts.text(f"bench.{measure}"), *counts, f"{ahead} / {cells}")
    return table


def _save_markdown(
    path: Path, text: str, cells: Sequence[aequa.Cell], rounds: int, texts: Texts
) -> None:
    seeds = len({cell.seed for cell in cells})
    note = texts.text("bench.note", rounds=rounds, seeds=seeds)
    path.write_text(
        f"# {texts.text('bench.title')}\n\n{note}\n\n![]({path.stem}.svg)\n\n```\n{text}```\n",
        encoding="utf-8",
    )


def _read_counts(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise InputError("--members", text, 'numbers with commas, like "5,10,50"') from None
