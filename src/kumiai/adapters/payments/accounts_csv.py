"""Accounts as CSV (RFC 4180) that any spreadsheet opens and none takes for a program.

A text that a peer chose may begin with =, +, -, @, a tab or a line end, which a spreadsheet would
carry out as a formula; such a cell gets an apostrophe in front (OWASP, "CSV Injection"). So does
what follows a semicolon or a tab: many countries' spreadsheets begin a cell there, and one that
splits elsewhere than we do heeds no quotes, so line ends within a text are blanks. Amounts are
whole msat without a sign; the direction has a column of its own.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from kumiai.adapters.payments.accounts import Line
from kumiai.base.errors import StoreError

HEAD: Final = (
    "time", "direction", "amount_msat", "fee_msat", "state", "verdict", "reason", "purpose", "job",
    "round", "counterpart", "key", "payment_hash",
)  # fmt: skip
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_INNER = re.compile(r"([;\t|][\s\"]*)(?=[=+\-@＝＋－＠])")
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")


def save_csv(lines: Iterable[Line], path: Path) -> None:
    """Write the lines to `path`, in place of what is there; StoreError if it cannot be written."""
    partial = path.with_name(path.name + ".partial")
    try:
        # half a character, which JSON can spell, has no form in a file: it becomes a question mark
        with partial.open("w", encoding="utf-8", errors="replace", newline="") as file:
            write_csv(lines, file)
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error


def write_csv(lines: Iterable[Line], file: TextIO) -> None:
    """Write the head and one row a line."""
    writer = csv.writer(file)
    writer.writerow(HEAD)
    for line in lines:
        writer.writerow(
            (
                show_time(line.at_s),
                "in" if line.is_incoming else "out",
                line.amount_msat,
                line.fee_msat,
                *map(
                    make_safe,
                    (line.state, line.verdict.value, line.reason, line.purpose, line.job),
                ),
                line.round,
                *map(make_safe, (line.counterpart, line.key, line.payment_hash)),
            )
        )


def make_safe(text: str) -> str:
    """Return the text as a cell that is no formula, even after leading blanks or split again."""
    text = _LINE_ENDS.sub(" ", text.replace("\x00", ""))
    text = _INNER.sub(r"\1'", text)
    return "'" + text if text.lstrip(" \u00a0\u3000").startswith(_FORMULAS) else text


def show_time(at_s: int) -> str:
    """Return seconds since 1970 as UTC, ISO 8601; "" for none or one that is no date."""
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at_s else ""
    except (OverflowError, OSError, ValueError):
        return ""
