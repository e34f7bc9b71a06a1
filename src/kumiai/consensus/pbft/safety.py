"""What a replica may sign, and what it must have written down before it does.

Everything that keeps two replicas from deciding differently is here; the rest of the room only
makes progress. A replica whose journal is intact never signs

1. two digests in one phase at one (view, sequence), nor anything in a view it has left;
2. a PREPARE where it is the primary: its proposal is its word;
3. a COMMIT without the proof that the batch was prepared, which it keeps until a stable checkpoint;
4. anything outside the window above its stable checkpoint;
5. two checkpoints at one sequence number;
6. a VIEW-CHANGE that hides what it prepared: the proofs of the highest view go into it;
7. anything else at a place for which the NEW-VIEW of its view proposes something, also after a
   crash (found by the model, docs/adr/0031: two restarts and a traitor that leads had decided two
   batches at one place, because only the slots knew what the NEW-VIEW proposed).

Each `vote_*` returns the entries that must be on the disk before the signature leaves, or None
where signing is forbidden. Entries are folded by `recall` after a crash. Bounds: two windows of
sequence numbers.

Source: Castro and Liskov 1999, sections 4.2 to 4.4; as a small module of its own as in diem's
safety rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kumiai.consensus.pbft.messages import (
    Batch,
    Checkpoint,
    PreparedProof,
    Signed,
    StableProof,
    Vote,
)
from kumiai.consensus.pbft.proofs import BEGINNING


@dataclass(frozen=True, slots=True)
class ViewEntered:
    """Only this view counts from now on; is_changing: the old one is left, this one not begun.

    proposals: (place, digest) of the NEW-VIEW that begins it.
    """

    view: int
    is_changing: bool
    proposals: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Voted:
    """A signature is about to leave. batch: a proposal's own, to be sent again after a crash."""

    phase: str
    view: int
    sequence: int
    digest: str
    batch: Batch | None = None


@dataclass(frozen=True, slots=True)
class BatchPrepared:
    """The batch must be kept: it may have been decided somewhere."""

    proof: PreparedProof
    batch: Batch


@dataclass(frozen=True, slots=True)
class Stabilised:
    """Everything up to there may be forgotten."""

    proof: StableProof


@dataclass(frozen=True, slots=True)
class ViewShown:
    """The NEW-VIEW that began the view, to be shown to those who missed it, also after a crash."""

    signed: Signed


Entry = ViewEntered | Voted | BatchPrepared | Stabilised | ViewShown


@dataclass
class Safety:
    """What was signed and promised; own: the replica's index, size: the committee's.

    votes: (phase, sequence) -> (view, digest) of the last one. prepared: sequence -> the proof of
    the highest view, and its batch. proposed: sequence -> the last batch that was proposed there.
    bound: sequence -> the digest that the NEW-VIEW of this view proposes there. shown: that
    NEW-VIEW, to be shown again.
    """

    own: int
    size: int
    window: int
    view: int = 0
    is_changing: bool = False
    stable: StableProof = BEGINNING
    votes: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)
    prepared: dict[int, tuple[PreparedProof, Batch]] = field(default_factory=dict)
    proposed: dict[int, Batch] = field(default_factory=dict)
    bound: dict[int, str] = field(default_factory=dict)
    shown: Signed | None = None

    def vote_pre_prepare(
        self, view: int, sequence: int, digest: str, batch: Batch | None
    ) -> tuple[Entry, ...] | None:
        """May a proposal be signed? Only by the primary of the view that is open."""
        if view % self.size != self.own:
            return None
        return self._vote(Voted("pre-prepare", view, sequence, digest, batch))

    def vote_prepare(self, view: int, sequence: int, digest: str) -> tuple[Entry, ...] | None:
        """May the primary's proposal be accepted? Only by others than itself."""
        if view % self.size == self.own:
            return None
        return self._vote(Voted("prepare", view, sequence, digest))

    def vote_commit(self, proof: PreparedProof, batch: Batch) -> tuple[Entry, ...] | None:
        """May it be committed to? Only with the (checked) proof, which is kept with its batch."""
        vote = self._vote(Voted("commit", proof.view, proof.sequence, proof.digest))
        if vote is None:
            return None
        kept = self.prepared.get(proof.sequence)
        if kept is not None and kept[0].view >= proof.view:
            return vote
        self.prepared[proof.sequence] = (proof, batch)
        return (BatchPrepared(proof, batch), *vote)

    def vote_checkpoint(self, sequence: int, head: str) -> tuple[Entry, ...] | None:
        """May it be told what was executed? One head for each place; in any view."""
        said = self.votes.get(("checkpoint", sequence))
        if said is not None:
            return () if said[1] == head else None
        self.votes["checkpoint", sequence] = (0, head)
        return (Voted("checkpoint", 0, sequence, head),)

    def leave_view(self, view: int) -> tuple[Entry, ...]:
        """Leave for a later view; raises ValueError for one that is not later."""
        if view <= self.view:
            raise ValueError(f"view {view} is not after {self.view}")
        return (self._enter(ViewEntered(view, True)),)

    def begin_view(
        self, view: int, stable: StableProof, proposals: Iterable[tuple[int, str]]
    ) -> tuple[Entry, ...]:
        """Begin the view that a valid NEW-VIEW opens, from its checkpoint, with what it proposes.

        Raises ValueError for a view that has passed. One write: a view that is open without what
        it began with must never be found after a crash.
        """
        if view < self.view or (view == self.view and not self.is_changing):
            raise ValueError(f"view {view} cannot begin in view {self.view}")
        forgotten = self.stabilise(stable)
        return (*forgotten, self._enter(ViewEntered(view, False, tuple(proposals))))

    def show_view(self, signed: Signed) -> tuple[Entry, ...]:
        """Keep the (checked) NEW-VIEW of the view that has begun."""
        self.shown = signed
        return (ViewShown(signed),)

    def stabilise(self, proof: StableProof) -> tuple[Entry, ...]:
        """Move the window above a (checked) stable checkpoint and forget what lies below."""
        if proof.sequence <= self.stable.sequence:
            return ()
        self.stable = proof
        low = proof.sequence
        self.votes = {key: vote for key, vote in self.votes.items() if key[1] > low}
        self.prepared = {place: kept for place, kept in self.prepared.items() if place > low}
        self.proposed = {place: batch for place, batch in self.proposed.items() if place > low}
        self.bound = {place: digest for place, digest in self.bound.items() if place > low}
        return (Stabilised(proof),)

    def is_in_window(self, sequence: int) -> bool:
        """Tell whether anything may be signed there: above h, at most the window above it."""
        return self.stable.sequence < sequence <= self.stable.sequence + self.window

    def list_prepared(self) -> tuple[PreparedProof, ...]:
        """Return what a VIEW-CHANGE must show, by sequence number."""
        return tuple(self.prepared[place][0] for place in sorted(self.prepared))

    def get_voted(self, phase: str, place: int) -> str:
        """Return the digest of the last vote in a phase at a place, "" without."""
        return self.votes.get((phase, place), (0, ""))[1]

    def has_voted(self, body: Vote | Checkpoint) -> bool:
        """Tell whether this very vote was allowed, so that it may be signed, and signed again."""
        if isinstance(body, Checkpoint):
            return self.votes.get((body.type, body.sequence)) == (0, body.head)
        return self.votes.get((body.type, body.sequence)) == (body.view, body.digest)

    def list_proposed(self) -> tuple[int, ...]:
        """Return the places at which this replica proposed in the present view."""
        places = (
            place
            for (phase, place), (view, _) in self.votes.items()
            if phase == "pre-prepare" and view == self.view
        )
        return tuple(sorted(places))

    def _vote(self, vote: Voted) -> tuple[Entry, ...] | None:
        if vote.view != self.view or self.is_changing or not self.is_in_window(vote.sequence):
            return None
        if self.bound.get(vote.sequence, vote.digest) != vote.digest:
            return None
        said = self.votes.get((vote.phase, vote.sequence))
        if said is not None and said[0] == vote.view:
            return () if said[1] == vote.digest else None
        self._remember(vote)
        return (vote,)

    def _enter(self, entry: ViewEntered) -> ViewEntered:
        self.view, self.is_changing, self.shown = entry.view, entry.is_changing, None
        low = self.stable.sequence
        self.bound = {place: digest for place, digest in entry.proposals if place > low}
        return entry

    def _remember(self, vote: Voted) -> None:
        self.votes[vote.phase, vote.sequence] = (vote.view, vote.digest)
        if vote.batch is not None:
            self.proposed[vote.sequence] = vote.batch


def recall(own: int, size: int, window: int, entries: Iterable[Entry]) -> Safety:
    """Return what a replica knew when it crashed, from what it had written down."""
    safety = Safety(own, size, window)
    for entry in entries:
        if isinstance(entry, ViewEntered):
            safety._enter(entry)
        elif isinstance(entry, Voted):
            safety._remember(entry)
        elif isinstance(entry, BatchPrepared):
            safety.prepared[entry.proof.sequence] = (entry.proof, entry.batch)
        elif isinstance(entry, ViewShown):
            safety.shown = entry.signed
        else:
            safety.stabilise(entry.proof)
    return safety
