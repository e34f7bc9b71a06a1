"""`kumiai provider ...`: what the commands do."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import typer
from rich.console import Console
from rich.live import Live

from kumiai.apps.cli.entry import EXIT_INTERRUPTED, get_language, get_settings
from kumiai.apps.cli.marketing import screens
from kumiai.apps.cli.marketing.buying import find_key
from kumiai.apps.cli.terminal import safe
from kumiai.apps.market.customer import Places
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.provider import (
    Wishes,
    create_provider,
    read_policy,
    read_state,
    run_provider,
)
from kumiai.apps.market.saying import leave_command
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.base.errors import InputError
from kumiai.market.provider import (
    Dispute,
    Leave,
    ProviderPolicy,
    ProviderState,
    RateCustomer,
)

FOLDER = Path("providers/me")
REFRESH_HZ = 4


def make_wishes(
    name: str,
    price: int,
    hardware: str,
    payment: str,
    train_s: int,
    recipes: str,
    allow_code: Sequence[str] | None,
    contracts: int,
    disputes: bool,
) -> Wishes:
    """Put the options about the own machine together."""
    return Wishes(
        name=name or "provider",
        price_sat=price,
        hardware=hardware,
        payment=_split(payment),
        train_s=train_s,
        recipes=_split(recipes),
        code=tuple(allow_code or ()),
        contracts_max=contracts,
        disputes=disputes,
    )


def start(
    folder: Path | None, wishes: Wishes, places: Places, lang: str | None, quiet: bool
) -> None:
    """Make the provider's folder where there is none, and run its node."""
    place = MarketFolder(folder or FOLDER)
    if not place.exists:
        if not wishes.price_sat:
            raise InputError("--price", "", "say what an accepted round costs, in sat")
        if not places.wallet:
            raise InputError("--wallet", "", "say who is paid: --wallet embedded:FILE#NAME")
        asyncio.run(create_provider(place, wishes, places, get_settings()))
    texts = load_texts(cast(Language, get_language(lang)))
    policy, _ = read_policy(place)
    console = Console(quiet=quiet, highlight=False)
    try:
        with ProviderScreen(console, policy, texts) as screen:
            asyncio.run(run_provider(place, screen, get_settings()))
    except KeyboardInterrupt:
        command = f"kumiai provider start --folder {shlex.quote(str(place.root))}"
        print(f"kumiai: {texts.text('market.left', command=command)}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(EXIT_INTERRUPTED) from None


def status(folder: Path, as_json: bool, lang: str | None) -> None:
    """Show a provider as its journal has it."""
    policy, state = read_state(MarketFolder(folder))
    if as_json:
        typer.echo(json.dumps(screens.describe_provider(policy, state), indent=1))
        return
    texts = load_texts(cast(Language, get_language(lang)))
    Console(highlight=False).print(screens.render_provider(policy, state, texts))


def leave(folder: Path) -> None:
    """Take no more work."""
    place = MarketFolder(folder)
    read_policy(place)
    _say(place, Leave())


def dispute(folder: Path, request: str) -> None:
    """Ask a job's jury."""
    place = MarketFolder(folder)
    _, state = read_state(place)
    _say(place, Dispute(find_key(request, state.works, "REQUEST")))


def rate(folder: Path, contract: str, points: int, sentence: str) -> None:
    """Rate a customer."""
    place = MarketFolder(folder)
    _, state = read_state(place)
    _say(place, RateCustomer(find_key(contract, state.contracts, "CONTRACT"), points, sentence))


def _say(place: MarketFolder, command: object) -> None:
    leave_command(place.commands_path, command)
    typer.echo(load_texts(cast(Language, get_language(None))).text("market.said"))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class ProviderScreen:
    """A node's observer that shows a provider: live, or a line for every step of its works."""

    def __init__(self, console: Console, policy: ProviderPolicy, texts: Texts) -> None:
        self._console, self._policy, self._texts = console, policy, texts
        self._state = ProviderState()
        self._stages: dict[str, str] = {}
        self._live = (
            Live(
                console=console,
                get_renderable=lambda: screens.render_provider(
                    self._policy, self._state, self._texts
                ),
                refresh_per_second=REFRESH_HZ,
            )
            if console.is_terminal and not console.quiet
            else None
        )

    def __enter__(self) -> ProviderScreen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def on_step(self, state: Any, effects: Any) -> None:
        """Take in the node's state."""
        self._state = state
        if self._live is not None:
            return
        for key, work in state.works.items():
            if self._stages.get(key) != work.stage:
                self._stages[key] = work.stage
                stage = self._texts.text(f"market.stage.{work.stage}")
                place = f"{self._texts.text('market.round')} {work.request.terms.round}"
                self._console.print(f"{work.request.job[:8]} {place}: {stage}", markup=False)

    def on_rejected(self, rejected: Any) -> None:
        """Peers' faults are kept in the journal; the screen stays calm."""

    def on_trouble(self, what: str, error: Exception) -> None:
        """A service failed and is asked again."""
        self._console.print(safe(f"{what}: {error}", "yellow"))
