"""`kumiai market providers`: who offers training."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

import typer
from rich.console import Console
from rich.text import Text

from kumiai.apps.cli.entry import get_language, get_settings
from kumiai.apps.cli.marketing.screens import make_table
from kumiai.apps.cli.terminal import clean
from kumiai.apps.cli.wallet.amounts import show_amount
from kumiai.apps.market.directory import fetch_providers
from kumiai.apps.market.places import Places, complete_places
from kumiai.apps.report.texts import Language, load_texts


def list_providers(relays: Sequence[str], as_json: bool, lang: str | None) -> None:
    """Print who announced itself on these relays."""
    named = complete_places(Places(tuple(relays), (), ""), get_settings()).relays
    found = asyncio.run(fetch_providers(named, int(time.time())))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
        return
    texts = load_texts(cast(Language, get_language(lang)))
    console = Console(highlight=False)
    if not found:
        console.print(Text(texts.text("market.providers.none"), "dim"))
        return
    heads = ("provider", "name", "price", "payment", "hardware", "standing")
    table = make_table(texts, heads, ("price",))
    for one in found:
        key = "market.providers.alive" if one.is_alive else "market.providers.silent"
        table.add_row(
            one.provider[:8],
            clean(one.name),
            show_amount(one.price_msat),
            clean(", ".join(one.payment)),
            clean(one.hardware),
            Text(texts.text(key), "green" if one.is_alive else "dim"),
        )
    console.print(table)
