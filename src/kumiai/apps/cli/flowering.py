"""`flower run`: load a Flower app, show its rounds as they go, end with the table of rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.live import REFRESH_HZ
from kumiai.apps.cli.terminal import clean, safe
from kumiai.apps.report.texts import Language, Texts, format_bytes, format_seconds, load_texts

if TYPE_CHECKING:
    from kumiai.adapters.flower.exchange import Exchange, NodeFault
    from kumiai.adapters.flower.running import AppRun

ROUNDS_KEY = "num-server-rounds"  # the key that Flower's own templates use
METRICS_MAX = 4
FAULTS_SHOWN_MAX = 10
ROUNDS_SHOWN_MAX = 60


def run(
    path: Path,
    overrides: Sequence[str],
    supernodes: int | None,
    workers: int | None,
    verbose: bool,
    lang: str | None,
    quiet: bool,
) -> None:
    """Run the app in `path` and show it."""
    from kumiai.adapters.flower.library import require_flower
    from kumiai.adapters.flower.project import fuse_config, read_project

    texts = load_texts(cast(Language, get_language(lang)))
    project = read_project(path)
    config = fuse_config(project.config, overrides, Path.cwd())
    require_flower()
    console = Console(quiet=quiet, highlight=False)
    rounds = config.get(ROUNDS_KEY)
    total = rounds if isinstance(rounds, int) else 0
    with Display(console, texts, project.name, total, is_quiet=quiet) as display:
        from kumiai.adapters.flower.running import choose_supernodes, run_app
        from kumiai.adapters.flower.workers import choose_workers

        count = choose_supernodes(project, supernodes)
        processes = choose_workers(workers, count)
        key = "flower.start" if processes == 1 else "flower.start_shared"
        console.print(safe(texts.text(key, name=project.name, n=count, processes=processes)))
        done = run_app(
            project,
            count,
            overrides,
            display,
            shows_log=verbose,
            workers=processes,
            tell=lambda line: console.print(
                Text(texts.text("flower.alone", line=clean(line)), "yellow"), soft_wrap=True
            ),
        )
    show_result(console, texts, done)


class Display:
    """Shows exchanges: a live line and bar on a terminal, else one plain line each."""

    def __init__(
        self, console: Console, texts: Texts, title: str, rounds_total: int, *, is_quiet: bool
    ) -> None:
        self._console, self._texts, self._title = console, texts, title
        self._rounds_total = rounds_total
        self._newest: Exchange | None = None
        self._is_live = console.is_terminal and not is_quiet
        self._live = Live(
            console=console,
            get_renderable=self.render,
            refresh_per_second=REFRESH_HZ,
            transient=True,
        )

    def __enter__(self) -> Display:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_live:
            self._live.stop()

    def __call__(self, exchange: Exchange) -> None:
        """Take in one exchange, as it grows or when it is over."""
        self._newest = exchange
        if not exchange.is_over:
            return
        for fault in exchange.faults[:FAULTS_SHOWN_MAX]:
            self._console.print(Text(describe_fault(fault, self._texts), "yellow"), soft_wrap=True)
        if not self._is_live:
            line = describe_exchange(exchange, self._texts)
            self._console.print(line, markup=False, soft_wrap=True)

    def render(self) -> RenderableType:
        """The live display of the newest exchange."""
        exchange, texts = self._newest, self._texts
        if exchange is None:
            return Text.assemble((clean(self._title), "bold"), "  ", texts.text("flower.loading"))
        key = "flower.now_of" if self._rounds_total else "flower.now"
        done = exchange.answered + len(exchange.faults)
        words = texts.text(
            key,
            round=exchange.round,
            total=self._rounds_total,
            kind=clean(exchange.kind),
            answered=done,
            asked=exchange.asked,
        )
        head = Text.assemble((clean(self._title), "bold"), "  ", words)
        return Group(head, ProgressBar(total=max(1, exchange.asked), completed=done), Text(""))


def describe_exchange(exchange: Exchange, texts: Texts) -> str:
    """One line: round 2: train 10/10 nodes, train-loss 2.304, 0.1 s."""
    metrics = format_metrics(exchange.metrics)
    return texts.text(
        "flower.line",
        round=exchange.round,
        kind=clean(exchange.kind),
        answered=exchange.answered,
        asked=exchange.asked,
        metrics=f"{metrics}, " if metrics else "",
        seconds=format_short(exchange.end_seconds - exchange.start_seconds),
    )


def describe_fault(fault: NodeFault, texts: Texts) -> str:
    """Which node failed, when and how."""
    return texts.text(
        "flower.fault",
        node=fault.node_id,
        partition=fault.partition,
        round=fault.round,
        kind=clean(fault.kind),
        line=clean(fault.line),
    )


def format_metrics(metrics: Mapping[str, float], separator: str = ", ") -> str:
    """The first few, with four digits: "train-loss 2.304, step-size 0.1488"."""
    shown = [f"{clean(name)} {value:.4g}" for name, value in list(metrics.items())[:METRICS_MAX]]
    return separator.join(shown)


def format_short(seconds: float) -> str:
    """Rounds may take milliseconds: 0.0112 -> "11 ms"."""
    return format_seconds(seconds) if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def show_result(console: Console, texts: Texts, done: AppRun) -> None:
    """The table of rounds, and what failed."""
    rounds = group_rounds(done.exchanges)
    console.print(build_round_table(rounds, texts))
    console.print(
        safe(texts.text("flower.done", n=len(rounds), seconds=format_seconds(done.seconds)))
    )
    if not done.faults:
        return
    console.print(Text(texts.text("flower.faults", n=len(done.faults)), "yellow"))
    console.print(Text(describe_fault(done.faults[-1], texts), "yellow"), soft_wrap=True)


def group_rounds(exchanges: Sequence[Exchange]) -> list[tuple[float, list[Exchange]]]:
    """Return (seconds, exchanges) of each round, in order; a round lasts until the next begins."""
    groups: list[list[Exchange]] = []
    for exchange in exchanges:
        if not groups or groups[-1][-1].round != exchange.round:
            groups.append([])
        groups[-1].append(exchange)
    ends = [group[0].start_seconds for group in groups[1:]]
    ends += [group[-1].end_seconds for group in groups[-1:]]
    return [(end - group[0].start_seconds, group) for end, group in zip(ends, groups, strict=True)]


def build_round_table(rounds: Sequence[tuple[float, Sequence[Exchange]]], texts: Texts) -> Table:
    """One row a round, the last `ROUNDS_SHOWN_MAX` of them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in (
        "round",
        "train",
        "train_metrics",
        "evaluate",
        "evaluate_metrics",
        "traffic",
        "seconds",
    ):
        justify = "left" if name.endswith("metrics") else "right"
        table.add_column(texts.text(f"flower.column.{name}"), justify=justify, overflow="fold")
    for seconds, group in rounds[-ROUNDS_SHOWN_MAX:]:
        trained = [e for e in group if e.kind.partition(".")[0] == "train"]
        judged = [e for e in group if e.kind.partition(".")[0] != "train"]
        traffic = sum(e.sent_bytes + e.received_bytes for e in group)
        table.add_row(
            str(group[0].round),
            *_describe_part(trained),
            *_describe_part(judged),
            format_bytes(traffic),
            format_short(seconds),
        )
    return table


def _describe_part(exchanges: Sequence[Exchange]) -> tuple[Text, Text]:
    if not exchanges:
        return Text("–", "dim"), Text("–", "dim")
    answered, asked = (sum(getattr(e, key) for e in exchanges) for key in ("answered", "asked"))
    metrics = {name: value for e in exchanges for name, value in e.metrics.items()}
    return Text(f"{answered}/{asked}", "" if answered == asked else "red"), Text(
        format_metrics(metrics, "\n")
    )
