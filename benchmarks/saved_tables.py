"""What a benchmark prints, kept under docs/results as a picture and as the cells of its tables."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.markup import render
from rich.table import Table

# without the fonts that rich would fetch from elsewhere
PICTURE = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


class Printout:
    """A console that remembers its tables and lines; `save` writes them where the user asked."""

    def __init__(self, name: str, folder: Path | None, width: int = 110) -> None:
        """Print to the terminal, `width` columns wide; `folder` None: nothing is written."""
        self._name, self._folder = name, folder
        self._console = Console(width=width, record=folder is not None, highlight=False)
        self._tables: list[dict[str, object]] = []
        self._lines: list[str] = []
        self._load_before = os.getloadavg()[0]

    def show(self, table: Table) -> None:
        """Print a table and keep its cells."""
        heads = [str(column.header) for column in table.columns]
        columns = ([render(str(cell)).plain for cell in column.cells] for column in table.columns)
        rows = list(zip(*columns, strict=True))
        self._tables.append({"title": str(table.title or ""), "heads": heads, "rows": rows})
        self._console.print(table)

    def say(self, line: str) -> None:
        """Print a sentence and keep it."""
        self._lines.append(line.strip())
        self._console.print(line)

    def save(self, numbers: Mapping[str, object] | None = None) -> None:
        """Write NAME.svg (what was printed) and NAME.json (the cells, the command, the load).

        numbers: what the cells are short forms of, as JSON takes it; kept beside them.
        """
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        picture = str(self._folder / f"{self._name}.svg")
        self._console.save_svg(picture, title=f"kumiai: {self._name}", code_format=PICTURE)
        load = [round(self._load_before, 1), round(os.getloadavg()[0], 1)]
        record = {
            "command": " ".join(["python", *sys.argv]),
            "machine": {"cores": os.cpu_count(), "load_before": load[0], "load_after": load[1]},
            "tables": self._tables,
            "lines": self._lines,
            **({"numbers": numbers} if numbers else {}),
        }
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        (self._folder / f"{self._name}.json").write_text(text, encoding="utf-8")


def add_save_option(parser: argparse.ArgumentParser, name: str) -> None:
    """Add --save, the folder for NAME.svg and NAME.json."""
    parser.add_argument(
        "--save", type=Path, metavar="FOLDER", help=f"a folder for {name}.svg and {name}.json"
    )
