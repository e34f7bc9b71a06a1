"""What members open after the beacon is drawn: a group's masks, or parts of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kumiai.proofs.trace import OpenedLeaf
from kumiai.proofs.verdict import AuditLine


@dataclass(frozen=True, slots=True)
class OpenedGroup:
    """A group whose sum can be computed by anybody: masked updates, and what takes the masks off.

    All in the order of the keys. `own_seeds` are of exactly the members whose updates are summed,
    `agreements` of exactly those who dealt and then dropped out: never both of one member.
    """

    name: str
    masked: tuple[tuple[str, str], ...]  # (member, blob)
    cards: tuple[tuple[str, str, str], ...]  # (member, public key, hash of its own seed)
    own_seeds: tuple[tuple[str, str], ...]  # (member, hex)
    agreements: tuple[tuple[str, str], ...]  # (member, hex)

    @property
    def members(self) -> tuple[str, ...]:
        """Whose updates are in the sum."""
        return tuple(member for member, _ in self.masked)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A trainer drawn for an audit: which segments are replayed, and by whom at first."""

    member: str
    segments: tuple[int, ...]
    auditors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audits:
    """The audits of one attempt at a round, as they go on.

    opened: member -> the leaves that it showed. commits: juror -> hash and event id; words: juror
    -> its lines about the accused, in their order, and its machine's class.
    """

    challenges: tuple[Challenge, ...] = ()
    opened: Mapping[str, tuple[OpenedLeaf, ...]] = field(default_factory=dict)
    accused: tuple[str, ...] = ()
    commits: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    words: Mapping[str, tuple[str, tuple[AuditLine, ...]]] = field(default_factory=dict)
