"""How long a phase may take: learnt from the last ones, between bounds that the task names.

deadline = clamp(3/2 * median(last k) + 3 * MAD(last k), least, most), k = 8. Before anything is
known, the task's upper bound holds. The factor 3/2 keeps a world in which every round takes equally
long (MAD = 0) from calling the next slightly longer one late.
"""

from __future__ import annotations

from collections.abc import Sequence

WINDOW = 8


def compute_allowance_ms(durations_ms: Sequence[int], least_ms: int, most_ms: int) -> int:
    """Return how many milliseconds the phase may last."""
    if not durations_ms:
        return most_ms
    middle = _median(durations_ms)
    spread = _median([abs(duration - middle) for duration in durations_ms])
    return max(least_ms, min(most_ms, 3 * middle // 2 + 3 * spread))


def remember(durations_ms: Sequence[int], duration_ms: int) -> tuple[int, ...]:
    """Return the window of the last `WINDOW` durations with the new one."""
    return (*durations_ms, duration_ms)[-WINDOW:]


def _median(values: Sequence[int]) -> int:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
