"""A coalition game: players, the utility of every group of them, and who asks for which groups.

A coalition S of players 0..n-1 is a bit mask, a Python integer with bit i set when player i is in
S; 0 is nobody. Utilities v(S) are asked for in batches, so that whoever measures can stack models.

Every method is a **plan**: a generator that yields the masks it needs next, receives their
utilities (float64, in that order) and returns a `Valuation`. `run_plans` runs several games that
share their coalitions (one for each validator's hold-out) side by side: each mask is measured once
for all of them, and no game's answer depends on which others run beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Utility: TypeAlias = Callable[[Sequence[int]], FloatArray]  # M masks -> [M] or, of K games, [M, K]
Plan: TypeAlias = "Generator[list[int], FloatArray, Valuation]"


@dataclass(frozen=True, slots=True)
class Valuation:
    """What each player is worth, in the unit of the utility.

    values_N: one value a player; errors_N: its standard error (sampling only: 0 for a method that
    samples nothing); evaluation_count: different coalitions that the method asked for.
    """

    values_N: FloatArray
    errors_N: FloatArray
    evaluation_count: int


def run_plans(plans: Sequence[Plan], utility: Utility) -> list[Valuation]:
    """Run one plan a game to its end; return their valuations.

    utility: M different masks -> float64 [M, K], column k being game k of K = len(plans).
    Raises ValueError for a utility that is not finite (naming the coalition) or a wrong shape.
    """
    known: dict[int, FloatArray] = {}
    asked: list[set[int]] = [set() for _ in plans]
    done: dict[int, Valuation] = {}
    waiting = {game: next(plan) for game, plan in enumerate(plans)}
    while waiting:
        for game, masks in waiting.items():
            asked[game].update(masks)
        _measure({mask for masks in waiting.values() for mask in masks}, utility, len(plans), known)
        going = {}
        for game, masks in waiting.items():
            answer = np.array([known[mask][game] for mask in masks], dtype=np.float64)
            try:
                going[game] = plans[game].send(answer)
            except StopIteration as end:
                value: Valuation = end.value
                done[game] = Valuation(value.values_N, value.errors_N, len(asked[game]))
        waiting = going
    return [done[game] for game in range(len(plans))]


def measure(masks: Sequence[int], utility: Utility) -> FloatArray:
    """Return the utilities [M] of one game's masks, asked for once each in one request.

    Raises ValueError as `run_plans` does.
    """

    def column(asked: Sequence[int]) -> FloatArray:
        return np.asarray(utility(asked), dtype=np.float64)[..., None]

    known: dict[int, FloatArray] = {}
    _measure(set(masks), column, 1, known)
    return np.array([known[mask][0] for mask in masks], dtype=np.float64)


def translate_masks(masks: Sequence[int], players: Sequence[int]) -> list[int]:
    """Return masks over places 0..n-1 as masks over members: place k is member players[k]."""
    bits = [1 << member for member in players]
    return [sum(bit for k, bit in enumerate(bits) if mask >> k & 1) for mask in masks]


def name_coalition(mask: int) -> str:
    """Return a mask as the set of its players, as `{0, 3}`."""
    return "{" + ", ".join(str(i) for i in range(mask.bit_length()) if mask >> i & 1) + "}"


def _measure(masks: set[int], utility: Utility, games: int, known: dict[int, FloatArray]) -> None:
    missing = sorted(masks - known.keys())
    if not missing:
        return
    values = np.asarray(utility(missing), dtype=np.float64)
    if values.shape != (len(missing), games):
        raise ValueError(f"utility gave shape {values.shape}, expected {(len(missing), games)}")
    for mask, row in zip(missing, values, strict=True):
        if not np.isfinite(row).all():
            raise ValueError(f"utility of coalition {name_coalition(mask)} is {row.tolist()}")
        known[mask] = row
