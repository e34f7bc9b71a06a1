"""What a step asks of the world, and what a step returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kumiai.base.errors import Reject
from kumiai.rounds.signed import Certificate, ChainRound
from kumiai.rounds.state import RoundPhase, RunPhase, RunState
from kumiai.settlement.ledger import LedgerCommand


@dataclass(frozen=True, slots=True)
class PhaseEntered:
    """Wake the members: this phase has begun. `round_phase` is None outside rounds."""

    run_phase: RunPhase
    round: int
    attempt: int
    round_phase: RoundPhase | None
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Certified:
    """Tell everybody: a quorum signed this round; hand out its receipts."""

    certificate: Certificate
    receipts: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A quorum signed what a chain needs to settle the round: comes before the money moves.

    signatures: (address, r s and recovery id as hex), ordered by address.
    """

    settled: ChainRound
    signatures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MoneyMoved:
    """Apply this command to the ledger; it is idempotent."""

    command: LedgerCommand


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over: FINISHED, HALTED or FAILED."""

    phase: RunPhase
    reason: str


Effect = PhaseEntered | Certified | Sealed | MoneyMoved | RunEnded


@dataclass(frozen=True, slots=True)
class Outcome:
    """The new state and what to do; with `reject` set, the old state and nothing to do."""

    state: RunState
    effects: tuple[Effect, ...] = ()
    reject: Reject | None = None


def refuse(state: RunState, reason: str, detail: str, **evidence: str) -> Outcome:
    """Return the outcome that changes nothing and says why."""
    return Outcome(state=state, reject=Reject(reason, detail, evidence))
