"""A submission: what a trainer bound itself to in a round, as the chain's disputes know it.

A customer's view: whoever doubts a trainer's work on chain must first show that the doubted trace
is the one that the committee certified. The certificate's root over the round's submissions shows
it.

    leaf  canonical ["kumiai/submission/1", task, round, attempt, member, account, trace,
          iterations, every]: hashes, key and account as lower-case hexadecimal without 0x
    root  of the RFC 6962 tree over the leaves of those who submitted, members ascending

The contract builds the same bytes (`TraceTrees.encodeSubmission`). The account joins the two
identities of a member: the key of its events, and the address whose stake is slashed. `iterations`
and `every` fix the trace's size, which its root alone does not bind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.base import canonical, merkle
from kumiai.base.merkle import MerkleProof
from kumiai.proofs.trace import TracePlace

LEAF_TYPE = "kumiai/submission/1"

_ACCOUNT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Submission:
    """One leaf. account: 40 hexadecimal digits; trace: the root; `iterations` T, `every` k.

    Raises ValueError for what has no leaf on chain.
    """

    place: TracePlace
    account: str
    trace: str
    iterations: int
    every: int

    def __post_init__(self) -> None:
        if not _ACCOUNT.fullmatch(self.account):
            raise ValueError(f"account {self.account!r} is not 40 lower-case hexadecimal digits")
        hashes = (self.place.task, self.place.member, self.trace)
        if not all(canonical.is_hash(text) for text in hashes):
            raise ValueError(f"task, member and trace {hashes} must be 64 hexadecimal digits")
        if not (0 <= self.place.round < 2**32 and 0 <= self.place.attempt < 2**32):
            raise ValueError(f"round and attempt of {self.place} must fit 32 bits")
        if self.iterations < 1 or self.every < 1:
            raise ValueError(f"T {self.iterations} and k {self.every} must be positive")


def encode_leaf(submission: Submission) -> bytes:
    """Return the leaf's canonical bytes."""
    place = submission.place
    named = [place.task, place.round, place.attempt, place.member]
    bound = [submission.account, submission.trace, submission.iterations, submission.every]
    return canonical.encode([LEAF_TYPE, *named, *bound])


def compute_submissions_root(submissions: Sequence[Submission]) -> str:
    """Return the certificate's `submissions`; of none, the empty tree's."""
    return merkle.compute_root([encode_leaf(one) for one in _sort(submissions)])


def compute_submission_proofs(submissions: Sequence[Submission]) -> dict[str, MerkleProof]:
    """Return each member's inclusion proof under that root."""
    ordered = _sort(submissions)
    proofs = merkle.compute_proofs([encode_leaf(one) for one in ordered])
    return {one.place.member: proof for one, proof in zip(ordered, proofs, strict=True)}


def _sort(submissions: Sequence[Submission]) -> list[Submission]:
    ordered = sorted(submissions, key=lambda one: one.place.member)
    members = [one.place.member for one in ordered]
    if len(set(members)) < len(members):
        raise ValueError(f"{len(members)} submissions of {len(set(members))} members")
    return ordered
