"""`kumiai market judge`: run a judge's node until Ctrl-C."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from kumiai.apps.cli.entry import get_language
from kumiai.apps.cli.terminal import safe
from kumiai.apps.market.customer import Places
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.judge import create_judge, get_arbiter_key, read_policy, run_judge
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
            raise InputError("TASK", "", fix)
        create_judge(task, place, places)
    texts = load_texts(cast(Language, get_language(lang)))
    policy, _, _ = read_policy(place)
    console = Console(quiet=quiet, highlight=False)
    grid = Table.grid(padding=(0, 2))
    grid.add_row(texts.text("market.judge.key"), policy.pubkey)
    grid.add_row(texts.text("market.judge.arbiter"), get_arbiter_key(place))
    console.print(grid)
    asyncio.run(run_judge(place, JudgeScreen(console, texts)))


class JudgeScreen:
    """A node's observer: a line for everything that was judged."""

    def __init__(self, console: Console, texts: Texts) -> None:
        self._console, self._texts = console, texts
        self._told: set[str] = set()

    def on_step(self, state: Any, effects: Any) -> None:
        """Take in the node's state."""
        for key, session in state.sessions.items():
            if session.lines and key not in self._told:
                self._told.add(key)
                accepted = sum(line.ruling == "accepted" for line in session.lines)
                key_of = "market.judge.ruled" if session.dispute else "market.judge.judged"
                line = self._texts.text(
                    key_of,
                    job=session.job[:8],
                    round=session.round,
                    accepted=accepted,
                    count=len(session.lines),
                )
                self._console.print(line, markup=False)

    def on_rejected(self, rejected: Any) -> None:
        """Peers' faults are kept in the journal; the screen stays calm."""

    def on_trouble(self, what: str, error: Exception) -> None:
        """A service failed and is asked again."""
        self._console.print(safe(f"{what}: {error}", "yellow"))
