"""What may go wrong in a simulated market, and how often. Shares are in ppm of the occasions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from kumiai.base.amounts import PPM


@dataclass(frozen=True, slots=True)
class Faults:
    """Chances and times; the default is a calm world. Times in milliseconds.

    drop, duplicate: of an event on its way to one member (a dropped one is found by back-fill).
    crash: of a member at each of three places of each input: before the journal, between journal
    and effects, and among the effects. answer_lost: of a request to wallet, mint, relay or blob
    server that was carried out (or was not: half of them never arrive). payment_fails: of payments
    that find no route; payment_slow: of those that take minutes. relay_down, relay_wiped,
    blobs_gone: at each tick of the world (5 s).
    """

    delay_ms_max: int = 50
    drop_ppm: int = 0
    duplicate_ppm: int = 0
    crash_ppm: int = 0
    down_ms_max: int = 30_000
    answer_lost_ppm: int = 0
    payment_fails_ppm: int = 0
    payment_slow_ppm: int = 0
    relay_down_ppm: int = 0
    relay_wiped_ppm: int = 0
    blobs_gone_ppm: int = 0


CALM: Final = Faults()
ROUGH: Final = Faults(
    delay_ms_max=3_000,
    drop_ppm=100_000,
    duplicate_ppm=100_000,
    crash_ppm=10_000,
    answer_lost_ppm=100_000,
    payment_fails_ppm=20_000,
    payment_slow_ppm=50_000,
    relay_down_ppm=5_000,
    relay_wiped_ppm=5_000,
    blobs_gone_ppm=5_000,
)


class Chance:
    """One world's source of chance: the same seed gives the same faults."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.faults = faults
        self._random = random.Random(seed)

    def happens(self, ppm: int) -> bool:
        """Tell whether something of that chance happens now."""
        return ppm > 0 and self._random.randrange(PPM) < ppm

    def delay_ms(self) -> int:
        """How long one message travels."""
        return 1 + self._random.randrange(self.faults.delay_ms_max)

    def between(self, low: int, high: int) -> int:
        """An integer of [low, high]."""
        return self._random.randint(low, high)
