"""Why every amount: a member's receipts, read from their files, with the numbers they follow from.

A receipt says: gross = floor(pool * weight / weight_total); gross less what went to backers and
what is locked is the amount. The files are the signed truth; the view only says where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumiai.apps.receipts import read_receipt_file
from kumiai.apps.view import MemberView, ReceiptView, RoundView, RunView
from kumiai.base.errors import InputError, StoreError

MONEY = (
    "pool", "weight", "weight_total", "gross", "gross_alone", "to_backers", "locked", "amount",
    "slashed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One receipt of one member: the view's words and the file's numbers (decimal, exact)."""

    receipt: ReceiptView
    value_ppm: int
    error_ppm: int
    money: Mapping[str, int]

    @property
    def has_share(self) -> bool:
        """Tell whether the amount is a share of a pool, so that there is arithmetic to show."""
        return self.money["weight"] > 0 and self.money["weight_total"] > 0


@dataclass(frozen=True, slots=True)
class Account:
    """One member's account over the run. `difference` is 0 when the receipts explain the reward."""

    member: MemberView
    lines: tuple[Line, ...]
    received: int
    difference: int


def explain_member(view: RunView, run_dir: Path, name: str) -> Account:
    """Read all receipts of the member called `name` (or with that key), in order of rounds.

    InputError for an unknown member; StoreError when a receipt file is gone or damaged.
    """
    try:
        member = view.member(name)
    except KeyError:
        known = ", ".join(each.name for each in view.members[:20])
        raise InputError(
            "--member", name, f"nobody has this name or key; there are: {known}"
        ) from None
    receipts = [row for row in view.receipts if row.member == member.name]
    ordered = sorted(receipts, key=lambda row: (row.round == 0, row.round))
    lines = tuple(_read_line(run_dir, row) for row in ordered)
    received = sum(line.money["amount"] for line in lines)
    return Account(member, lines, received, member.reward - received)


def find_round(view: RunView, number: int) -> RoundView:
    """The round with this number; InputError if it is not there."""
    for row in view.rounds:
        if row.round == number:
            return row
    fix = f"the run has rounds 1 to {len(view.rounds)}" if view.rounds else "no round was certified"
    raise InputError("--round", number, fix)


def _read_line(run_dir: Path, row: ReceiptView) -> Line:
    path = run_dir / row.path
    try:
        if not path.resolve().is_relative_to(run_dir.resolve()):
            raise StoreError(f"the run's view names a receipt outside its folder: {row.path}")
        document: dict[str, Any] = read_receipt_file(path)["receipt"]
        money = {name: int(document[name]) for name in MONEY}
        return Line(row, int(document["value_ppm"]), int(document["error_ppm"]), money)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: run `kumiai verify {run_dir}`") from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", is_retriable=True) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
