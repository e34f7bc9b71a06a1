"""Carrying out what a market machine asks for: who does what, and what a result is.

A carrier is a function of one sort of effect. It hands every result to `emit`; payments give
several, the rest one. It may be called again after a crash for the same effect, and then finds what
it did before: blobs by their names, money by its key. Whatever may pass it tries again for ever;
`Failed` it says only of what will not change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kumiai.base.errors import KumiaiError
from kumiai.market.effects import Failed, Result
from kumiai.nodes.market.patience import Patience

T = TypeVar("T")
Emit = Callable[[Result], None]
Carrier = Callable[[Any, Emit], Coroutine[Any, Any, None]]
Carriers = Mapping[type, Carrier]
Report = Callable[[str, Exception], None]

DETAIL_CHARS_MAX = 300


def fail(key: str, code: str, error: object) -> Failed:
    """Say that an effect cannot be had, in one line of bounded length.

    It is written down and told to others, and may quote anybody: so it holds printable text only,
    which has a form in UTF-8 and in events.
    """
    words = " ".join(str(error)[: 2 * DETAIL_CHARS_MAX].split())
    shown = "".join(it if it.isprintable() else "?" for it in words)
    return Failed(key, code, shown[:DETAIL_CHARS_MAX])


@dataclass(frozen=True, slots=True)
class Insisting:
    """Tries a call again while its error is retriable; tells `report` of each failure."""

    patience: Patience
    report: Report

    async def call(
        self,
        what: str,
        attempt: Callable[[], Awaitable[T]],
        is_over: Callable[[], bool] = lambda: False,
    ) -> T:
        """Return the first answer. Raises a permanent error, or the last one once `is_over`."""
        for wait_s in self.patience.waits():
            try:
                return await attempt()
            except KumiaiError as error:
                if not error.is_retriable or is_over():
                    raise
                self.report(what, error)
            await self.patience.sleep(wait_s)
        raise AssertionError("waits never end")
