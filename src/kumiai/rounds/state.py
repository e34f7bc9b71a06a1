"""What is known of a run: frozen data, and the tables that say which state may follow which.

The tables are data so that tests, documents and machines read the same ones. `RunState` is a value:
every step makes a new one; nothing in it refers to a clock, a file or a tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from kumiai.base.amounts import PPM
from kumiai.base.log import GENESIS_HEAD
from kumiai.consensus.epochs import Epoch
from kumiai.governance.stop import Votes
from kumiai.learning.privacy.dealing import MaskDealing
from kumiai.proofs.verdict import AuditLine
from kumiai.rounds.opened import Audits, FinalPart, Holdouts, OpenedGroup, Rechecks
from kumiai.rounds.signed import Certificate, OnChain, Vote
from kumiai.settlement.ledger import LedgerCommand
from kumiai.tasks.document import TaskDocument


class RunPhase(StrEnum):
    """The life of a run."""

    DRAFT = "DRAFT"
    FUNDED = "FUNDED"
    ENROLLING = "ENROLLING"
    WARMUP = "WARMUP"
    TRAINING = "TRAINING"
    FINALIZING = "FINALIZING"
    FINISHED = "FINISHED"
    PAUSED = "PAUSED"
    DEGRADED = "DEGRADED"
    HALTED = "HALTED"
    FAILED = "FAILED"


class RoundPhase(StrEnum):
    """The phases of one round that wait for somebody; ASSIGN and SETTLE take no time."""

    DEAL = "DEAL"  # secure runs only: mask secrets are dealt before anybody trains
    TRAIN = "TRAIN"
    REVEAL = "REVEAL"
    UNMASK = "UNMASK"  # secure runs only: the groups' sums are opened
    CHALLENGE = "CHALLENGE"  # audited runs only: drawn trainers open parts of their traces
    SCORE = "SCORE"
    SCORE_REVEAL = "SCORE_REVEAL"
    JURY = "JURY"  # only after an accusation: the committee replays it, bound and then shown
    JURY_REVEAL = "JURY_REVEAL"
    RECHECK = "RECHECK"  # at the end: drawn sheets are recomputed on the opened hold-outs
    RECHECK_JURY = "RECHECK_JURY"  # only after an accusation: by everybody else
    CERTIFY = "CERTIFY"


class AssignmentState(StrEnum):
    """One trainer's work of one round: the unit of pay."""

    OFFERED = "OFFERED"
    ACCEPTED = "ACCEPTED"
    COMMITTED = "COMMITTED"
    REVEALED = "REVEALED"
    VALID = "VALID"
    INVALID = "INVALID"
    INCONCLUSIVE = "INCONCLUSIVE"
    PAID = "PAID"
    SLASHED = "SLASHED"
    DECLINED = "DECLINED"
    NO_REPLY = "NO_REPLY"
    LATE = "LATE"
    BUSY = "BUSY"  # not ready yet, where it may commit the same work in a later round
    WITHDRAWN = "WITHDRAWN"
    VOID = "VOID"  # of a group whose sum could not be opened


class NodeState(StrEnum):
    """A member's standing in the run."""

    PENDING = "PENDING"
    STANDBY = "STANDBY"
    ACTIVE = "ACTIVE"
    SYNCING = "SYNCING"
    DROPPED = "DROPPED"
    WITHDRAWN = "WITHDRAWN"
    QUARANTINED = "QUARANTINED"
    EJECTED = "EJECTED"


S = TypeVar("S", bound=StrEnum)
_R, _A, _N = RunPhase, AssignmentState, NodeState
_STOPPABLE = frozenset({_R.PAUSED, _R.HALTED, _R.FAILED})

RUN_TABLE: Mapping[RunPhase, frozenset[RunPhase]] = {
    _R.DRAFT: frozenset({_R.FUNDED, _R.FAILED}),
    _R.FUNDED: frozenset({_R.ENROLLING}) | _STOPPABLE,
    _R.ENROLLING: frozenset({_R.WARMUP}) | _STOPPABLE,
    _R.WARMUP: frozenset({_R.TRAINING}) | _STOPPABLE,
    _R.TRAINING: frozenset({_R.TRAINING, _R.FINALIZING, _R.DEGRADED}) | _STOPPABLE,
    _R.FINALIZING: frozenset({_R.FINISHED}) | _STOPPABLE,
    _R.DEGRADED: frozenset({_R.TRAINING, _R.HALTED, _R.FAILED, _R.PAUSED}),
    _R.PAUSED: frozenset(
        {_R.FUNDED, _R.ENROLLING, _R.WARMUP, _R.TRAINING, _R.FINALIZING, _R.DEGRADED}
    )
    | {_R.HALTED, _R.FAILED},
    _R.FINISHED: frozenset(),
    _R.HALTED: frozenset(),
    _R.FAILED: frozenset(),
}

ASSIGNMENT_TABLE: Mapping[AssignmentState, frozenset[AssignmentState]] = {
    _A.OFFERED: frozenset(
        {_A.ACCEPTED, _A.COMMITTED, _A.DECLINED, _A.NO_REPLY, _A.BUSY, _A.WITHDRAWN, _A.VOID}
    ),
    _A.ACCEPTED: frozenset({_A.COMMITTED, _A.DECLINED, _A.NO_REPLY, _A.BUSY, _A.WITHDRAWN}),
    _A.COMMITTED: frozenset({_A.REVEALED, _A.LATE, _A.WITHDRAWN}),
    _A.REVEALED: frozenset({_A.VALID, _A.INVALID, _A.INCONCLUSIVE, _A.VOID, _A.NO_REPLY}),
    _A.VALID: frozenset({_A.PAID}),
    _A.INVALID: frozenset({_A.SLASHED}),
    _A.INCONCLUSIVE: frozenset(),
    _A.PAID: frozenset(),
    _A.SLASHED: frozenset(),
    _A.DECLINED: frozenset(),
    _A.NO_REPLY: frozenset(),
    _A.BUSY: frozenset(),
    _A.LATE: frozenset(),
    _A.WITHDRAWN: frozenset(),
    _A.VOID: frozenset(),
}

_P = RoundPhase
# What may follow when a phase is closed; a round that is redone begins anew and is not listed.
ROUND_TABLE: Mapping[RoundPhase, frozenset[RoundPhase]] = {
    _P.DEAL: frozenset({_P.TRAIN}),
    _P.TRAIN: frozenset({_P.REVEAL}),
    _P.REVEAL: frozenset({_P.UNMASK, _P.CHALLENGE, _P.SCORE}),
    _P.UNMASK: frozenset({_P.SCORE}),
    _P.CHALLENGE: frozenset({_P.SCORE}),
    _P.SCORE: frozenset({_P.SCORE_REVEAL}),
    _P.SCORE_REVEAL: frozenset({_P.JURY, _P.RECHECK, _P.CERTIFY}),
    _P.JURY: frozenset({_P.JURY_REVEAL}),
    _P.JURY_REVEAL: frozenset({_P.CERTIFY}),
    _P.RECHECK: frozenset({_P.RECHECK_JURY, _P.CERTIFY}),
    _P.RECHECK_JURY: frozenset({_P.CERTIFY}),
    _P.CERTIFY: frozenset(),
}

NODE_TABLE: Mapping[NodeState, frozenset[NodeState]] = {
    _N.PENDING: frozenset({_N.STANDBY, _N.WITHDRAWN}),
    _N.STANDBY: frozenset({_N.ACTIVE, _N.WITHDRAWN}),
    _N.ACTIVE: frozenset({_N.DROPPED, _N.WITHDRAWN, _N.QUARANTINED, _N.EJECTED}),
    _N.DROPPED: frozenset({_N.SYNCING, _N.WITHDRAWN}),
    _N.SYNCING: frozenset({_N.ACTIVE, _N.DROPPED, _N.WITHDRAWN}),
    _N.WITHDRAWN: frozenset(),
    _N.QUARANTINED: frozenset({_N.ACTIVE, _N.EJECTED}),
    _N.EJECTED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Member:
    """One key in one role. `beacon_element`: the last that its chain showed, at beacon_index."""

    pubkey: str
    role: str  # "trainer", "validator" or "delegator"
    name: str
    address: str
    stake: int
    sigma_ppm: int
    state: NodeState
    beacon_element: str
    beacon_index: int = 0
    missed_count: int = 0  # rounds in a row without an answer
    invalid_count: int = 0  # rounds whose verdict was INVALID on evidence
    share_key: str = ""  # for which others seal shares of their mask secrets, in secure runs
    busy_count: int = 0  # rounds in a row in which it was BUSY
    committed: tuple[int, int] = (0, 0)  # (round, attempt) of its last commitment, if it may be old
    audited_valid: int = 0  # audits in a row that found its work VALID
    is_convicted: bool = False  # an audit found its work INVALID: nothing of the locked pay is its


@dataclass(frozen=True, slots=True)
class Delegation:
    """Stake that `delegator` puts behind `node`."""

    delegator: str
    node: str
    amount: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """One trainer's work in the open round. `commit_height` is 0 until it has committed.

    width_ppm: the width of the model that it is given and may change; the rest is not its work.
    staleness: how many rounds older than this one's the model is that it says it started from.
    """

    member: str
    state: AssignmentState
    commitment: str = ""
    commit_event: str = ""
    commit_height: int = 0
    blob: str = ""
    size_bytes: int = 0
    samples: int = 0
    iterations: int = 0
    flop: int = 0
    loss_ppm: int = 0
    epsilon_milli: int = 0
    width_ppm: int = PPM
    staleness: int = 0
    trace_root: str = ""  # in audited runs, of the trace that its commitment binds it to
    machine: str = ""  # class of the machine that it says it was trained on


@dataclass(frozen=True, slots=True)
class ScoreSheet:
    """A validator's revealed scores: lines[i] = (value, error, standalone, flags, duplicate_of)."""

    validator: str
    lines: tuple[tuple[int, int, int, int, int], ...]
    loss_ppm: int
    accuracy_ppm: int
    final_commitment: str
    root: str = ""  # blob of the validator's own update, where the aggregator has a root of trust
    machine: str = ""  # class of its machine, where it replayed anything
    audits: tuple[AuditLine, ...] = ()  # of whom it was drawn to replay, in the challenges' order


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the committee concluded about one member's work in one round."""

    member: str
    verdict: AssignmentState
    reason: str  # code, see receipt.REASONS
    detail: str  # what the reason refers to, e.g. the member that was copied
    value: int  # consensus contribution, ppm of a nat
    error: int
    group: int  # rank group: near-duplicates share one
    deviations: tuple[int, ...] = ()  # per scoring validator, ppm of the tolerated distance


@dataclass(frozen=True, slots=True)
class Tally:
    """A member's running account: contribution over the rounds, work done, money."""

    value: int = 0  # sum over the rounds in which the work was VALID
    balance: int = 0  # sum over all judged rounds, negative ones too
    error_squared: int = 0
    rounds_judged: int = 0
    rounds_valid: int = 0
    rounds_invalid: int = 0
    samples: int = 0
    flop: int = 0
    bytes_sent: int = 0
    earned: int = 0  # paid at once
    slashed: int = 0
    round_included: int = 0  # the last round in which its update entered the model


@dataclass(frozen=True, slots=True)
class Payments:
    """A settlement worked out but not yet certified: the state after it, the ledger's command."""

    command: LedgerCommand
    tallies: Mapping[str, Tally]
    locked_pot: int
    held: Mapping[tuple[str, str], int]
    widths_ppm: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoundState:
    """The open round. `judged_*` and `draft` are filled when the scores are revealed."""

    index: int  # 1..R for training rounds, R + 1 for the final settlement
    attempt: int
    phase: RoundPhase
    phase_started_ms: int
    deadline_ms: int
    trainers: tuple[str, ...]  # snapshot, sorted by key
    committee: tuple[str, ...]  # snapshot, sorted by key
    assignments: Mapping[str, Assignment]
    is_extended: bool = False
    head_closed: str = ""  # the log's head when the work to be judged was bound
    beacon_shares: Mapping[str, str] = field(default_factory=dict)
    beacon: str = ""
    revealed: tuple[str, ...] = ()  # members whose updates are scored, in order of commitment
    score_commits: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # hash, event id
    score_sheets: Mapping[str, ScoreSheet] = field(default_factory=dict)
    judgements: tuple[Judgement, ...] = ()
    draft: Mapping[str, object] = field(default_factory=dict)  # certificate body less the model
    included: tuple[tuple[str, str, int], ...] = ()  # (member, blob, weight) to aggregate
    receipts: tuple[Mapping[str, object], ...] = ()
    payments: Payments | None = None  # settlement of this round, applied when it is certified
    groups: tuple[tuple[str, ...], ...] = ()  # secure runs: by lot, each sorted by key
    dealings: Mapping[str, MaskDealing] = field(default_factory=dict)
    openings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # holder -> shares, hex
    opened: tuple[OpenedGroup, ...] = ()
    shown: tuple[tuple[int, str, str, int], ...] = ()  # RunState.shown, as the attempt found it
    votes: Mapping[str, Vote] = field(default_factory=dict)
    audits: Audits = field(default_factory=Audits)
    rechecks: Rechecks = field(default_factory=Rechecks)

    @property
    def units(self) -> tuple[str, ...]:
        """What the score lines are about: members, or in secure runs groups."""
        return tuple(group.name for group in self.opened) or self.revealed

    @property
    def roots(self) -> tuple[str, ...]:
        """The blobs of the committee's own updates, in the order of the validators' keys."""
        sheets = (self.score_sheets[key] for key in sorted(self.score_sheets))
        return tuple(sheet.root for sheet in sheets if sheet.root)


@dataclass(frozen=True, slots=True)
class Judged:
    """The last round that was judged and certified, and the models that it started from."""

    round: RoundState
    model: str
    model_previous: str


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything that the log says about a run."""

    phase: RunPhase = RunPhase.DRAFT
    task: TaskDocument | None = None
    task_id: str = ""
    customer: str = ""
    orderer: str = ""
    escrow: str = ""
    replicas: tuple[str, ...] = ()  # whose committee orders; () for one orderer
    guardians: tuple[str, ...] = ()
    canary_commitment: str = ""
    canaries: tuple[str, ...] | None = None  # None until opened
    holdout_blobs: tuple[str, ...] = ()
    holdouts: Holdouts = field(default_factory=Holdouts)
    members: Mapping[str, Member] = field(default_factory=dict)
    stakes: Mapping[str, int] = field(default_factory=dict)  # attested, also before enrolment
    delegations: tuple[Delegation, ...] = ()
    funded: int = 0
    ready: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    server_state: str = ""
    model_previous: str = ""
    round: RoundState | None = None
    epochs: tuple[Epoch, ...] = ()
    beacon: str = ""  # of the last certified round
    certificates: tuple[Certificate, ...] = ()
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    receipt_heads: Mapping[str, str] = field(default_factory=dict)  # member -> last receipt's hash
    locked_pot: int = 0  # trainers' part, shared by the final ranking
    # (validator, payee) -> amount
    held: Mapping[tuple[str, str], int] = field(default_factory=dict)
    # member -> what proves it
    evidence: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    finals: Mapping[int, FinalPart] = field(default_factory=dict)
    judged: Judged | None = None
    durations_ms: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    stop_votes: Votes = field(default_factory=dict)
    paused_from: RunPhase | None = None
    attempts_used: int = 0  # by the round at which the run was last DEGRADED
    curves: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # validator -> ppm a width
    widths_ppm: Mapping[str, int] = field(default_factory=dict)
    shown: tuple[tuple[int, str, str, int], ...] = ()  # (round, member, blob, base): `buffering`
    shards: Mapping[str, str] = field(default_factory=dict)  # trainer -> blob, in audited runs
    deadline_ms: int = 0  # of the run's phase, where a round's does not apply
    reason: str = ""  # why it is PAUSED, DEGRADED, HALTED or FAILED
    height: int = 0
    time_ms: int = 0
    head: str = GENESIS_HEAD
    chain: OnChain | None = None  # where it settles, if not in the run's own ledger


def check_transition(table: Mapping[S, frozenset[S]], old: S, new: S) -> None:
    """Raise ValueError unless `table` lets `new` follow `old`: our own bug, never a peer's."""
    if new not in table[old]:
        raise ValueError(f"{old} cannot become {new}; allowed: {sorted(table[old])}")
