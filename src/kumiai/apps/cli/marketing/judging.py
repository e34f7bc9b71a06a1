"""`kumiai market judge`: run a judge's node until Ctrl-C."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Any, cast

import typer
from rich.console import Console

from kumiai.apps.cli.entry import EXIT_INTERRUPTED, get_language, get_settings
from kumiai.apps.cli.marketing.watching import NodeScreen, say, say_places
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.judge import create_judge, get_arbiter_key, read_policy, run_judge
from kumiai.apps.market.places import Places
from kumiai.apps.report.texts import Language, Texts, load_texts
from kumiai.base.errors import InputError

FOLDER = Path("judges/me")


def run(
    task: Path | None, folder: Path | None, places: Places, lang: str | None, quiet: bool
) -> None:
    """Make the judge's folder where there is none, and run its node."""
    place = MarketFolder(folder or FOLDER)
    if not place.exists:
        if task is None:
            fix = "give the job's task file, with a data.source of your own"
            raise InputError("TASK", None, fix)
        create_judge(task, place, places, get_settings())
    elif task is not None:
        fix = f"{place.root} has its task already: leave it out, or name another --folder"
        raise InputError("TASK", str(task), fix)
    place.check_free("--folder", "its own terminal")
    texts = load_texts(cast(Language, get_language(lang)))
    policy, full, _ = read_policy(place)
    console = Console(quiet=quiet, highlight=False)
    say(console, f"{texts.text('market.judge.key')}: {policy.pubkey}")
    say(console, f"{texts.text('market.judge.arbiter')}: {get_arbiter_key(place)}")
    say_places(console, full, texts, None)
    screen = JudgeScreen(console, texts)
    try:
        asyncio.run(run_judge(place, screen, screen.on_relay))
    except KeyboardInterrupt:
        command = f"kumiai market judge --folder {shlex.quote(str(place.root))}"
        print(f"kumiai: {texts.text('market.left', command=command)}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(EXIT_INTERRUPTED) from None


class JudgeScreen(NodeScreen):
    """A node's observer: a line for everything that was judged."""

    def __init__(self, console: Console, texts: Texts) -> None:
        super().__init__(console, texts)
        self._told: set[str] = set()

    def on_step(self, state: Any, effects: Any) -> None:
        """Take in the node's state."""
        for key, session in state.sessions.items():
            if session.lines and key not in self._told:
                self._told.add(key)
                accepted = sum(line.ruling == "accepted" for line in session.lines)
                key_of = "market.judge.ruled" if session.dispute else "market.judge.judged"
                line = self.texts.text(
                    key_of,
                    job=session.job[:8],
                    round=session.round,
                    accepted=accepted,
                    count=len(session.lines),
                )
                say(self.console, line)
