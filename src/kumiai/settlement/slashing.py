"""What cheating costs: a published part of the cheater's own stake for each piece of evidence.

Burnt, never paid to an accuser, so nobody earns by accusing. Delegators' money is not touched.
The part is rounded up: splitting a stake over identities must not make cheating cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kumiai.base.amounts import PPM


@dataclass(frozen=True, slots=True)
class Slash:
    """A verdict INVALID that rests on `evidence`, the hash of what proves it."""

    member: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Burn:
    """What one piece of evidence takes out of a member's own stake."""

    member: str
    evidence: str
    amount: int


def compute_burns(
    stakes: Mapping[str, int],
    slashes: Sequence[Slash],
    slash_ppm: int,
    evidence_used: frozenset[Slash] = frozenset(),
) -> tuple[Burn, ...]:
    """Return the burns, ordered by member; together they never exceed a member's stake.

    A piece of evidence counts once against a member: what is in `evidence_used`, or comes twice,
    burns nothing. Raises ValueError for a member that `stakes` does not know.
    """
    if not 0 <= slash_ppm <= PPM:
        raise ValueError(f"slash {slash_ppm} ppm is outside 0..{PPM}")
    left = dict(stakes)
    burns: list[Burn] = []
    fresh = set(slashes) - evidence_used
    for slash in sorted(fresh, key=lambda item: (item.member, item.evidence)):
        if slash.member not in left:
            raise ValueError(f"{slash.member} has no stake in this round")
        wanted = -(-stakes[slash.member] * slash_ppm // PPM)
        amount = min(left[slash.member], wanted)
        left[slash.member] -= amount
        burns.append(Burn(slash.member, slash.evidence, amount))
    return tuple(burns)
