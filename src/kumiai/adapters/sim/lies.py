"""What validators say who have not looked: lazy ones, those who write zeros, and echoes.

lazy    everybody did fine, the same number for all; approves what it should recheck
zeros   the flags, which follow from bytes, and zero for everybody
echo    the flags, and what the committee found about each member in the round before
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kumiai.nodes import ports

LAZY_VALUE = 5_000
CLAIMED_LOSS_PPM, CLAIMED_ACCURACY_PPM = 500_000, 800_000
INVENTS = frozenset({"zeros", "echo"})


def invent(job: ports.ScoreJob) -> ports.ScoreResult:
    """Everybody did fine, says who has not looked."""
    lines = tuple(
        ports.ScoreLine(u.member, LAZY_VALUE, 0, LAZY_VALUE, 0, "", LAZY_VALUE) for u in job.updates
    )
    return ports.ScoreResult(job.validator, lines, CLAIMED_LOSS_PPM, CLAIMED_ACCURACY_PPM, 0)


def repeat(result: ports.ScoreResult, known: Mapping[str, int]) -> ports.ScoreResult:
    """Return the sheet with what is known of each member for its value; zero for the unknown."""
    lines = tuple(
        replace(
            line,
            value=known.get(line.member, 0),
            error=0,
            standalone=known.get(line.member, 0),
            final=known.get(line.member, 0),
        )
        for line in result.lines
    )
    return replace(
        result, lines=lines, loss_ppm=CLAIMED_LOSS_PPM, accuracy_ppm=CLAIMED_ACCURACY_PPM
    )


def find_middle(results: Sequence[ports.ScoreResult]) -> dict[str, int]:
    """Return the middle value of each member over the sheets: what an echo says next."""
    values: dict[str, list[int]] = {}
    for result in results:
        for line in result.lines:
            values.setdefault(line.member, []).append(line.value)
    return {member: sorted(found)[len(found) // 2] for member, found in values.items()}


def bend_recheck(
    result: ports.RecheckResult, behaviour: str, behaviours: Mapping[str, str]
) -> ports.RecheckResult:
    """Return what a rechecker of this kind says instead of what was found."""
    lines = []
    for index, author, is_false in result.lines:
        says = is_false
        if behaviour == "lazy" or behaviour in INVENTS:
            says = False
        elif behaviour == "false-accuser":
            says = True
        elif behaviour == "colluder":
            says = behaviours.get(author, "") != "colluder"
        lines.append((index, author, says))
    return replace(result, lines=tuple(lines))
