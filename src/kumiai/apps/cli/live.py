"""What somebody sees who waits for a run: a live display, or plain lines without a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kumiai.apps.cli.terminal import clean, draw_sparkline, safe
from kumiai.apps.report.texts import (
    Texts,
    format_bits,
    format_bytes,
    format_percent,
    format_seconds,
)
from kumiai.apps.view import ProgressEvent

REFRESH_HZ = 8
NAMES_MAX = 4


class LiveProgress:
    """Shows `ProgressEvent`s; call it with each. Use as a context manager."""

    def __init__(
        self, console: Console, texts: Texts, title: str, *, is_quiet: bool = False
    ) -> None:
        self._console, self._texts, self._title = console, texts, title
        self._is_quiet = is_quiet
        self._newest = ProgressEvent(kind="phase")
        self._losses: list[int] = []
        self._accuracies: list[int] = []
        self._is_live = console.is_terminal and not is_quiet
        self._live = (
            Live(
                console=console,
                get_renderable=self.render,
                refresh_per_second=REFRESH_HZ,
                transient=True,
            )
            if self._is_live
            else None
        )

    def __enter__(self) -> LiveProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: ProgressEvent) -> None:
        """Take in one event and show it."""
        self._newest = event
        if event.kind == "round":
            if event.loss_ppm is not None:
                self._losses.append(event.loss_ppm)
            if event.accuracy_ppm is not None:
                self._accuracies.append(event.accuracy_ppm)
        if self._is_quiet or self._is_live:
            if self._live and event.kind == "note":
                self._live.console.print(safe(event.message, "yellow"))
            return
        line = self._plain_line(event)
        if line:
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _plain_line(self, event: ProgressEvent) -> str:
        if event.kind == "note":
            return clean(event.message)
        if event.kind == "done":
            return self._texts.text("live.done", seconds=format_seconds(event.seconds))
        if event.kind != "round":
            return ""
        line = self._texts.text(
            "live.line_text" if event.token_bytes_ppm else "live.line",
            round=event.round,
            total=event.rounds_total,
            loss=_loss(event.loss_ppm),
            accuracy=format_percent(event.accuracy_ppm),
            bits=format_bits(event.loss_ppm, event.token_bytes_ppm),
            sent=format_bytes(event.bytes_total),
            seconds=format_seconds(event.seconds),
        )
        if event.late:
            line += "; " + self._texts.text("live.line_late", names=_names(event.late))
        return line

    def render(self) -> RenderableType:
        """The live display of the newest event."""
        event, texts = self._newest, self._texts
        certified = event.round if event.kind in ("round", "done") else max(0, event.round - 1)
        total = max(event.rounds_total, 1)
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(ratio=1)
        head.add_column(justify="right")
        where = (
            texts.text("live.round", round=event.round, total=event.rounds_total)
            if event.round
            else texts.text("live.waiting")
        )
        phase = texts.name("phase", event.phase) if event.phase else ""
        head.add_row(
            Text.assemble((self._title, "bold"), "  ", where, "  ", (clean(phase), "cyan")),
            Text(format_seconds(event.seconds), style="dim"),
        )
        bar = ProgressBar(total=total, completed=min(certified, total))
        # A bar alone ends without a line break and would swallow the next line.
        return Group(head, Padding(bar), self._figures())

    def _figures(self) -> Table:
        event, texts = self._newest, self._texts
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_row(
            texts.text("live.loss"),
            _loss(event.loss_ppm),
            Text(draw_sparkline(self._losses), "magenta"),
        )
        grid.add_row(
            texts.text("live.accuracy"),
            format_percent(event.accuracy_ppm),
            Text(draw_sparkline(self._accuracies), "green"),
        )
        if event.token_bytes_ppm:
            bits = format_bits(event.loss_ppm, event.token_bytes_ppm)
            grid.add_row(texts.text("live.bits"), bits, "")
        late = _names(event.late) if event.late else texts.text("live.nobody_late")
        grid.add_row(
            texts.text("live.sent"),
            format_bytes(event.bytes_total),
            Text.assemble(
                (texts.text("live.late") + "  ", "dim"), (late, "yellow" if event.late else "")
            ),
        )
        return grid


def _loss(ppm: int | None) -> str:
    return "–" if ppm is None else f"{ppm / 1_000_000:.3f}"


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(clean(name) for name in names[:NAMES_MAX])
    left = len(names) - NAMES_MAX
    return f"{shown} + {left}" if left > 0 else shown
