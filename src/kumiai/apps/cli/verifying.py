"""`kumiai verify`: recompute, list what was checked and everything that is wrong and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.terminal import clean, safe
from kumiai.apps.report.texts import Language, Texts, format_amount, format_seconds, load_texts
from kumiai.base.errors import InputError, VerificationError

SEVERITY_STYLES = {"error": "bold red", "note": "yellow"}
DIGITS_MAX = 9


def verify(path: Path, scores: str, lang: str | None, quiet: bool, rpc: str | None = None) -> None:
    """Verify `path` and show the result; VerificationError if anything is wrong."""
    from kumiai.apps.verify import verify_path

    score_rounds = _parse_scores(scores)

    texts = load_texts(cast(Language, get_language(lang)))
    console = Console(quiet=quiet, highlight=False)
    with console.status(texts.text("verify.working")) as status:
        report = verify_path(path, lambda step: status.update(clean(step)), score_rounds, rpc)
    errors = sum(finding.severity == "error" for finding in report.findings)
    console.print(_check_table(report.checks, texts))
    for finding in report.findings:
        style = SEVERITY_STYLES.get(finding.severity, "")
        mark = "✕" if finding.severity == "error" else "!"
        console.print(
            Text.assemble(
                (f"{mark} ", style), safe(finding.where, "bold"), ": ", safe(finding.what)
            )
        )
    if errors or not all(ok for _, _, ok in report.checks):
        raise VerificationError(
            texts.text("verify.not_good", path=clean(str(path)), n=max(errors, 1))
        )
    console.print(
        Text(
            texts.text(
                "verify.all_good", path=clean(str(path)), seconds=format_seconds(report.seconds)
            ),
            "green",
        )
    )


def _parse_scores(text: str) -> Any:
    if text in ("auto", "all"):
        return text
    if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX:
        return int(text)
    raise InputError("--scores", text, "give auto, all, or a number of rounds such as 3 (0: none)")


def _check_table(checks: list[tuple[str, int, bool]], texts: Texts) -> Any:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(texts.text("verify.check"))
    table.add_column(texts.text("verify.count"), justify="right")
    table.add_column(texts.text("verify.result"))
    for name, count, is_ok in checks:
        if is_ok and not count:
            result = Text(
                texts.text("verify.nothing"), "dim"
            )  # no order to redo, no draw to replay
        else:
            key = "verify.ok" if is_ok else "verify.failed"
            result = Text(texts.text(key), "green" if is_ok else "bold red")
        table.add_row(texts.name("check", name), format_amount(count), result)
    return table
