"""The doors between a node and the world: what an adapter must offer, and the jobs handed over.

Every port has a memory or simulated twin that passes the same contract suite as the real part.
Tensors never cross these doors: blobs do, by their sha256.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kumiai.base.amounts import PPM
from kumiai.base.events import Event
from kumiai.base.log import Record
from kumiai.consensus.pbft.proofs import Equivocation
from kumiai.proofs.sheets import SheetNumbers
from kumiai.rounds.opened import OpenedGroup
from kumiai.settlement.ledger import LedgerCommand


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Ask for one trainer's local work of one round, starting from the global model `model`."""

    round: int
    member: str  # public key
    model: str  # blob
    seed: int  # 63 bits, derived from task, round and member
    codec_state: str = ""  # of the member's last `TrainResult` that entered the model; "": none
    server_state: str = ""  # blob of the server rule's state, for algorithms that share it
    trained_before: int = 0  # the member's earlier rounds and attempts: each spent privacy
    width_ppm: int = PPM  # train, and send, the leading block of this width alone
    attempt: int = 0  # of a secure run's round: its masks are of this attempt only
    cards: tuple[tuple[str, str, str], ...] = ()  # of its group: (member, public, own seed's hash)
    checkpoint_every: int = 0  # iterations between two states of its trace; 0: no trace


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What the work gave. `loss_ppm` is the mean training loss in millionths of a nat.

    codec_state names what the codec and the algorithm must remember if this update enters the model
    ("" if nothing): a blob in the member's own store, which nobody else sees. epsilon_milli: what
    all updates of the member up to this one may tell about one sample, in thousandths, rounded up;
    0 where the task asks for no privacy. With privacy, loss_ppm is 0: a loss would tell what no
    noise covers.
    """

    member: str
    update: str  # blob: a payload of the task's codec
    size_bytes: int
    sample_count: int
    iteration_count: int
    flop: int
    loss_ppm: int
    codec_state: str = ""
    epsilon_milli: int = 0
    trace: tuple[str, ...] = ()  # digests of its states, where the job wanted a trace
    machine: str = ""  # class of the machine, with a trace


@dataclass(frozen=True, slots=True)
class OpenJob:
    """Ask a trainer's machine to put drawn states of its own finished work into the blobs."""

    round: int
    work: TrainJob  # whose states they are
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OpenResult:
    """The digests of the states that are blobs now; () where they were not shown."""

    member: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditTarget:
    """One trainer's opened trace: everything a replay needs that the log knows.

    leaves: (index, digest) of the opened leaves; the states of `segments` and of the last leaf
    are blobs named by their digest.
    """

    member: str
    seed: int  # of the member's work
    shard: str  # blob of the data that it was assigned
    update: str  # blob
    machine: str
    iterations: int  # as the member bound itself to
    checkpoint_every: int
    segments: tuple[int, ...]
    leaves: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class AuditJob:
    """Ask one validator to replay drawn segments of traces that began at the model `model`."""

    round: int
    validator: str
    model: str  # blob
    targets: tuple[AuditTarget, ...]


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What the replays gave, in the order of the job's targets; iterations: how many were done."""

    validator: str
    machine: str
    lines: tuple[tuple[str, int, str], ...]  # verdict, segment, digest: see proofs.verdict
    iterations: int = 0


@dataclass(frozen=True, slots=True)
class UpdateRef:
    """A revealed update: whose, which blob, and its place in the order of commitments.

    In a secure run a group's: its name, and what names its masked updates.
    """

    member: str
    blob: str
    commit_height: int
    width_ppm: int = PPM  # of the block that it may change
    staleness: int = 0  # rounds between the model that it started from, as it says, and this one's


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """Ask one validator to judge a round's updates on its own part of the hold-out data."""

    round: int
    validator: str
    model: str  # blob of the global model that the updates start from
    previous_model: str | None  # blob of the global model one round earlier
    updates: tuple[UpdateRef, ...]
    seed: str  # the round's beacon, 64 hex digits: drawn after the commitments closed
    wants_root: bool = False  # also train an update of one's own, the committee's root of trust
    groups: tuple[OpenedGroup, ...] = ()  # what the updates are sums of, in secure runs
    # (round, member, blob, base) of the rounds before
    shown: tuple[tuple[int, str, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One validator's view of one update. Values are in ppm of a nat of hold-out loss.

    value: contribution to the round (positive helps); error: its standard error; final: the same
    contribution on the second hold-out, kept secret until the run ends; standalone: gain of the
    update applied alone; flags: bits of proofs.flags; duplicate_of: the member copied, or "".
    """

    member: str
    value: int
    error: int
    standalone: int
    flags: int
    duplicate_of: str
    final: int


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """A validator's scores, and how good the round's starting model is on its hold-out.

    root: blob of the validator's own update, if the job wanted one and it could be trained.
    """

    validator: str
    lines: tuple[ScoreLine, ...]  # in the order of the job's updates
    loss_ppm: int
    accuracy_ppm: int
    evaluation_count: int
    root: str = ""


@dataclass(frozen=True, slots=True)
class RecheckTarget:
    """A sheet to recompute: the scoring that its author was asked for, on what, and its answer."""

    job: ScoreJob
    holdout: str  # blob of the author's hold-outs, as the customer opened it
    claimed: SheetNumbers


@dataclass(frozen=True, slots=True)
class RecheckJob:
    """Ask one validator whether others' sheets are what their hold-outs give."""

    round: int
    validator: str
    targets: tuple[RecheckTarget, ...]
    is_jury: bool = False  # the sheets are accused already


@dataclass(frozen=True, slots=True)
class RecheckResult:
    """What the job's sheets are: (round, author, is false), in its order."""

    validator: str
    lines: tuple[tuple[int, str, bool], ...]
    is_jury: bool = False


@dataclass(frozen=True, slots=True)
class AggregateJob:
    """Ask for the next global model. Integers only: every machine gets the same bytes.

    previous_model: the global model one round earlier; seed: the round's beacon, 64 hex digits;
    roots: blobs of the updates that the committee's members trained themselves, if any. groups: in
    secure runs, the sums that the included updates are opened in.
    """

    round: int
    model: str
    server_state: str | None
    included: tuple[tuple[str, str, int], ...]  # (member, update blob, integer weight)
    previous_model: str | None = None
    seed: str = ""
    roots: tuple[str, ...] = ()
    widths_ppm: tuple[int, ...] = ()  # of the included, in their order; () where all are full
    groups: tuple[OpenedGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class AggregateResult:
    """The next global model and the server rule's state (momentum), both blobs."""

    model: str
    server_state: str | None


@dataclass(frozen=True, slots=True)
class CurveJob:
    """Ask one validator how accurate `model` is at each width, on its second hold-out."""

    round: int
    validator: str
    model: str  # blob


@dataclass(frozen=True, slots=True)
class CurveResult:
    """The share of right answers at each width of the task's grid, in ppm."""

    validator: str
    model: str
    accuracies_ppm: tuple[int, ...]


Job = TrainJob | ScoreJob | AggregateJob | CurveJob | OpenJob | AuditJob | RecheckJob
LookResult = OpenResult | AuditResult | RecheckResult
JobResult = TrainResult | ScoreResult | AggregateResult | CurveResult | LookResult


class ComputePort(Protocol):
    """All numeric work. Jobs come in batches so that an engine may stack them."""

    def init_model(self) -> str:
        """Build the initial global model from the task's seed; return its blob."""
        ...

    def train(self, jobs: Sequence[TrainJob]) -> list[TrainResult]: ...

    def score(self, jobs: Sequence[ScoreJob]) -> list[ScoreResult]: ...

    def aggregate(self, job: AggregateJob) -> AggregateResult: ...

    def measure_curve(self, job: CurveJob) -> CurveResult: ...


@runtime_checkable
class AuditPort(Protocol):
    """What a compute port offers beside in audited runs. Jobs come in batches, as there."""

    def open_traces(self, jobs: Sequence[OpenJob]) -> list[OpenResult]: ...

    def audit(self, jobs: Sequence[AuditJob]) -> list[AuditResult]: ...


class BlobPort(Protocol):
    """Bytes by their sha256. `get` checks the hash and the cap before it returns anything."""

    def put(self, data: bytes) -> str: ...

    def get(self, sha256: str, size_bytes_max: int) -> bytes: ...

    def has(self, sha256: str) -> bool: ...


class LogPort(Protocol):
    """The append-only log on durable storage. `append` is all-or-nothing for its batch."""

    def append(self, records: Sequence[Record]) -> None: ...

    def read(self, from_height: int = 1) -> Iterator[Record]: ...

    def last(self) -> Record | None: ...


class VaultPort(Protocol):
    """A node's private memory that must survive a crash: written before anything is sent."""

    def put(self, key: str, value: bytes) -> None: ...

    def get(self, key: str) -> bytes | None: ...


class LedgerPort(Protocol):
    """Who holds the money. Commands are idempotent by their `key`."""

    def apply(self, command: LedgerCommand) -> None: ...

    def balance(self, account: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event has its place in the order: after all that arrived before it, at the order's time.

    The fold may still refuse it. The order of one process takes whoever comes first; a committee's
    agrees on every place, and the same events arrive at the same times at all nodes.
    """

    event: Event
    time_ms: int


@dataclass(frozen=True, slots=True)
class WokenUp:
    """A node learns that the run has moved on."""

    node: str


@dataclass(frozen=True, slots=True)
class WorkDue:
    """A piece of work that was started is finished; `ticket` is what `start` was given."""

    node: str
    ticket: int


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """The clock has reached a deadline that was armed."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A node that orders holds the proof that another one that orders said two things at once."""

    node: str
    epoch: int
    found: Equivocation


Happening = Arrived | WokenUp | WorkDue | DeadlineReached | Proven


class WorldPort(Protocol):
    """Time and transport: what happens next, and how messages and wake-ups travel."""

    @property
    def now_ms(self) -> int: ...

    def next(self) -> Happening | None:
        """Return what happens next, or None when nothing ever will."""
        ...

    def send(self, sender: str, event: Event) -> None:
        """Hand an event to the order; it arrives later, or never."""
        ...

    def post(self, event: Event) -> None:
        """Hand in what the run's own clock says."""
        ...

    def wake(self, nodes: Sequence[str]) -> None: ...

    def start(self, node: str, ticket: int, job: Job | None) -> None:
        """Begin work that takes its time; None stands for building the initial model."""
        ...

    def arm(self, deadline_ms: int) -> None:
        """Tell when a deadline has been reached; once more, soon, where it has passed already."""
        ...

    def reseat(self, epoch: int, seats: Sequence[str]) -> None:
        """Let these keys order, if a committee does, after the batch that is being read."""
        ...

    def close(self) -> None:
        """End whatever the world keeps running; a second call does nothing."""
        ...
