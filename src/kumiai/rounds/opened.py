"""What members open: a group's masks or parts of a trace in a round, their scores at the end."""

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


@dataclass(frozen=True, slots=True)
class FinalPart:
    """What the final settlement needs of a certified round."""

    trainers: tuple[str, ...]  # in the order of the score lines; groups in secure runs
    commitments: Mapping[str, str]  # validator -> commitment to its second hold-out's scores
    flagged: Mapping[str, tuple[bool, ...]]  # validator -> did it see nothing good in member i
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # opened
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # line's group -> members
    salts: Mapping[str, str] = field(default_factory=dict)  # validator -> sha256 of the salt shown


Sheet = tuple[int, str]  # (round, validator): whose scores of which round


@dataclass(frozen=True, slots=True)
class Holdouts:
    """What binds the customer to the hold-outs that it handed out.

    commitments: validator -> hash, from START; owners: whose each opened blob is, in their order.
    """

    commitments: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ballot:
    """A juror's word about accused sheets; what is in neither it could not recompute."""

    false: frozenset[Sheet]
    honest: frozenset[Sheet]


@dataclass(frozen=True, slots=True)
class Rechecks:
    """The end's rechecks: at most a sheet a round and validator.

    drawn: sheet -> who recomputes it; found: rechecker -> which of its sheets are false; accused:
    what the committee must speak about; ballots: juror -> its word.
    """

    drawn: Mapping[Sheet, str] = field(default_factory=dict)
    found: Mapping[str, frozenset[Sheet]] = field(default_factory=dict)
    accused: tuple[Sheet, ...] = ()
    ballots: Mapping[str, Ballot] = field(default_factory=dict)
