"""What every role has in common: inputs that wake it, actions it asks for, and its salts.

A role is a frozen description (key, settings) with one method, `step(memory, run, event) ->
(memory, actions)`. `run` is the folded log, the same for everybody; `memory` is what only this node
knows (results it has not shown yet). Roles neither compute nor send: the driver does, and hands
results back as inputs. A role may be woken twice for the same thing and must not mind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from kumiai.base.keys import SigningKey
from kumiai.nodes.ports import Job, JobResult, ScoreJob, TrainJob
from kumiai.proofs.sheets import SheetNumbers
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import RunState
from kumiai.settlement.ledger import LedgerCommand


@dataclass(frozen=True, slots=True)
class Woken:
    """Something changed in the run: look at it."""


@dataclass(frozen=True, slots=True)
class ModelBuilt:
    """The initial model is ready."""

    model: str


@dataclass(frozen=True, slots=True)
class JobDone:
    """A job that this node asked for has its result. `round` and `attempt` are the job's own."""

    round: int
    attempt: int
    result: JobResult


Input = Woken | ModelBuilt | JobDone


@dataclass(frozen=True, slots=True)
class Publish:
    """Sign this content and submit it to the order."""

    kind: Kind
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BuildModel:
    """Make the initial model."""


@dataclass(frozen=True, slots=True)
class Work:
    """Run a job; the result comes back as `JobDone`."""

    attempt: int
    job: Job


@dataclass(frozen=True, slots=True)
class Pay:
    """Apply a command to the ledger."""

    command: LedgerCommand


Action = Publish | BuildModel | Work | Pay


@dataclass(frozen=True, slots=True)
class JudgedRound:
    """A certified round's scoring (of nobody in particular) and the sheets that were shown."""

    job: ScoreJob
    sheets: Mapping[str, SheetNumbers]  # by validator, without the second hold-out's values


@dataclass(frozen=True, slots=True)
class Memory:
    """A node's private memory. `done` holds what was asked for or published, so it happens once.

    codec_states: round -> what a trainer's codec remembers of it, for the last round whose update
    entered the model and for the open one. trained_count: how often a trainer was set to work.
    A trainer's `result` is of the round and attempt it started in; `committed` is the place it was
    last committed in, (0, 0) before; `working` that of the job under way, where a round may pass
    meanwhile. traced: in an audited run a trainer's job of the open round. audit: what a validator
    last found by replaying. judged: round -> what is needed to recompute its sheets, in rechecked
    runs: rounds times validators times updates lines at most, made anew from the log on resume.
    """

    done: frozenset[tuple[str, int, int]] = frozenset()
    result: JobDone | None = None
    finals: Mapping[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    codec_states: Mapping[int, str] = field(default_factory=dict)
    trained_count: int = 0
    committed: tuple[int, int] = (0, 0)
    working: tuple[int, int] = (0, 0)
    traced: TrainJob | None = None
    audit: JobDone | None = None
    judged: Mapping[int, JudgedRound] = field(default_factory=dict)


class Role(Protocol):
    """One member's behaviour."""

    @property
    def key(self) -> SigningKey: ...

    def step(
        self, memory: Memory, run: RunState, event: Input
    ) -> tuple[Memory, tuple[Action, ...]]: ...


def derive_salt(key: SigningKey, purpose: str, task_id: str, round_index: int, attempt: int) -> str:
    """Return a salt only the key's owner can know: sha256 over secret, purpose and place."""
    text = f"/{purpose}/{task_id}/{round_index}/{attempt}"
    return hashlib.sha256(key.secret + text.encode()).hexdigest()


def derive_seed(*parts: object) -> int:
    """Return 63 bits from the parts' text: the seed of a piece of work."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
