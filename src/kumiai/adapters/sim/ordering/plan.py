"""What a seed stands for: how large the committee is, what goes wrong, and when that stops."""

from __future__ import annotations

import random
from dataclasses import dataclass

from kumiai.base.amounts import PPM
from kumiai.consensus.quorum import compute_fault_tolerance

SIZES = (4, 7, 10)
TRAITOR_KINDS = ("mute", "twin", "liar", "hider", "forker")
CHAOS_MS = 20_000
STORM = 60  # crashes
REQUESTS_MAX = 40
CLIENTS = 3
OFFSET_MS_MAX = 250  # of a time of day: two are at most the allowed drift apart
WRONG_MS = (0, -100, 600, -3_600_000, 3_600_000)  # of a traitor's


@dataclass(frozen=True)
class Cut:
    """From begin_ms to end_ms only replicas on the same side hear each other."""

    begin_ms: int
    end_ms: int
    side: frozenset[int]


@dataclass(frozen=True)
class Crash:
    """At about at_ms a replica dies in the midst of its effects, and is back at back_ms."""

    replica: int
    at_ms: int
    back_ms: int


@dataclass(frozen=True)
class Plan:
    """traitors: replica -> kind. delays_ms: least and most of a link. slow: replicas whose links
    take ten times as long. rates_ppm: replica -> how fast its timers go; offsets_ms:
    how wrong its time of day is. All trouble but the
    traitors ends at heal_ms.
    """

    seed: int
    size: int
    traitors: dict[int, str]
    delays_ms: tuple[int, int]
    drop_ppm: int
    twice_ppm: int
    slow: frozenset[int]
    rates_ppm: dict[int, int]
    cuts: tuple[Cut, ...]
    crashes: tuple[Crash, ...]
    requests: tuple[tuple[int, int, str], ...]  # (at_ms, client, operation)
    offsets_ms: dict[int, int]
    heal_ms: int = CHAOS_MS


def draw_plan(seed: int, size: int = 0) -> Plan:
    """Return the plan of a seed; size 0 draws one of 4, 7 and 10."""
    rng = random.Random(f"plan/{seed}")
    size = size or rng.choice(SIZES)
    replicas = list(range(size))
    traitor_count = rng.choice((0, compute_fault_tolerance(size)))
    traitors = {r: rng.choice(TRAITOR_KINDS) for r in rng.sample(replicas, traitor_count)}
    loyal = [r for r in replicas if r not in traitors]
    cuts = []
    for _ in range(rng.choice((0, 0, 1, 3))):
        begin_ms = rng.randrange(CHAOS_MS)
        side = frozenset(rng.sample(replicas, rng.randint(1, size - 1)))
        cuts.append(Cut(begin_ms, min(CHAOS_MS, begin_ms + rng.randrange(500, 9_000)), side))
    crashes = []
    crash_count = rng.choice((0, 0, 1, 2, 5, STORM))
    for _ in range(crash_count):
        at_ms = rng.randrange(CHAOS_MS)
        # in a storm they are back soon, to say something else than before if they can
        away_ms = rng.randrange(10, 200 if crash_count == STORM else 6_000)
        crashes.append(Crash(rng.choice(loyal), at_ms, min(CHAOS_MS, at_ms + away_ms)))
    requests = sorted(
        (rng.randrange(CHAOS_MS * 3 // 4), rng.randrange(CLIENTS), f"operation {number}")
        for number in range(rng.randint(5, REQUESTS_MAX))
    )
    return Plan(
        seed,
        size,
        traitors,
        (1, rng.choice((5, 40, 300))),
        rng.choice((0, 0, 20_000, 200_000)),
        rng.choice((0, 50_000)),
        frozenset(rng.sample(replicas, rng.choice((0, 0, 1)))),
        {r: rng.choice((PPM, PPM, 700_000, 1_400_000)) for r in replicas},
        tuple(cuts),
        tuple(crashes),
        tuple(requests),
        {
            r: rng.choice(WRONG_MS) if r in traitors else rng.randint(-OFFSET_MS_MAX, OFFSET_MS_MAX)
            for r in replicas
        },
    )
