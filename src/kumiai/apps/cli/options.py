"""Options that several commands share, and how their examples look."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Lang(StrEnum):
    """The languages of the terminal and the report."""

    en = "en"
    ja = "ja"


def show_examples(*lines: str) -> str:
    """Return the examples of a command's help."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"[cyan]$ {line}[/cyan]" for line in lines)])


LangOption = Annotated[
    Lang | None, typer.Option("--lang", help="Language of the output (default: the system's).")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder of the run (default: a new one in runs/)."),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="Print nothing but the run's folder.")
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", metavar="", help="Continue a run that was interrupted, from its log."),
]
AloneOption = Annotated[
    bool,
    typer.Option(
        "--alone",
        metavar="",
        help="After the end each member trains alone and compares; "
        "takes about as long again as the training.",
    ),
]
SettlementOption = Annotated[
    str,
    typer.Option(
        "--settlement",
        metavar="KIND",
        help="Who holds the money: local (the run's ledger) or evm (contracts on a chain).",
    ),
]
RpcOption = Annotated[
    str | None,
    typer.Option(
        "--rpc",
        metavar="URL",
        help="With settlement by evm: a development node (make anvil); default: a chain of the "
        "run's own.",
    ),
]
OrderProcessesOption = Annotated[
    bool,
    typer.Option(
        "--order-processes",
        metavar="",
        help="The validators that order run as processes of this machine, in real time; "
        "such a run cannot be taken up again.",
    ),
]
