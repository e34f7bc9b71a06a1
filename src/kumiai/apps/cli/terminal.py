"""Plain pieces of terminal output: safe text, verdict colours, sparklines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
VERDICT_STYLES = {"VALID": "green", "INVALID": "red", "INCONCLUSIVE": "yellow"}


def clean(text: str) -> str:
    """A member's own words without what would move the cursor or change colours."""
    return "".join(character if character.isprintable() else "�" for character in text)


def safe(text: str, style: str = "") -> Text:
    """`text` as it is: no markup, no control characters."""
    return Text(clean(text), style=style)


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
