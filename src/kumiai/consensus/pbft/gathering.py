"""Votes that belong to no place: checkpoints, view changes, and how long to wait for a primary."""

from __future__ import annotations

from dataclasses import dataclass, field

from kumiai.consensus.pbft.messages import Checkpoint, Signed, StableProof, ViewChange
from kumiai.consensus.pbft.proofs import Equivocation

CHECKPOINTS_KEPT = 2  # a sender's last ones
GROWTHS_MAX = 9  # half as long again, so often: 38 times the first timeout


@dataclass
class Checkpoints:
    """sender -> its checkpoints of the highest places."""

    said: dict[int, dict[int, Signed]] = field(default_factory=dict)

    def add(self, signed: Signed) -> Equivocation | None:
        """Keep a (checked) CHECKPOINT; return the proof of a fault where it contradicts one."""
        assert isinstance(signed.body, Checkpoint)
        place, own = signed.body.sequence, self.said.setdefault(signed.sender, {})
        if place in own:
            return Equivocation(own[place], signed) if own[place].body != signed.body else None
        own[place] = signed
        if len(own) > CHECKPOINTS_KEPT:
            del own[min(own)]
        return None

    def find_stable(self, above: int, quorum: int) -> StableProof | None:
        """Return the highest checkpoint above a place that a quorum shares, None without."""
        heads: dict[tuple[int, str], list[tuple[int, str]]] = {}
        for sender in sorted(self.said):
            for place, signed in self.said[sender].items():
                assert isinstance(signed.body, Checkpoint)
                if place > above:
                    heads.setdefault((place, signed.body.head), []).append(
                        (sender, signed.signature)
                    )
        shared = [key for key, signatures in heads.items() if len(signatures) >= quorum]
        if not shared:
            return None
        place, head = max(shared)
        return StableProof(place, head, tuple(heads[place, head][:quorum]))

    def get_last(self, sender: int) -> Signed | None:
        """Return a sender's highest checkpoint."""
        own = self.said.get(sender)
        return own[max(own)] if own else None


@dataclass
class Changes:
    """sender -> its VIEW-CHANGE to the highest view."""

    said: dict[int, Signed] = field(default_factory=dict)

    def add(self, signed: Signed) -> None:
        """Keep a (checked) VIEW-CHANGE unless its sender is further already."""
        kept = self.said.get(signed.sender)
        if kept is None or _read(signed).view >= _read(kept).view:
            self.said[signed.sender] = signed

    def list_for(self, view: int) -> list[Signed]:
        """Return who changes to this very view, by sender."""
        return [self.said[s] for s in sorted(self.said) if _read(self.said[s]).view == view]

    def count_from(self, view: int) -> int:
        """Return how many change to this view or a later one."""
        return sum(_read(signed).view >= view for signed in self.said.values())

    def find_followed(self, above: int, own: int, count: int) -> int | None:
        """Return the highest view above a view to which at least `count` others go, or further."""
        views = sorted(
            (_read(signed).view for sender, signed in self.said.items() if sender != own),
            reverse=True,
        )
        if len(views) < count or views[count - 1] <= above:
            return None
        return views[count - 1]


@dataclass
class Patience:
    """How long the primary has for the oldest work.

    Half as long again after every `leaders` views that brought nothing: among f + 1 primaries one
    is loyal, so the time was too short. Fewer say only that those primaries were not. Doubled, a
    traitor that leads next would keep everybody waiting too long. oldest: which work the deadline
    is for.
    """

    timeout_ms: int
    leaders: int
    failures: int = 0
    deadline_ms: int | None = None
    oldest: object = None

    def expect(self, oldest: object, now_ms: int) -> None:
        """Wait for this work, None for none; what was waited for already keeps its deadline."""
        if oldest is None:
            self.deadline_ms = self.oldest = None
        elif oldest != self.oldest:
            self.oldest = oldest
            self.deadline_ms = now_ms + self.current_ms

    @property
    def current_ms(self) -> int:
        """The present timeout."""
        growths = min(GROWTHS_MAX, self.failures // self.leaders)
        return self.timeout_ms * int(3**growths) >> growths

    def give_up(self) -> None:
        """The view brought nothing."""
        self.failures += 1
        self.deadline_ms = self.oldest = None

    def succeed(self) -> None:
        """Something was executed."""
        self.failures = 0

    def is_over(self, now_ms: int) -> bool:
        """Tell whether the deadline has passed."""
        return self.deadline_ms is not None and now_ms >= self.deadline_ms


def _read(signed: Signed) -> ViewChange:
    assert isinstance(signed.body, ViewChange)
    return signed.body
