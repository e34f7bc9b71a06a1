"""`kumiai provider ...`: what the commands do."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import typer
from rich.console import Console

from kumiai.apps.cli.entry import EXIT_INTERRUPTED, get_language, get_settings
from kumiai.apps.cli.marketing import screens
from kumiai.apps.cli.marketing.buying import find_key
from kumiai.apps.cli.marketing.watching import ProviderScreen, say, say_places
from kumiai.apps.cli.wallet.amounts import show_amount
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.places import Places, read_spendable
from kumiai.apps.market.provider import (
    AUTO,
    Wishes,
    create_provider,
    move_provider,
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
    RateCustomer,
)
from kumiai.market.provider.state import Stage

FOLDER = Path("providers/me")
PAYMENT = "hold,fair,invoice"
TRAIN_S = 60
CONTRACTS_MAX = 4
HOUR_S = 3600
WAIT_HOURS = 24


@dataclass(frozen=True, slots=True)
class Said:
    """The options about the own machine, as they were written; None: not at all."""

    price: int | None
    hardware: str | None
    name: str | None
    payment: str | None
    train_s: int | None
    recipes: str | None
    allow_code: Sequence[str] | None
    contracts: int | None
    disputes: bool | None
    wait_hours: int | None

    def make_wishes(self) -> Wishes:
        """Put them together with what is meant where nothing is said."""
        if self.price is None:
            fix = "say what an accepted round costs, in sat: --price 20"
            raise InputError("--price", None, fix)
        return Wishes(
            name=self.name or "provider",
            price_sat=self.price,
            hardware=self.hardware or AUTO,
            payment=_split(PAYMENT if self.payment is None else self.payment),
            train_s=self.train_s or TRAIN_S,
            recipes=_split(self.recipes or ""),
            code=tuple(self.allow_code or ()),
            contracts_max=self.contracts or CONTRACTS_MAX,
            disputes=bool(self.disputes),
            wait_s_max=HOUR_S * (self.wait_hours or WAIT_HOURS),
        )

    def check_unsaid(self, places: Places, root: Path) -> None:
        """InputError for what was decided when the folder was made and cannot be changed."""
        written = {f"--{name.replace('_', '-')}": value for name, value in asdict(self).items()}
        written |= {"--wallet": places.wallet_or_none, "--ecash": places.ecash or None}
        for option, value in written.items():
            if value is not None:
                fix = f"was decided when {root} was made: leave it out, or name another --folder"
                raise InputError(option, value, fix)


def start(folder: Path | None, said: Said, places: Places, lang: str | None, quiet: bool) -> None:
    """Make the provider's folder where there is none, and run its node."""
    place = MarketFolder(folder or FOLDER)
    if place.exists:
        root = shlex.quote(str(place.root))
        place.check_free("--folder", f"kumiai provider status {root}")
        said.check_unsaid(places, place.root)
        if places.relays or places.blobs:
            move_provider(place, places)
    else:
        asyncio.run(create_provider(place, said.make_wishes(), places, get_settings()))
    texts = load_texts(cast(Language, get_language(lang)))
    policy, full = read_policy(place)
    console = Console(quiet=quiet, highlight=False)
    try:
        spendable_msat = asyncio.run(read_spendable(full, get_settings()))
        say(console, _introduce(policy, texts))
        say_places(console, full, texts, spendable_msat)
        with ProviderScreen(console, policy, texts) as screen:
            running = run_provider(place, screen, get_settings(), screen.on_relay)
            asyncio.run(_until_terminated(running))
    except (KeyboardInterrupt, asyncio.CancelledError):
        line = texts.text("market.left", command=_start(place))
        print(f"kumiai: {line}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(EXIT_INTERRUPTED) from None
    say(console, texts.text("market.provider.gone", folder=place.root))


async def _until_terminated(running: Coroutine[Any, Any, object]) -> None:
    """Take SIGTERM as Ctrl-C is taken."""
    task = asyncio.ensure_future(running)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


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
    _, state = read_state(place)
    if state.announced_s and not state.is_open and not place.is_running:
        raise InputError("DIR", str(folder), "this provider has left already")
    _say(place, Leave())


def dispute(folder: Path, request: str) -> None:
    """Ask a job's jury."""
    place = MarketFolder(folder)
    _, state = read_state(place)
    key = find_key(request, state.works, "REQUEST")
    work = state.works[key]
    if work.stage is not Stage.REJECTED:
        stage = load_texts("en").text(f"market.stage.{work.stage}")
        raise InputError("REQUEST", request, f"only what was not accepted; this one: {stage}")
    contract = state.contracts.get(work.request.contract)
    if contract is None or contract.job_terms is None or not contract.job_terms.jury:
        raise InputError("REQUEST", request, "its job names no jury: nobody rules on it")
    _say(place, Dispute(key))


def rate(folder: Path, contract: str, points: int, sentence: str) -> None:
    """Rate a customer."""
    place = MarketFolder(folder)
    _, state = read_state(place)
    _say(place, RateCustomer(find_key(contract, state.contracts, "CONTRACT"), points, sentence))


def _say(place: MarketFolder, command: object) -> None:
    is_running = place.is_running
    leave_command(place.commands_path, command)
    key = "market.said" if is_running else "market.left_word"
    line = load_texts(cast(Language, get_language(None))).text(key, command=_start(place))
    typer.echo(line)


def _start(place: MarketFolder) -> str:
    return f"kumiai provider start --folder {shlex.quote(str(place.root))}"


def _introduce(policy: ProviderPolicy, texts: Texts) -> str:
    return texts.text(
        "market.begin.provider",
        name=policy.name,
        pubkey=policy.pubkey[:8],
        price=show_amount(policy.price_msat),
        payment=", ".join(policy.payment),
        hardware=policy.hardware,
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
