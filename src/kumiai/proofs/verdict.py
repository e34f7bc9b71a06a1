"""What a replay showed, and what a committee concludes from its members' replays.

    VALID         every replayed segment ended in the digest that was committed to
    INVALID       one did not, on a machine of the trainer's own class; or the trace begins at
                  another model than the round's, has another length than the assigned data give,
                  or does not end in the update
    INCONCLUSIVE  it did not, but the replaying machine is of another class than the trainer's
    MISSING       an opened state could not be fetched

Equal digests are proof on any machine; different ones only within a class, where the same work
gives the same bits. A distance or a metric is never compared.

A verdict stands when a quorum of the committee reached it. Without an accusation the word of
those drawn is enough: that is what re-audits, drawn at random, look after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """One validator's, or the committee's, conclusion about one member's trace."""

    VALID = "VALID"
    INVALID = "INVALID"
    INCONCLUSIVE = "INCONCLUSIVE"
    MISSING = "MISSING"


START, CLOSING = -1, -2  # places of a fault outside of all segments: the first state, the update


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A validator's replay of one member's segments.

    segment: where the first difference was found (START, CLOSING or a segment), 0 where none was.
    digest: what the replay gave there, "" where nothing was computed.
    """

    verdict: Verdict
    segment: int
    digest: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """A line with who gave it and the class of the machine that it was computed on."""

    validator: str
    machine: str
    line: AuditLine


def compare_machines(trainer: str, auditor: str) -> Verdict:
    """Return what a difference of digests means between these two classes."""
    return Verdict.INVALID if trainer and trainer == auditor else Verdict.INCONCLUSIVE


def needs_jury(opinions: Sequence[Opinion]) -> bool:
    """Tell whether the whole committee must replay: unless somebody did and all found it VALID."""
    return not opinions or any(o.line.verdict is not Verdict.VALID for o in opinions)


def conclude(opinions: Sequence[Opinion], quorum: int) -> Verdict:
    """Return the committee's verdict; INCONCLUSIVE where no quorum agrees on another."""
    if not needs_jury(opinions):
        return Verdict.VALID
    for verdict in (Verdict.INVALID, Verdict.VALID, Verdict.MISSING):
        if sum(o.line.verdict is verdict for o in opinions) >= quorum:
            return verdict
    return Verdict.INCONCLUSIVE


def find_liars(
    opinions: Sequence[Opinion], verdict: Verdict, machine: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return who called VALID what the committee found INVALID, and who accused falsely.

    Only of the trainer's own class: elsewhere an honest replay may differ. The first have
    approved what they cannot have replayed; the second may have a faulty machine.
    """
    own = [o for o in opinions if o.machine == machine and machine]
    approved = tuple(o.validator for o in own if o.line.verdict is Verdict.VALID)
    accused = tuple(o.validator for o in own if o.line.verdict is Verdict.INVALID)
    return (
        approved if verdict is Verdict.INVALID else (),
        accused if verdict is Verdict.VALID else (),
    )
