"""What replicas say to each other; each message is signed over every one of its fields.

A signature covers the committee's name, the message's type, and all fields, so that none can be
used as another: not a PREPARE as a COMMIT, not in another view, at another sequence number or in
another committee. The sender is the index of the key that must have signed.

Requests carry their client's own signature; `Decided` and `Found` prove themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from kumiai.consensus.pbft.committee import Committee, Scheme, Signer, compute_digest

BATCH_COUNT_MAX = 128
OPERATION_BYTES_MAX = 640 * 1024  # an event of any size
BATCH_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True)
class Request:
    """A command that a client wants executed once; `operation` means nothing here."""

    client: str
    timestamp: int
    operation: str
    signature: str = ""

    @cached_property
    def digest(self) -> str:
        """What the client signs, and what a batch names."""
        return compute_digest("request", self.client, self.timestamp, self.operation)


@dataclass(frozen=True)
class Batch:
    """Requests that get one place, and the primary's clock when it proposed them.

    Without requests, at time 0, it is the null request of a view change.
    """

    requests: tuple[Request, ...] = ()
    time_ms: int = 0

    @cached_property
    def digest(self) -> str:
        """What a proposal names."""
        signed = (part for r in self.requests for part in (r.digest, r.signature))
        return compute_digest("batch", self.time_ms, *signed)


NULL_BATCH = Batch()


@dataclass(frozen=True, slots=True)
class Vote:
    """What a replica says of one batch at one place; only its kinds are ever sent."""

    type: ClassVar[str] = ""
    view: int
    sequence: int
    digest: str

    def fields(self) -> tuple[int, int, str]:
        return (self.view, self.sequence, self.digest)


class PrePrepare(Vote):
    """The primary gives a batch its place."""

    __slots__ = ()
    type = "pre-prepare"


class Prepare(Vote):
    """A backup accepts the primary's proposal."""

    __slots__ = ()
    type = "prepare"


class Commit(Vote):
    """A replica holds a proof that the batch was prepared."""

    __slots__ = ()
    type = "commit"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A replica has executed everything up to a sequence number; head: the chain of all of it."""

    type: ClassVar[str] = "checkpoint"
    sequence: int
    head: str

    def fields(self) -> tuple[object, ...]:
        return (self.sequence, self.head)


@dataclass(frozen=True, slots=True)
class PreparedProof:
    """A primary's proposal and enough backups that accepted it: no other can be decided there.

    prepares: (sender, signature), by sender, one less than a quorum.
    """

    view: int
    sequence: int
    digest: str
    proposal: str
    prepares: tuple[tuple[int, str], ...]

    def fields(self) -> tuple[object, ...]:
        return (self.view, self.sequence, self.digest, self.proposal, self.prepares)


@dataclass(frozen=True, slots=True)
class StableProof:
    """A quorum that executed everything up to a sequence number; sequence 0 needs none."""

    sequence: int
    head: str
    checkpoints: tuple[tuple[int, str], ...]

    def fields(self) -> tuple[object, ...]:
        return (self.sequence, self.head, self.checkpoints)


@dataclass(frozen=True, slots=True)
class CommitProof:
    """A quorum that committed to a batch in one view: it is decided."""

    view: int
    sequence: int
    digest: str
    commits: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class ViewChange:
    """A replica leaves its view: what it knows to be stable, and what it prepared above that."""

    type: ClassVar[str] = "view-change"
    view: int
    stable: StableProof
    prepared: tuple[PreparedProof, ...]

    def fields(self) -> tuple[object, ...]:
        return (self.view, self.stable.fields(), tuple(p.fields() for p in self.prepared))


@dataclass(frozen=True, slots=True)
class NewView:
    """The new primary shows a quorum of view changes and signs the proposals that follow from them.

    proposals: the signatures of these, in the order of their sequence numbers.
    """

    type: ClassVar[str] = "new-view"
    view: int
    changes: tuple[Signed, ...]
    proposals: tuple[str, ...]

    def fields(self) -> tuple[object, ...]:
        changes = tuple((change.sender, change.signature) for change in self.changes)
        return (self.view, changes, self.proposals)


@dataclass(frozen=True, slots=True)
class Status:
    """Where a replica stands: whoever is ahead sends what it lacks."""

    type: ClassVar[str] = "status"
    view: int
    is_changing: bool
    executed: int

    def fields(self) -> tuple[object, ...]:
        return (self.view, self.is_changing, self.executed)


@dataclass(frozen=True, slots=True)
class Fetch:
    """A replica wants the batch of a digest, which it knows to be proposed, at a place."""

    type: ClassVar[str] = "fetch"
    sequence: int
    digest: str

    def fields(self) -> tuple[object, ...]:
        return (self.sequence, self.digest)


Body = Vote | Checkpoint | ViewChange | NewView | Status | Fetch


@dataclass(frozen=True)
class Signed:
    """A body, the index of its sender and that sender's signature."""

    body: Body
    sender: int
    signature: str


@dataclass(frozen=True)
class Proposal:
    """A signed PRE-PREPARE and the batch that its digest names."""

    order: Signed
    batch: Batch


@dataclass(frozen=True)
class Decided:
    """A batch, its place and the quorum that decided it."""

    batch: Batch
    proof: CommitProof


@dataclass(frozen=True)
class Found:
    """The batch that somebody asked for."""

    sequence: int
    batch: Batch


Message = Signed | Proposal | Decided | Found | Request


def compute_body_digest(committee: Committee, body: Body) -> bytes:
    """Return the 32 bytes that a sender signs."""
    return bytes.fromhex(compute_digest("pbft", committee.name, body.type, body.fields()))


def sign(committee: Committee, signer: Signer, sender: int, body: Body) -> Signed:
    """Return the body with its sender's signature."""
    return Signed(body, sender, signer.sign(compute_body_digest(committee, body)))


def is_signed(committee: Committee, scheme: Scheme, signed: Signed) -> bool:
    """Tell whether the replica that is named as the sender signed this body."""
    if not 0 <= signed.sender < committee.size:
        return False
    digest = compute_body_digest(committee, signed.body)
    return scheme.is_signature(committee.replicas[signed.sender], digest, signed.signature)


def sign_request(signer: Signer, timestamp: int, operation: str) -> Request:
    """Return a client's signed request."""
    plain = Request(signer.pubkey, timestamp, operation)
    signature = signer.sign(bytes.fromhex(plain.digest))
    return Request(signer.pubkey, timestamp, operation, signature)


def find_request_flaw(committee: Committee, scheme: Scheme, request: Request) -> str:
    """Return why a request cannot be ordered, "" if it can."""
    if request.client not in committee.clients:
        return "the client is not known here"
    if len(request.operation.encode()) > OPERATION_BYTES_MAX:
        return f"the operation is above {OPERATION_BYTES_MAX} bytes"
    if not scheme.is_signature(request.client, bytes.fromhex(request.digest), request.signature):
        return "the client did not sign it"
    return ""


def find_batch_flaw(
    committee: Committee,
    scheme: Scheme,
    batch: Batch,
    known: Mapping[tuple[str, int], Request],
) -> str:
    """Return why a batch cannot be decided, "" if it can. known: requests that were checked."""
    requests = batch.requests
    if len(requests) > BATCH_COUNT_MAX:
        return f"{len(requests)} requests are above {BATCH_COUNT_MAX}"
    if count_bytes(requests) > BATCH_BYTES_MAX:
        return f"the batch is above {BATCH_BYTES_MAX} bytes"
    if len({(r.client, r.timestamp) for r in requests}) != len(requests):
        return "a request is in it twice"
    new = (r for r in requests if known.get((r.client, r.timestamp)) != r)
    return next(filter(None, (find_request_flaw(committee, scheme, r) for r in new)), "")


def count_bytes(requests: Iterable[Request]) -> int:
    """Return the bytes of the operations."""
    return sum(len(request.operation.encode()) for request in requests)
