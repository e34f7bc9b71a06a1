"""Plain pieces of terminal output: safe text, verdict colours, sparklines, bars, saved tables."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
VERDICT_STYLES = {"VALID": "green", "INVALID": "red", "INCONCLUSIVE": "yellow"}


def clean(text: str) -> str:
    """A member's own words without what would move the cursor or change colours."""
    return "".join(character if character.isprintable() else "�" for character in text)


def safe(text: str, style: str = "") -> Text:
    """`text` as it is: no markup, no control characters."""
    return Text(clean(text), style=style)


def make_bars(console: Console) -> Progress:
    """Bars that count what is done and the time; nothing where no terminal is."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


def render_plain(tables: Sequence[Table], width: int) -> str:
    """The tables as text of this width without colours, for a file."""
    console = Console(file=io.StringIO(), record=True, width=width, legacy_windows=False)
    for table in tables:
        console.print(table)
    return console.export_text()


def draw_sparkline(values: Sequence[float], width: int = 24) -> str:
    """The last `width` values as blocks from the least to the greatest; "" for none."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high == low:
        return BLOCKS[3] * len(shown)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((value - low) / (high - low) * top)] for value in shown)
