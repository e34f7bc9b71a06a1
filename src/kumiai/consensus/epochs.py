"""Who sits in the committee of an epoch: a number of validators, drawn by stake.

From the second epoch on seats are drawn one after another, each with chance in proportion to the
stake of who is not drawn yet, by numbers that follow from a beacon. Nothing was drawn before the
first epoch, and what is not drawn cannot be steered: it seats the largest stakes.

r_k = sha256("kumiai/seat/1", seed, k) mod (stake of those left); the seat goes to whom the sum of
stakes, in order of keys, first exceeds r_k. Nobody left with a stake: each counts 1. The remainder
prefers no key by more than 2**-190, as no sum of stakes reaches 2**64. Our own construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kumiai.base import canonical


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of rounds with one committee. index counts from 1.

    seats: keys in the order in which they were drawn; the first one leads the order's first view.
    """

    index: int
    first_round: int
    seats: tuple[str, ...]


def choose_seats(stakes: Mapping[str, int], seat_count: int, seed: str) -> tuple[str, ...]:
    """Return the keys that sit, in the order of the draw; all where `seat_count` allows it.

    seed: the beacon's text; "" seats the largest stakes (of equal ones the smaller key).
    ValueError for a negative stake or seat_count < 1.
    """
    if seat_count < 1 or any(stake < 0 for stake in stakes.values()):
        raise ValueError(f"{seat_count} seats, stakes from {min(stakes.values(), default=0)}")
    if not seed:
        return tuple(sorted(stakes, key=lambda key: (-stakes[key], key))[:seat_count])
    left = dict(stakes)
    seated = []
    for seat in range(min(seat_count, len(stakes))):
        drawn = _draw(left, seed, seat)
        seated.append(drawn)
        del left[drawn]
    return tuple(seated)


def _draw(left: Mapping[str, int], seed: str, seat: int) -> str:
    keys = sorted(left)
    total = sum(left.values())
    if total == 0:  # only those without stake are left
        left, total = dict.fromkeys(keys, 1), len(keys)
    number = int(canonical.sha256_hex(canonical.encode(["kumiai/seat/1", seed, seat])), 16) % total
    for key in keys:
        number -= left[key]
        if number < 0:
            return key
    raise AssertionError("the stakes sum to more than themselves")
