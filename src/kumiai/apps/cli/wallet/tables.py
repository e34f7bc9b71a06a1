"""The tables of `kumiai wallet`: narrow terminals fold, money stands at the right."""

from __future__ import annotations

from rich import box
from rich.table import Table

from kumiai.apps.report.texts import Texts


def make_table(texts: Texts, *heads: str) -> Table:
    """An empty table with the wallet's columns of these names."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for head in heads:
        is_number, is_short = head in ("amount", "fee"), head not in ("reason", "what")
        table.add_column(
            texts.text(f"wallet.{head}"),
            justify="right" if is_number else "left",
            no_wrap=is_short,
            overflow="fold",  # Japanese has no spaces: a line of it must not count as one word
        )
    return table


def make_sums() -> Table:
    """An empty table of names and amounts."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    return table
