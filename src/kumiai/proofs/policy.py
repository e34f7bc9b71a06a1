"""Who is audited, how much of its work, by whom, and what stake makes cheating a bad bargain.

All draws follow from a seed that nobody could choose or know before the commitments were closed;
none takes anything that a trainer may vary (its root, its update), so there is nothing to grind.

    p(n)    chance of an audit after n audited VALID rounds in a row: 1 for n < new_rounds, then
            max(1 / n, p_min). INVALID and NO_REPLY set n to 0, INCONCLUSIVE leaves it.
    P(q)    1 - C(N - X, q) / C(N, q): chance that q of N segments, drawn without replacement,
            hit one of X that were faked; at least 1 - (1 - X / N)^q.

What must be at stake so that cheating does not pay: `tasks.audit.compute_stake_min`.

Source: the falling chance follows the adaptive spot checks of volunteer computing
(BOINC's adaptive replication, D. Anderson, 2004 and later); a reconstruction, not its code.

Exact: integers in ppm, P rounded down, so that nothing is promised too well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import comb

from kumiai.base import canonical
from kumiai.base.amounts import PPM

SEED_TYPE = "kumiai/audit-seed/1"


def compute_seed(task: str, round_index: int, attempt: int, elements: Sequence[str]) -> str:
    """Return the round's audit seed from what the committee revealed, sorted by its keys.

    Not the beacon itself: that also takes the log's head, and the last trainer to reveal could
    try out heads, by varying its claims, until the draw spares what it faked.
    """
    return canonical.sha256_hex(
        canonical.encode([SEED_TYPE, task, round_index, attempt, list(elements)])
    )


def compute_chance_ppm(audited_valid: int, new_rounds: int, p_min_ppm: int) -> int:
    """Return p(n); ValueError for numbers out of range."""
    if audited_valid < 0 or new_rounds < 0 or not 0 <= p_min_ppm <= PPM:
        raise ValueError(
            f"audited_valid {audited_valid}, new_rounds {new_rounds}, p_min_ppm {p_min_ppm}: "
            f"the first two must not be negative, the last lies within 0..{PPM}"
        )
    if audited_valid < max(1, new_rounds):
        return PPM
    return max(PPM // audited_valid, p_min_ppm)


def is_drawn(seed: str, purpose: str, name: str, chance_ppm: int) -> bool:
    """Tell whether `name` is drawn for `purpose`."""
    return _draw(seed, purpose, name, 0) % PPM < chance_ppm


def draw_segments(seed: str, member: str, segment_count: int, wanted: int) -> tuple[int, ...]:
    """Return `wanted` different segments (all if there are fewer), ascending."""
    count = min(wanted, segment_count)
    chosen: set[int] = set()
    turn = 0
    while len(chosen) < count:  # Floyd's algorithm: every set of this size is as likely
        limit = segment_count - count + len(chosen)
        place = _draw(seed, "segment", member, turn) % (limit + 1)
        chosen.add(limit if place in chosen else place)
        turn += 1
    return tuple(sorted(chosen))


def draw_auditors(seed: str, member: str, committee: Sequence[str], wanted: int) -> tuple[str, ...]:
    """Return who replays this member's work: `wanted` of the committee (all if it is smaller)."""
    order = sorted(committee, key=lambda key: _draw(seed, f"auditor/{member}", key, 0))
    return tuple(sorted(order[:wanted]))


def compute_detection_ppm(segment_count: int, faked: int, audited: int) -> int:
    """Return P(q) in ppm, rounded down; ValueError unless 0 <= faked, audited <= segment_count."""
    if not (0 <= faked <= segment_count and 0 <= audited <= segment_count):
        raise ValueError(
            f"faked {faked} and audited {audited} must lie within 0..{segment_count} segments"
        )
    missed, all_draws = comb(segment_count - faked, audited), comb(segment_count, audited)
    return PPM * (all_draws - missed) // all_draws


def count_audits(segment_count: int, faked: int, wanted_ppm: int) -> int:
    """Return the least q with P(q) >= wanted_ppm; ValueError where nothing is faked."""
    if not 0 < faked <= segment_count or not 0 <= wanted_ppm <= PPM:
        raise ValueError(
            f"faked {faked} must lie within 1..{segment_count}, wanted_ppm {wanted_ppm} within "
            f"0..{PPM}"
        )
    low, high = 0, segment_count - faked + 1  # so many cannot miss
    while low < high:
        middle = (low + high) // 2
        if compute_detection_ppm(segment_count, faked, middle) >= wanted_ppm:
            high = middle
        else:
            low = middle + 1
    return low


def _draw(seed: str, purpose: str, name: str, turn: int) -> int:
    """256 bits from the seed; reduced modulo n they favour no value by more than n / 2**256."""
    text = f"kumiai/audit/1|{seed}|{purpose}|{name}|{turn}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
