"""An appeal: one, against a verdict INVALID, with a bond, to a larger jury.

    window    until when it may be filed, counted from the verdict
    bond      put down by who appeals; burnt if the jury upholds the verdict, else returned: an
              appeal costs the honest nothing and the dishonest something
    jury      min(n, 2 m + 1) of the n validators, m being how many had judged; drawn by a seed
              that is fixed only after the appeal was filed; whoever had judged may be drawn again
              only where the others are too few
    verdict   a quorum of the jury for VALID overturns; a quorum for INVALID upholds; anything else
              is INCONCLUSIVE: the first verdict is dropped, nothing is burnt, nothing is paid

`step(state, event, now_ms)` is pure; a second appeal, whatever comes too late, a small bond or a
stranger's vote is a `Reject` that changes nothing. Money is integers of the task's unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kumiai.base import canonical
from kumiai.base.errors import Reject
from kumiai.proofs.policy import draw_auditors
from kumiai.proofs.verdict import Verdict


class Stage(StrEnum):
    """Where an appeal stands."""

    OPEN = "OPEN"  # it may be filed
    FILED = "FILED"  # the seed is waited for
    JURY = "JURY"
    UPHELD = "UPHELD"
    OVERTURNED = "OVERTURNED"
    DROPPED = "DROPPED"  # no quorum either way
    EXPIRED = "EXPIRED"  # nobody appealed in time


@dataclass(frozen=True, slots=True)
class Terms:
    """window_ms: to file; jury_ms: to judge; bond_min: least bond."""

    window_ms: int
    jury_ms: int
    bond_min: int


@dataclass(frozen=True, slots=True)
class Appeal:
    """One verdict and what becomes of it. votes: juror -> verdict."""

    accused: str
    judges: tuple[str, ...]
    validators: tuple[str, ...]
    terms: Terms
    deadline_ms: int
    stage: Stage = Stage.OPEN
    bond: int = 0
    jury: tuple[str, ...] = ()
    votes: Mapping[str, Verdict] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filed:
    """Somebody appealed and put down a bond."""

    sender: str
    bond: int


@dataclass(frozen=True, slots=True)
class SeedDrawn:
    """The beacon after the filing is known: 64 hexadecimal digits."""

    seed: str


@dataclass(frozen=True, slots=True)
class Voted:
    """A juror replayed the work and found this."""

    juror: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The clock was looked at."""


Event = Filed | SeedDrawn | Voted | TimePassed


@dataclass(frozen=True, slots=True)
class Summon:
    """Ask these validators to replay."""

    jury: tuple[str, ...]
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The end: does the first verdict stand, and how much of the bond is burnt or returned."""

    stands: bool
    burnt: int
    returned: int


Effect = Summon | Settle
Result = tuple[Appeal, tuple[Effect, ...]] | Reject
ENDED = frozenset({Stage.UPHELD, Stage.OVERTURNED, Stage.DROPPED, Stage.EXPIRED})


def open_window(
    accused: str, judges: Sequence[str], validators: Sequence[str], terms: Terms, now_ms: int
) -> Appeal:
    """Begin the window of a verdict; ValueError for terms or people that make no sense."""
    if terms.window_ms < 0 or terms.jury_ms < 1 or terms.bond_min < 0:
        raise ValueError(f"{terms}: window_ms and bond_min at least 0, jury_ms at least 1")
    if not judges or not set(judges) <= set(validators):
        raise ValueError(f"{len(judges)} judges must be some of the {len(validators)} validators")
    judged, able = tuple(sorted(set(judges))), tuple(sorted(set(validators)))
    return Appeal(accused, judged, able, terms, now_ms + terms.window_ms)


def step(state: Appeal, event: Event, now_ms: int) -> Result:
    """Take one event; see the module."""
    if state.stage in ENDED:
        return Reject("ended", f"the appeal is {state.stage}")
    if now_ms > state.deadline_ms and not isinstance(event, TimePassed):
        return Reject("too-late", f"{state.stage} ended at {state.deadline_ms} ms")
    match event:
        case Filed():
            return _on_filed(state, event, now_ms)
        case SeedDrawn():
            return _on_seed(state, event, now_ms)
        case Voted():
            return _on_voted(state, event)
        case TimePassed():
            return _on_time(state, now_ms)


def compute_jury_size(judge_count: int, validator_count: int) -> int:
    """Return how many judge an appeal: more than before, as far as there are so many."""
    return min(validator_count, 2 * judge_count + 1)


def _on_filed(state: Appeal, event: Filed, now_ms: int) -> Result:
    if state.stage is not Stage.OPEN:
        return Reject("appealed", "a verdict is appealed against once")
    if event.sender != state.accused:
        return Reject("not-accused", "only the accused appeals")
    least = state.terms.bond_min
    if event.bond < least:
        return Reject("bond-too-small", f"bond {event.bond} is below {least}: put down {least}")
    deadline_ms = now_ms + state.terms.jury_ms
    return replace(state, stage=Stage.FILED, bond=event.bond, deadline_ms=deadline_ms), ()


def _on_seed(state: Appeal, event: SeedDrawn, now_ms: int) -> Result:
    if state.stage is not Stage.FILED:
        return Reject("wrong-stage", f"no jury is drawn while the appeal is {state.stage}")
    if not canonical.is_hash(event.seed):
        return Reject("bad-hash", "seed is not a sha256")
    size = compute_jury_size(len(state.judges), len(state.validators))
    fresh = [key for key in state.validators if key not in state.judges]
    jury = draw_auditors(event.seed, state.accused, fresh, size)
    missing = size - len(jury)
    jury = tuple(sorted({*jury, *draw_auditors(event.seed, state.accused, state.judges, missing)}))
    deadline_ms = now_ms + state.terms.jury_ms
    summoned = replace(state, stage=Stage.JURY, jury=jury, deadline_ms=deadline_ms)
    return summoned, (Summon(jury, deadline_ms),)


def _on_voted(state: Appeal, event: Voted) -> Result:
    if state.stage is not Stage.JURY or event.juror not in state.jury:
        return Reject("not-juror", "only jurors judge, and only while the jury sits")
    if event.juror in state.votes:
        return Reject("duplicate", "voted already")
    voted = replace(state, votes={**state.votes, event.juror: event.verdict})
    if len(voted.votes) < len(state.jury):
        return voted, ()
    return _decide(voted)


def _on_time(state: Appeal, now_ms: int) -> Result:
    if now_ms <= state.deadline_ms:
        return state, ()
    if state.stage is Stage.OPEN:
        return replace(state, stage=Stage.EXPIRED), (Settle(True, 0, 0),)
    return _decide(state)


def _decide(state: Appeal) -> tuple[Appeal, tuple[Effect, ...]]:
    """A quorum is more than two thirds of the jury that was drawn, never of those who spoke."""
    quorum = 2 * len(state.jury) // 3 + 1
    count = {v: sum(vote is v for vote in state.votes.values()) for v in Verdict}
    if state.jury and count[Verdict.INVALID] >= quorum:
        return replace(state, stage=Stage.UPHELD), (Settle(True, state.bond, 0),)
    if state.jury and count[Verdict.VALID] >= quorum:
        return replace(state, stage=Stage.OVERTURNED), (Settle(False, 0, state.bond),)
    return replace(state, stage=Stage.DROPPED), (Settle(False, 0, state.bond),)
