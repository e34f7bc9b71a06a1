"""`kumiai market ...`: what the commands do."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import typer
from rich.console import Console

from kumiai.apps.cli.entry import EXIT_INTERRUPTED, get_language, get_settings
from kumiai.apps.cli.marketing import screens
from kumiai.apps.cli.marketing.watching import JobScreen, NodeScreen, say, say_places
from kumiai.apps.cli.wallet.amounts import show_amount
from kumiai.apps.cli.wallet.purse import Settings, read_purse
from kumiai.apps.market.customer import (
    check_job,
    create_job,
    is_settled,
    move_job,
    read_limit,
    read_plan,
    read_state,
    run_job,
)
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.jobfile import read_job_file
from kumiai.apps.market.places import Places, read_spendable
from kumiai.apps.market.saying import leave_command
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.base.errors import InputError, RunFailedError
from kumiai.market.customer import Accept, Cancel, CustomerPlan, CustomerState, Phase, Rate

JOBS = Path("jobs")
GOOD_END = "all rounds done"


def make_places(
    relays: Sequence[str] | None,
    blobs: Sequence[str] | None,
    wallet: str,
    secret: Path | None,
    ecash: str,
) -> Places:
    """Put the options about others together."""
    shown = str(secret.resolve()) if secret is not None else ""
    return Places(tuple(relays or ()), tuple(blobs or ()), wallet, shown, ecash)


def post(
    job: Path, folder: Path | None, places: Places, stay: bool, lang: str | None, quiet: bool
) -> None:
    """Prepare and post a job; stay until it is done."""
    read = read_job_file(job)
    place = MarketFolder(folder or JOBS / read.task.name)
    if place.exists:
        fix = f"a job lives there: go on with `{_watch(place)}`, or name another --folder"
        raise InputError("--folder", str(place.root), fix)
    full = asyncio.run(check_job(read, places, get_settings()))
    create_job(job, place, full)
    if not stay:
        typer.echo(str(place.root))
        if not quiet:
            _tell(_texts(lang).text("market.prepared", command=_watch(place)))
        return
    _run(place, lang, quiet)


def watch(folder: Path, places: Places, lang: str | None, quiet: bool) -> None:
    """Go on with a job; with relays or blob servers named, through these from now on."""
    place = MarketFolder(folder)
    plan, state = read_state(place)
    if places.relays or places.blobs:
        move_job(place, places)
    is_over = state.phase is Phase.CLOSED and is_settled(state) and not place.has_commands
    if is_over or (state.phase is Phase.CLOSED and place.is_running):
        console = Console(quiet=quiet, highlight=False)
        _print_end(console, plan, state, place, _texts(lang))
        _tell_limit(place, NodeScreen(console, _texts(lang), wallet=_get_wallet(place)))
        _check_end(state, _texts(lang))
        return
    _run(place, lang, quiet)


def status(folder: Path, as_json: bool, lang: str | None) -> None:
    """Show a job as its journal has it."""
    plan, state = read_state(MarketFolder(folder))
    if as_json:
        typer.echo(json.dumps(screens.describe_job(plan, state), indent=1))
        return
    shown = screens.render_job(plan, state, _texts(lang), _read_names(MarketFolder(folder)))
    Console(highlight=False).print(shown)


def report(folder: Path, out: Path | None, lang: str | None) -> None:
    """Write the job's page; without --lang it starts in its reader's language."""
    from kumiai.apps.market.page import write_page

    typer.echo(str(write_page(MarketFolder(folder), out, get_language(lang) if lang else "auto")))


def offers(folder: Path, as_json: bool, lang: str | None) -> None:
    """List offers."""
    _, state = read_state(MarketFolder(folder))
    if as_json:
        found = [screens.describe_offer(offer) for offer in state.offers.values()]
        typer.echo(json.dumps(found, indent=1))
        return
    Console(highlight=False).print(screens.render_offers(state, _texts(lang)))


def accept(folder: Path, keys: Sequence[str]) -> None:
    """Take offers by hand."""
    place = MarketFolder(folder)
    _, state = read_state(place)
    if state.phase not in (Phase.DRAFT, Phase.STORING, Phase.OFFERS):
        raise InputError("DIR", str(folder), "offers were taken already: see `status`")
    chosen = tuple(find_key(key, state.offers, "KEY") for key in keys)
    if not state.offers:
        raise InputError("DIR", str(folder), "no offer came yet: see `offers`")
    _say(place, Accept(chosen))


def cancel(folder: Path) -> None:
    """Stop a job."""
    place = MarketFolder(folder)
    _, state = read_state(place)
    if state.is_cancelled or state.phase in (Phase.PAYING, Phase.CLOSED):
        raise InputError("DIR", str(folder), f"the job has ended: {state.outcome or 'cancelled'}")
    _say(place, Cancel())


def rate(folder: Path, key: str, points: int, sentence: str) -> None:
    """Rate a provider; where the job is over and no node runs, one runs until it is said."""
    place = MarketFolder(folder)
    _, state = read_state(place)
    known = [member.provider for member in state.members.values() if member.contract]
    chosen = find_key(key, known, "KEY")
    if state.phase is not Phase.CLOSED or place.is_running:
        _say(place, Rate(chosen, points, sentence))
        return
    leave_command(place.commands_path, Rate(chosen, points, sentence))
    screen = NodeScreen(Console(stderr=True, highlight=False), _texts(None))
    asyncio.run(run_job(place, screen, get_settings(), screen.on_relay))
    typer.echo(_texts(None).text("market.rated", provider=chosen[:8], points=points))


def find_key(text: str, known: Iterable[str], field: str) -> str:
    """Return the only known key that begins so; InputError otherwise."""
    found = [key for key in known if key.startswith(text.lower())]
    if len(found) != 1 or not text:
        fix = f"{len(found)} begin so: write more digits of it"
        if not found:
            fix = "nothing begins so: write the first digits as `status` or `offers` shows them"
        raise InputError(field, text, fix)
    return found[0]


def _say(place: MarketFolder, command: object) -> None:
    is_running = place.is_running
    leave_command(place.commands_path, command)
    key = "market.said" if is_running else "market.left_word"
    typer.echo(_texts(None).text(key, command=_watch(place)))


def _watch(place: MarketFolder) -> str:
    return f"kumiai market watch {shlex.quote(str(place.root))}"


def _run(place: MarketFolder, lang: str | None, quiet: bool) -> None:
    texts = _texts(lang)
    _, places, _ = read_plan(place)
    plan, state = read_state(place)
    place.check_free("DIR", f"kumiai market status {shlex.quote(str(place.root))}")
    console = Console(quiet=quiet, highlight=False)
    try:
        spendable_msat = asyncio.run(read_spendable(places, get_settings()))
        say_places(console, places, texts, spendable_msat)
        folder = shlex.quote(str(place.root))
        if places.ecash:  # what was paid for is fetched before a round needs it
            purse = read_purse(Settings(place.root, quiet, lang))
            held = show_amount(purse.balance.spendable_msat)
            shown = texts.text("market.begin.ecash", ecash=purse.name, amount=held, folder=folder)
            say(console, shown, "dim")
        names, shown = _read_names(place), places.wallet_shown
        with JobScreen(console, plan, texts, names, folder, state, shown) as screen:
            _tell_limit(place, screen)
            state = asyncio.run(run_job(place, screen, get_settings(), screen.on_relay))
    except KeyboardInterrupt:
        _tell(texts.text("market.left", command=_watch(place)))
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _print_end(console, plan, state, place, texts)
    _check_end(state, texts)


def _get_wallet(place: MarketFolder) -> str:
    return read_plan(place)[1].wallet_shown


def _tell_limit(place: MarketFolder, screen: NodeScreen) -> None:
    """Say at which limit of the own wallet the last payment failed, before this node began."""
    if limit := read_limit(place):
        screen.on_limit(limit)


def _check_end(state: CustomerState, texts: Texts) -> None:
    """RunFailedError for a job that ended early, however often one looks at it."""
    if state.outcome != GOOD_END:
        outcome = screens.get_outcome(state.outcome, texts)
        raise RunFailedError(texts.text("market.done.early", outcome=outcome))


def _print_end(
    console: Console, plan: CustomerPlan, state: CustomerState, place: MarketFolder, texts: Texts
) -> None:
    if console.quiet:
        typer.echo(str(place.root))
    console.print(screens.render_job(plan, state, texts, _read_names(place)))
    if not is_settled(state):
        say(console, texts.text("market.done.under_way", command=_watch(place)), "yellow")
    model = place.root / "model.safetensors"
    if model.is_file():
        say(console, f"{texts.text('market.done.file')}: {model}")
    page = place.root / "report.html"
    if page.is_file():
        say(console, f"{texts.text('market.done.page')}: {page}")


def _read_names(place: MarketFolder) -> dict[str, str]:
    """What the customer calls keys, each with what `accept` and `rate` know it by."""
    from kumiai.apps.market.page import read_names

    known = read_names(place).items()
    return {key: f"{who.name} ({key[: screens.KEY_DIGITS]})" for key, who in known}


def _tell(line: str) -> None:
    print(f"kumiai: {line}", file=sys.stderr)  # noqa: T201


def _texts(lang: str | None) -> Texts:
    return load_texts(cast(Language, get_language(lang)))
