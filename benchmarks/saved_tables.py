"""A printed table kept as a picture and as numbers, under docs/results."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

# without the fonts that rich would fetch from elsewhere
PICTURE = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def save_table(
    folder: Path, name: str, console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Write `name`.svg, what the recording `console` printed, and `name`.json, its cells."""
    folder.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(folder / f"{name}.svg"), title=f"kumiai: {name}", code_format=PICTURE)
    record = {"command": " ".join(["python", *sys.argv]), "heads": [*heads], "rows": [*rows]}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
