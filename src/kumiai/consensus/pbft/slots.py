"""What a replica has heard about each sequence number.

One vote a phase and sender is kept, that of the highest view: whoever names a view far ahead only
silences itself. Two that differ at one place prove their sender's fault. Bounds: one slot a place
of the window; in it two votes a sender, one proposal and the batches of two digests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from kumiai.consensus.pbft.messages import (
    Batch,
    Commit,
    CommitProof,
    Decided,
    Prepare,
    PreparedProof,
    PrePrepare,
    Signed,
    Vote,
)
from kumiai.consensus.pbft.proofs import Equivocation

BATCHES_MAX = 2  # what was prepared before, and what is proposed now


@dataclass
class Slot:
    """votes: (type, sender) -> the signed vote. decided: once a quorum has committed.

    _counts: how many of the votes kept are equal, so that a vote costs the same in any committee.
    """

    votes: dict[tuple[str, int], Signed] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    decided: Decided | None = None
    _counts: Counter[Vote] = field(default_factory=Counter)

    def add(self, signed: Signed) -> Equivocation | None:
        """Keep a (checked) vote; return the proof of a fault where it contradicts one kept."""
        body = signed.body
        assert isinstance(body, Vote)
        key = (body.type, signed.sender)
        kept = self.votes.get(key)
        if kept is not None:
            assert isinstance(kept.body, Vote)
            if kept.body.view == body.view and kept.body != body:
                return Equivocation(kept, signed)
            if kept.body.view >= body.view:
                return None
            self._counts[kept.body] -= 1
            if not self._counts[kept.body]:
                del self._counts[kept.body]
        self.votes[key] = signed
        self._counts[body] += 1
        return None

    def keep_batch(self, digest: str, batch: Batch) -> None:
        """Keep a batch, forgetting the one kept longest where there are too many."""
        self.batches[digest] = batch
        while len(self.batches) > BATCHES_MAX:
            del self.batches[next(iter(self.batches))]

    def get_proposal(self, view: int, primary: int) -> Signed | None:
        """Return what that view's primary proposed, None if nothing came."""
        signed = self.votes.get((PrePrepare.type, primary))
        return signed if signed is not None and _read(signed).view == view else None

    def find_prepared(self, view: int, primary: int, quorum: int) -> PreparedProof | None:
        """Return the proof that this view's proposal is prepared, None as long as it is not."""
        proposal = self.get_proposal(view, primary)
        if proposal is None:
            return None
        _, place, digest = _read(proposal).fields()
        wanted = Prepare(view, place, digest)
        if self._counts[wanted] < quorum - 1:
            return None
        prepares = self._list_signatures(wanted)
        return PreparedProof(view, place, digest, proposal.signature, prepares[: quorum - 1])

    def find_decision(self, quorum: int) -> CommitProof | None:
        """Return the proof that a batch is decided here, in whatever view, None if it is not."""
        for vote, count in self._counts.items():
            if count >= quorum and isinstance(vote, Commit):
                shown = self._list_signatures(vote)[:quorum]
                return CommitProof(vote.view, vote.sequence, vote.digest, shown)
        return None

    def _list_signatures(self, vote: Vote) -> tuple[tuple[int, str], ...]:
        """Return who signed this very vote, by sender: proofs have one order."""
        return tuple((s.sender, s.signature) for s in self.list_of(vote.type) if s.body == vote)

    def list_votes(self, sender: int, view: int) -> Iterator[Signed]:
        """Return what one replica said here in a view."""
        for (_, owner), signed in self.votes.items():
            if owner == sender and _read(signed).view == view:
                yield signed

    def list_of(self, kind: str) -> list[Signed]:
        """Return the votes of a type, by sender."""
        found = [signed for (each, _), signed in self.votes.items() if each == kind]
        return sorted(found, key=lambda signed: signed.sender)


def _read(signed: Signed) -> Vote:
    body = signed.body
    assert isinstance(body, Vote)
    return body
