"""The same shard given to several providers: do they agree, and if not, who is off?

Providers of one shard in one round have the same model, samples and seed. On machines of one class
the honest among them deliver the same bytes; on different ones they differ by rounding that grows
over the iterations. So two updates of a shard are

    equal     the same integers
    near      |u - v| <= 1 % of the longer one
    differs   anything else

What is equal or near is one piece of work, done several times: it is valued once, and each of its
providers is credited with that value. Of two pieces that differ both are valued, each by itself.
The reference is the piece most providers delivered, of equally many the one with the greater gain
on the hold-out; whose gain is not even half of the reference's has the fault `differs`. So nobody
is blamed for a difference alone: an update that helps as much as the reference is paid.

A copier gains nothing here: the commitments of a round bind their worker, and nobody sees another's
update before all have committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kumiai.learning.fixed_point import IntVector

NEAR_INVERSE = 100  # of the longer update's length
FAULT_SHARE_INVERSE = 2  # of the reference's gain
ALONE, EQUAL, NEAR, DIFFERS = "", "equal", "near", "differs"


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work: whose it is, by place in the order of commitments, the first one's first.

    vector_P: the first one's update; is_equal: for each place, whether its integers are the same.
    """

    shard: int
    places: tuple[int, ...]
    is_equal: tuple[bool, ...]
    vector_P: IntVector


@dataclass(frozen=True, slots=True)
class Agreement:
    """What one provider's update is to the others of its shard.

    state: "" where there is no other, equal, near or differs. is_off: the fault `differs`.
    """

    state: str
    is_off: bool = False


def find_works(shards: Sequence[int], updates: Sequence[IntVector | None]) -> list[Work]:
    """Return the pieces of work among these updates, in the order of their first places.

    updates: in the order of commitments, None for what cannot be used.
    """
    works: list[Work] = []
    for place, (shard, update_P) in enumerate(zip(shards, updates, strict=True)):
        if update_P is None:
            continue
        for at, work in enumerate(works):
            state = compare_updates(work.vector_P, update_P) if work.shard == shard else DIFFERS
            if state != DIFFERS:
                places = (*work.places, place)
                works[at] = Work(shard, places, (*work.is_equal, state == EQUAL), work.vector_P)
                break
        else:
            works.append(Work(shard, (place,), (True,), update_P))
    return works


def compare_updates(one_P: IntVector, other_P: IntVector) -> str:
    """Return equal, near or differs; decided in exact integers."""
    if np.array_equal(one_P, other_P):
        return EQUAL
    apart = _square(np.subtract(one_P, other_P, dtype=np.int64))
    longer = max(_square(one_P), _square(other_P))
    return NEAR if apart * NEAR_INVERSE**2 <= longer else DIFFERS


def compare_work(works: Sequence[Work], gains: Sequence[int]) -> dict[int, Agreement]:
    """Return what each place's update is to the others of its shard.

    gains: one of each piece of work, in ppm of a nat.
    """
    found: dict[int, Agreement] = {}
    for shard in dict.fromkeys(work.shard for work in works):
        own = [(work, gain) for work, gain in zip(works, gains, strict=True) if work.shard == shard]
        reference, best = max(own, key=lambda each: (len(each[0].places), each[1]))
        is_split = len(own) > 1
        for work, gain in own:
            is_off = work is not reference and gain * FAULT_SHARE_INVERSE < best
            for place, is_equal in zip(work.places, work.is_equal, strict=True):
                state = EQUAL if is_equal and all(work.is_equal) else NEAR
                if len(work.places) == 1:
                    state = ALONE
                found[place] = Agreement(DIFFERS if is_split else state, is_off and is_split)
    return found


def _square(vector_P: np.ndarray) -> int:
    """Return the exact sum of squares: two halves of 16 bits, whose products fit 64."""
    sizes = np.abs(vector_P.astype(np.int64))
    high, low = sizes >> 16, sizes & 0xFFFF
    return (
        (int((high * high).sum()) << 32) + (int((high * low).sum()) << 17) + int((low * low).sum())
    )
