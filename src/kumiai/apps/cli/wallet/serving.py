"""`kumiai wallet serve`: say what the link is and lets its holder do, and serve until Ctrl-C."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import typer
from rich.console import Console

from kumiai.apps.cli.entry import get_language, get_settings
from kumiai.apps.cli.marketing.serving import until_stopped
from kumiai.apps.cli.marketing.watching import NodeScreen, say, say_wallet
from kumiai.apps.cli.options import Lang
from kumiai.apps.cli.wallet.amounts import MSAT_OF_SAT, show_amount
from kumiai.apps.market.places import Places, complete_places
from kumiai.apps.market.serving import PAY, Allowance, Opened, ServedFolder, serve_wallet
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.base.errors import InputError

FOLDER = Path("wallets/me")


def serve(
    name: str | None,
    relays: Sequence[str],
    folder: Path | None,
    budget_sat: int,
    fee_sat: int,
    methods: str | None,
    secret_file: Path | None,
    lang: Lang | None,
) -> None:
    """Serve the wallet over the relays; its link goes to standard output on a line of its own."""
    settings = get_settings()
    secret = str(secret_file.resolve()) if secret_file is not None else ""
    place = ServedFolder(folder or FOLDER)
    before = Places(place.read_relays(), (), "")  # where who has the link asks
    places = complete_places(Places(tuple(relays), (), name or "", secret), settings, before)
    if not places.wallet:
        raise InputError("WALLET", None, "name the wallet, or set KUMIAI_WALLET")
    allowed = Allowance(budget_sat * MSAT_OF_SAT, fee_sat * MSAT_OF_SAT, _split(methods))
    texts = load_texts(cast(Language, get_language(lang)))
    console = Console(highlight=False)
    screen = NodeScreen(console, texts)

    def show(opened: Opened) -> None:
        say_wallet(console, places, texts, opened.balance.spendable_msat)
        for line in _list_allowed(allowed, opened, texts):
            say(console, line)
        path = shlex.quote(str(opened.link_path))
        say(console, texts.text("wallet.serve.secret", path=path), "yellow")
        typer.echo(opened.link)

    def tell_ready() -> None:
        where = ", ".join(places.relays)
        say(console, texts.text("wallet.serve.ready", relays=where))

    work = serve_wallet(place, places, allowed, settings, show, tell_ready, screen.on_relay)
    asyncio.run(until_stopped(work))


def _list_allowed(allowed: Allowance, opened: Opened, texts: Texts) -> list[str]:
    lines = [texts.text("wallet.serve.may", methods=", ".join(opened.methods))]
    if PAY in opened.methods:
        budget, spent = show_amount(allowed.budget_msat), show_amount(opened.spent_msat)
        lines.append(texts.text("wallet.serve.budget", budget=budget, spent=spent))
    else:
        lines.append(texts.text("wallet.serve.no_budget"))
    return lines


def _split(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise InputError("--methods", text, "name at least one, or leave the option out")
    return names
