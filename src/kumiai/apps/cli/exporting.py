"""`kumiai export`: take a model out, list the files, show the lines that load them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.terminal import clean
from kumiai.apps.report.texts import Language, format_bytes, format_width, load_texts
from kumiai.base.amounts import PPM


def export(
    run_dir: Path,
    member: str | None,
    width: str | None,
    is_full: bool,
    out: Path | None,
    onnx: bool,
    lang: str | None,
    quiet: bool,
) -> None:
    """Export and show what is there now; with `quiet` the folder alone, for scripts."""
    from kumiai.apps.export import export_run
    from kumiai.apps.export.network import LINES

    texts = load_texts(cast(Language, get_language(lang)))
    console = Console(quiet=quiet, highlight=False)
    with console.status(texts.text("export.working")):
        done = export_run(run_dir, member=member, width=width, is_full=is_full, out=out, onnx=onnx)
    if quiet:
        typer.echo(str(done.folder))
        return
    key = "member" if done.member else "full" if done.width_ppm == PPM else "width"
    what = texts.text(f"export.who_{key}", name=clean(done.member))
    shown = texts.text("export.done", what=what, width=format_width(done.width_ppm))
    console.print(Text(shown, "bold"), soft_wrap=True)
    console.print(Text(str(done.folder), "cyan"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(texts.text("export.file"))
    table.add_column(texts.text("export.size"), justify="right")
    for name in done.files:
        table.add_row(name, format_bytes((done.folder / name).stat().st_size))
    console.print(table)
    console.print(Text(texts.text("export.use"), "dim"))
    for line in LINES:
        console.print(Text(f"  {line}"))
