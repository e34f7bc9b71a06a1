"""Movements of ecash as people and programs read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import RenderableType

from kumiai.adapters.payments.accounts_csv import show_time
from kumiai.apps.cli.wallet.amounts import show_amount
from kumiai.apps.cli.wallet.tables import make_table
from kumiai.apps.report.texts import Texts
from kumiai.nodes.market.purse import Movement


def describe_movement(movement: Movement) -> dict[str, object]:
    """Return a movement for programs; its token, which is money, is left out."""
    shown = asdict(movement)
    del shown["token"], shown["key"]
    return shown


def show_movements(movements: Sequence[Movement], texts: Texts) -> RenderableType:
    """A table of all movements, oldest first."""
    heads = ["time", "way", "amount", "fee", "state", "what"]
    if not any(it.fee_msat for it in movements):
        heads.remove("fee")
    table = make_table(texts, *heads)
    for it in sorted(movements, key=lambda it: it.ended_at_s or it.created_at_s):
        at_s = it.ended_at_s or it.created_at_s
        cells = {
            "time": show_time(at_s).replace("T", " ").removesuffix("Z") if at_s else "",
            "way": texts.name("wallet.way_of", "in" if it.is_incoming else "out"),
            "amount": show_amount(it.amount_msat),
            "fee": show_amount(it.fee_msat) if it.fee_msat else "",
            "state": texts.name("wallet.state_of", it.state.value),
            "what": texts.name("wallet.ecash.kind_of", it.kind.value),
        }
        table.add_row(*(cells[head] for head in heads))
    return table
