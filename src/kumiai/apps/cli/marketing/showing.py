"""`kumiai demo --scenario market`: the open market on one machine, and everybody's money."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import Any, cast

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.marketing.screens import get_reason, make_table
from kumiai.apps.cli.marketing.watching import JobScreen
from kumiai.apps.cli.wallet.amounts import show_amount
from kumiai.apps.report.texts import (
    Language,
    Texts,
    format_bytes,
    format_percent,
    format_seconds,
    load_texts,
)


def demo(seed: int, folder: Path, lang: str | None, quiet: bool) -> None:
    """Play the market in `folder` and show what everybody got."""
    from kumiai.apps.market import demo as market_demo  # takes seconds

    texts = load_texts(cast(Language, get_language(lang)))
    console = Console(quiet=quiet, highlight=False)
    folder.mkdir(parents=True, exist_ok=True)
    screen: JobScreen | None = None

    def tell(plan: Any, state: Any, keys: dict[str, str]) -> None:
        nonlocal screen
        if screen is None:
            names = {key: name for name, key in keys.items()}
            screen = JobScreen(console, plan, texts, names)
            screen.__enter__()
        screen.on_step(state, ())

    try:
        outcome = asyncio.run(
            market_demo.play(folder.resolve(), market_demo.make_script(seed), tell)
        )
    finally:
        if screen is not None:
            screen.__exit__()
    if quiet:
        typer.echo(str(folder))
        return
    console.print()
    console.print(_everybody(outcome, texts))
    console.print(_sum_up(outcome, texts))
    console.print(_next_steps(folder, texts))


def _everybody(outcome: Any, texts: Texts) -> Table:
    """The ledger: one line a member."""
    numbers = ("accepted", "rejected", "earned")
    table = make_table(texts, ("provider", "conduct", *numbers, "why"), numbers)
    for one in outcome.cast:
        key = outcome.keys[one.name]
        member = outcome.state.members.get(key)
        codes = [w.code for w in outcome.state.works.values() if w.provider == key and w.code]
        faults = list(dict.fromkeys(str(code) for code in codes if code != "accepted"))
        earned = outcome.balances[one.name].spendable_msat
        table.add_row(
            one.name,
            texts.text(f"market.conduct.{one.conduct}"),
            str(member.accepted if member is not None else 0),
            str(sum(code != "accepted" for code in codes)),
            Text(show_amount(earned), "green" if earned else "red"),
            "; ".join(get_reason(code, texts) for code in faults),
        )
    return table


def _sum_up(outcome: Any, texts: Texts) -> Padding:
    held = sum(balance.held_msat for balance in outcome.balances.values())
    there = sum(balance.spendable_msat for balance in outcome.balances.values())
    lines = [
        texts.text(
            "market.done.model",
            accuracy=format_percent(outcome.test_accuracy_ppm),
            paid=show_amount(outcome.state.spent_msat),
            rounds=outcome.plan.terms.rounds,
        ),
        texts.text(
            "market.done.books",
            funded=show_amount(outcome.funded_msat),
            held=show_amount(held),
            there=show_amount(there),
        ),
        texts.text(
            "market.done.events",
            count=outcome.event_count,
            bytes=format_bytes(outcome.event_bytes),
            seconds=format_seconds(outcome.seconds),
        ),
    ]
    return Padding(Text("\n".join(lines)), (1, 0, 1, 0))


def _next_steps(folder: Path, texts: Texts) -> Padding:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    place = shlex.quote(str(folder))
    grid.add_row(texts.text("market.done.page"), f"{folder}/customer/report.html")
    grid.add_row(texts.text("market.done.file"), f"{folder}/customer/model.safetensors")
    grid.add_row(texts.text("market.job"), Text(f"kumiai market status {place}/customer", "bold"))
    grid.add_row("", Text(f"kumiai provider status {place}/Aoi", "bold"))
    wallet = f"kumiai wallet history 'embedded:{folder}/bank.sqlite#Aoi'"
    grid.add_row(texts.text("market.done.next"), Text(wallet, "bold"))
    return Padding(grid, (0, 0, 1, 0))
