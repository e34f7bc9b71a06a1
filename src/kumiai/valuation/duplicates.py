"""Copies are one player: the game is played by the first of each kind, and the copies get nothing.

Without this, k copies of one update would take more of the Shapley values the bigger k is: in a
game of four owners with overlapping data one's share grows from 0.26 to 0.51 with four copies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kumiai.valuation.game import Valuation


def merge_duplicates(duplicate_of_N: Sequence[int | None]) -> list[int]:
    """Return the players: the members that copy nobody, ascending.

    duplicate_of_N: for each member the one whose update it copies, or None. ValueError for a member
    that copies itself, one that does not exist, or one that is itself a copy.
    """
    for member, original in enumerate(duplicate_of_N):
        if original is None:
            continue
        if not 0 <= original < len(duplicate_of_N) or original == member:
            raise ValueError(f"member {member} cannot be a copy of {original}")
        if duplicate_of_N[original] is not None:
            raise ValueError(f"member {member} copies {original}, which is itself a copy")
    return [member for member, original in enumerate(duplicate_of_N) if original is None]


def spread(valuation: Valuation, players: Sequence[int], member_count: int) -> Valuation:
    """Return the players' valuation as one of all members, with 0 for who did not play."""
    if len(players) != len(valuation.values_N):
        raise ValueError(f"{len(players)} players, {len(valuation.values_N)} values")
    values_N, errors_N = np.zeros(member_count), np.zeros(member_count)
    values_N[list(players)] = valuation.values_N
    errors_N[list(players)] = valuation.errors_N
    return Valuation(values_N, errors_N, valuation.evaluation_count)
