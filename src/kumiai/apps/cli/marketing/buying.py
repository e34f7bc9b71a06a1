"""`kumiai market ...`: what the commands do."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import typer
from rich.console import Console
from rich.live import Live

from kumiai.apps.cli.entry import EXIT_INTERRUPTED, get_language, get_settings
from kumiai.apps.cli.marketing import screens
from kumiai.apps.cli.terminal import safe
from kumiai.apps.market.customer import Places, create_job, read_plan, read_state, run_job
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.jobfile import read_job_file
from kumiai.apps.market.saying import leave_command
from kumiai.apps.report.texts import Language, Texts, format_nat, format_percent, load_texts
from kumiai.base.errors import InputError, RunFailedError
from kumiai.market.customer import Accept, Cancel, CustomerPlan, CustomerState, Phase, Rate

JOBS = Path("jobs")
GOOD_END = "all rounds done"
REFRESH_HZ = 4


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
    root = folder or JOBS / read_job_file(job).task.name
    place = MarketFolder(root)
    create_job(job, place, places)
    if not stay:
        typer.echo(str(root))
        return
    _run(place, lang, quiet)


def watch(folder: Path, lang: str | None, quiet: bool) -> None:
    """Go on with a job."""
    place = MarketFolder(folder)
    plan, state = read_state(place)
    if state.phase is Phase.CLOSED:
        _print_end(Console(quiet=quiet, highlight=False), plan, state, place, _texts(lang))
        return
    _run(place, lang, quiet)


def status(folder: Path, as_json: bool, lang: str | None) -> None:
    """Show a job as its journal has it."""
    plan, state = read_state(MarketFolder(folder))
    if as_json:
        typer.echo(json.dumps(screens.describe_job(plan, state), indent=1))
        return
    Console(highlight=False).print(screens.render_job(plan, state, _texts(lang)))


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
    chosen = tuple(find_key(key, state.offers, "KEY") for key in keys)
    _say(place, Accept(chosen))


def cancel(folder: Path) -> None:
    """Stop a job."""
    place = MarketFolder(folder)
    read_plan(place)
    _say(place, Cancel())


def rate(folder: Path, key: str, points: int, sentence: str) -> None:
    """Rate a provider."""
    place = MarketFolder(folder)
    _, state = read_state(place)
    _say(place, Rate(find_key(key, state.members, "KEY"), points, sentence))


def find_key(text: str, known: Iterable[str], field: str) -> str:
    """Return the only known key that begins so; InputError otherwise."""
    found = [key for key in known if key.startswith(text.lower())]
    if len(found) != 1 or not text:
        count = "nothing begins so" if not found else f"{len(found)} begin so: write more of it"
        raise InputError(field, text, count)
    return found[0]


def _say(place: MarketFolder, command: object) -> None:
    leave_command(place.commands_path, command)
    typer.echo(_texts(None).text("market.said"))


def _run(place: MarketFolder, lang: str | None, quiet: bool) -> None:
    texts = _texts(lang)
    plan, _, _ = read_plan(place)
    console = Console(quiet=quiet, highlight=False)
    try:
        with JobScreen(console, plan, texts) as screen:
            state = asyncio.run(run_job(place, screen, get_settings()))
    except KeyboardInterrupt:
        command = f"kumiai market watch {shlex.quote(str(place.root))}"
        print(f"kumiai: {texts.text('market.left', command=command)}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if quiet:
        typer.echo(str(place.root))
    _print_end(console, plan, state, place, texts)
    if state.outcome != GOOD_END:
        raise RunFailedError(texts.text("market.done.early", outcome=state.outcome))


def _print_end(
    console: Console, plan: CustomerPlan, state: CustomerState, place: MarketFolder, texts: Texts
) -> None:
    console.print(screens.render_job(plan, state, texts))
    model = place.root / "model.safetensors"
    if model.is_file():
        console.print(f"{texts.text('market.done.file')}: {model}")
    page = place.root / "report.html"
    if page.is_file():
        console.print(f"{texts.text('market.done.page')}: {page}")


def _texts(lang: str | None) -> Texts:
    return load_texts(cast(Language, get_language(lang)))


class JobScreen:
    """A node's observer that shows a job: a live screen, or a line a round without a terminal."""

    def __init__(
        self,
        console: Console,
        plan: CustomerPlan,
        texts: Texts,
        names: dict[str, str] | None = None,
    ) -> None:
        self._console, self._plan, self._texts = console, plan, texts
        self._names = names or {}
        self._state = CustomerState()
        self._told = 0
        self._live = (
            Live(
                console=console,
                get_renderable=lambda: screens.render_job(
                    self._plan, self._state, self._texts, self._names
                ),
                refresh_per_second=REFRESH_HZ,
                transient=True,
            )
            if console.is_terminal and not console.quiet
            else None
        )

    def __enter__(self) -> JobScreen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def on_step(self, state: Any, effects: Any) -> None:
        """Take in the node's state."""
        self._state = state
        if self._live is None:
            for done in state.history[self._told :]:
                self._console.print(self._line(done), soft_wrap=True, markup=False)
        self._told = len(state.history)

    def on_rejected(self, rejected: Any) -> None:
        """Peers' faults are kept in the journal; the screen stays calm."""

    def on_trouble(self, what: str, error: Exception) -> None:
        """A service failed and is asked again."""
        self._console.print(safe(f"{what}: {error}", "yellow"))

    def _line(self, done: Any) -> str:
        texts = self._texts
        return texts.text(
            "market.live.line",
            round=done.round,
            total=self._plan.terms.rounds,
            accepted=done.accepted,
            rejected=done.rejected,
            loss=format_nat(done.loss_ppm, signed=False),
            accuracy=format_percent(done.accuracy_ppm),
            paid=screens.format_sat(texts, self._state.spent_msat),
        )
