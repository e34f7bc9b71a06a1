"""The way down two trees: what a party of a dispute on chain answers, and where it leads.

`dispute` asks for leaves with proofs. On chain a proof for each costs too much, so both parties
show the nodes below the one that differs instead: they must hash to it, and the first that differs
is the next. What is left of it is equal, so the end is the first leaf that differs, with the leaf
before it agreed.

    answer  the nodes `down` = min(arity, height) levels below the node at (height, position)
    rounds  ceil(H / arity), H = ceil(log2(leaves)); with 2^arity asked at a time as many as
            `dispute` takes, or one more or less (the widths differ by the one leaf)

The contract is `Disputes.descend`; this is what its parties' nodes run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.base import merkle
from kumiai.proofs.trace import Trace


@dataclass(frozen=True, slots=True)
class Descent:
    """Where a search stands. height 0: at a leaf. position: of the differing node at `height`."""

    height: int
    position: int
    rounds: int = 0


class TraceTree:
    """A trace's tree with all its levels; 64 bytes a leaf."""

    def __init__(self, trace: Trace) -> None:
        self._levels = merkle.compute_levels(trace.encode_leaves())

    @property
    def height(self) -> int:
        """Levels above the leaves."""
        return len(self._levels) - 1

    def list_below(self, at: Descent, arity: int) -> tuple[bytes, ...]:
        """Return the nodes to show; ValueError outside of the tree."""
        if not 0 <= at.height <= self.height or not 0 <= at.position < len(self._levels[at.height]):
            raise ValueError(f"{at} is outside of a tree of height {self.height}")
        down = min(arity, at.height)
        level = self._levels[at.height - down]
        return tuple(level[at.position << down : (at.position + 1) << down])

    def find_path(self, index: int) -> tuple[bytes, ...]:
        """Return a leaf's siblings up to the root."""
        path = []
        for level in self._levels[:-1]:
            if index ^ 1 < len(level):
                path.append(level[index ^ 1])
            index >>= 1
        return tuple(path)


def descend(at: Descent, arity: int, one: Sequence[bytes], other: Sequence[bytes]) -> Descent:
    """Return where both answers lead; ValueError where they do not differ."""
    down = min(arity, at.height)
    for first, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        if mine != theirs:
            return Descent(at.height - down, (at.position << down) + first, at.rounds + 1)
    raise ValueError("equal nodes: there is nothing to descend to")
