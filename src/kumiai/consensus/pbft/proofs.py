"""Sets of signatures that convince anybody who knows the committee, whoever shows them.

::

    PreparedProof   primary's proposal + q - 1 prepares of other replicas, one view
    CommitProof     q commits, one view: the batch is decided
    StableProof     q checkpoints with one head: what was before may be forgotten
    Equivocation    two different bodies where one replica may sign only one
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kumiai.consensus.pbft.committee import Committee, Scheme
from kumiai.consensus.pbft.messages import (
    Body,
    Checkpoint,
    Commit,
    CommitProof,
    Prepare,
    PreparedProof,
    PrePrepare,
    Signed,
    StableProof,
    Vote,
    is_signed,
)

FIRST_HEAD = "0" * 64
BEGINNING = StableProof(0, FIRST_HEAD, ())


@dataclass(frozen=True)
class Equivocation:
    """Two signed bodies of one replica of which it may sign one: proof of a fault, for anybody."""

    first: Signed
    second: Signed


def find_exclusive_place(body: Body) -> tuple[object, ...] | None:
    """Return the place at which a replica may sign one body only, None where it may sign many."""
    if isinstance(body, Vote):
        return (body.type, body.view, body.sequence)
    if isinstance(body, Checkpoint):
        return (body.type, body.sequence)
    return None


def is_equivocation(committee: Committee, scheme: Scheme, found: Equivocation) -> bool:
    """Tell whether the two prove that their one sender said different things at one place."""
    first, second = found.first, found.second
    place = find_exclusive_place(first.body)
    return (
        place is not None
        and first.sender == second.sender
        and place == find_exclusive_place(second.body)
        and first.body != second.body
        and is_signed(committee, scheme, first)
        and is_signed(committee, scheme, second)
    )


def is_prepared(committee: Committee, scheme: Scheme, proof: PreparedProof) -> bool:
    """Tell whether the proof holds: then no other batch can be decided there in that view."""
    primary = committee.get_primary(proof.view)
    place = (proof.view, proof.sequence, proof.digest)
    backups = [sender for sender, _ in proof.prepares]
    return (
        proof.view >= 0
        and primary not in backups
        and _is_set(committee, backups, committee.quorum - 1)
        and is_signed(committee, scheme, Signed(PrePrepare(*place), primary, proof.proposal))
        and _all_signed(committee, scheme, Prepare(*place), proof.prepares)
    )


def is_decided(committee: Committee, scheme: Scheme, proof: CommitProof) -> bool:
    """Tell whether a quorum committed to this batch in one view."""
    body = Commit(proof.view, proof.sequence, proof.digest)
    return _is_set(
        committee, [sender for sender, _ in proof.commits], committee.quorum
    ) and _all_signed(committee, scheme, body, proof.commits)


def is_stable(committee: Committee, scheme: Scheme, proof: StableProof) -> bool:
    """Tell whether a quorum executed everything up to there; the beginning needs no proof."""
    if proof.sequence == 0:
        return proof == BEGINNING
    body = Checkpoint(proof.sequence, proof.head)
    return _is_set(
        committee, [sender for sender, _ in proof.checkpoints], committee.quorum
    ) and _all_signed(committee, scheme, body, proof.checkpoints)


def _is_set(committee: Committee, senders: list[int], count: int) -> bool:
    """Tell whether these are exactly `count` replicas, in order: one proof, one form."""
    is_known = all(0 <= sender < committee.size for sender in senders)
    return len(senders) == count and is_known and senders == sorted(set(senders))


def _all_signed(
    committee: Committee, scheme: Scheme, body: Body, signatures: Iterable[tuple[int, str]]
) -> bool:
    return all(
        is_signed(committee, scheme, Signed(body, sender, signature))
        for sender, signature in signatures
    )
