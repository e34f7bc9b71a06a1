"""A trace: what a trainer binds itself to beside its update, so that any part can be replayed.

A customer's view: training is a long row of small steps. Every k iterations the trainer hashes
everything the next step depends on, puts the hashes into a Merkle tree and commits to its root.
Whoever doubts a stretch of the row asks for the state at its beginning, trains those k iterations
again, and must arrive at the very hash.

    state_i   parameters, optimizer's memory, data cursor and random state after min(i k, T)
              of T local iterations, as one canonical byte string
    digest_i  sha256(state_i), which is also the name of its blob
    leaf_i    canonical ["kumiai/trace/1", task, round, attempt, member, i, iteration, digest_i]
    root      of the RFC 6962 tree over leaf_0 .. leaf_S, S = ceil(T / k)
    segment j the iterations between state_j and state_{j+1}

A leaf names its member and its place, so a root or a leaf of somebody else's is worthless: the
copied trace fails before anything is replayed. Nobody can lengthen or shorten a trace either: T is
part of the commitment, and with it the tree's size, which a Merkle root alone does not bind.

Source: H. Jia et al., "Proof-of-Learning: Definitions and Practice" (2021), for checkpoints of a
training run; a reconstruction, as the full text was not at hand. Deviation: hashes must be equal,
where the paper accepts a distance: a band can be met by who never trained (C. Fang et al., 2022).

Cost: one hash a checkpoint and 2 S hashes for the tree; nothing of a state is kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.base import canonical, merkle
from kumiai.base.merkle import MerkleProof

LEAF_TYPE = "kumiai/trace/1"
LEAVES_MAX = 2**16  # of one trainer's round: 2 MB of hashes


@dataclass(frozen=True, slots=True)
class TracePlace:
    """Whose work of which attempt at which round of which task."""

    task: str
    round: int
    attempt: int
    member: str


@dataclass(frozen=True, slots=True)
class OpenedLeaf:
    """One leaf shown: the digest of the state with this index, and the way to the root."""

    index: int
    digest: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """The digests of a member's states, in order; `iterations` is T, `every` is k.

    Raises ValueError where the number of digests is not that of the states.
    """

    place: TracePlace
    every: int
    iterations: int
    digests: tuple[str, ...]

    def __post_init__(self) -> None:
        expected = count_segments(self.iterations, self.every) + 1
        if len(self.digests) != expected:
            raise ValueError(
                f"{len(self.digests)} digests, but {self.iterations} iterations with one state "
                f"every {self.every} have {expected}"
            )

    @property
    def root(self) -> str:
        """The Merkle root over the leaves."""
        return merkle.compute_root(self.encode_leaves())

    def open(self, indices: Sequence[int]) -> tuple[OpenedLeaf, ...]:
        """Return these leaves with their proofs; IndexError for one that is not there."""
        proofs = merkle.compute_proofs(self.encode_leaves())
        return tuple(OpenedLeaf(i, self.digests[i], proofs[i].path) for i in indices)

    def encode_leaves(self) -> list[bytes]:
        """Return the leaves' bytes, in their order."""
        return [
            encode_leaf(self.place, i, find_iteration(i, self.iterations, self.every), digest)
            for i, digest in enumerate(self.digests)
        ]


def count_segments(iterations: int, every: int) -> int:
    """Return S = ceil(T / k); ValueError unless both are positive and S + 1 <= LEAVES_MAX."""
    if iterations < 1 or every < 1:
        raise ValueError(f"iterations {iterations} and checkpoint_every {every} must be positive")
    count = -(-iterations // every)
    if count >= LEAVES_MAX:
        raise ValueError(
            f"{iterations} iterations with a state every {every} make {count + 1} states, more "
            f"than the {LEAVES_MAX} allowed: raise checkpoint_every to "
            f"{-(-iterations // (LEAVES_MAX - 1))} or more"
        )
    return count


def find_iteration(index: int, iterations: int, every: int) -> int:
    """Return after how many iterations state `index` is taken."""
    return min(index * every, iterations)


def encode_leaf(place: TracePlace, index: int, iteration: int, digest: str) -> bytes:
    """Return the leaf's canonical bytes."""
    named = [place.task, place.round, place.attempt, place.member]
    return canonical.encode([LEAF_TYPE, *named, index, iteration, digest])


def list_opened(segments: Sequence[int], segment_count: int) -> tuple[int, ...]:
    """Return the leaves that an audit of these segments asks for, ascending.

    Beside both ends of every segment the first and the last one: the first must be the round's
    model, the last must give the update.
    """
    wanted = {0, segment_count}
    for segment in segments:
        wanted |= {segment, segment + 1}
    return tuple(sorted(wanted))


def list_states(segments: Sequence[int], segment_count: int) -> tuple[int, ...]:
    """Return of which opened leaves the states themselves are needed, ascending.

    Not of the first, which follows from the round's model; of segments' ends only the last.
    """
    return tuple(sorted({*segments, segment_count} - {0}))


def check_opened(
    place: TracePlace, root: str, iterations: int, every: int, leaf: OpenedLeaf
) -> str | None:
    """Return what is wrong with an opened leaf under `root`, or None."""
    try:
        size = count_segments(iterations, every) + 1
    except ValueError as error:
        return str(error)
    if not 0 <= leaf.index < size:
        return f"leaf {leaf.index} is outside of a trace with {size}"
    if not canonical.is_hash(leaf.digest):
        return f"leaf {leaf.index}: digest {leaf.digest[:20]!r} is not a sha256 in hexadecimal"
    data = encode_leaf(
        place, leaf.index, find_iteration(leaf.index, iterations, every), leaf.digest
    )
    if not merkle.is_included(data, MerkleProof(leaf.index, size, leaf.path), root):
        return f"leaf {leaf.index} does not lead to the root that was committed to"
    return None
