"""Is a score sheet what its author's hold-out gives? The one comparison of rechecks and `verify`.

Scores are floating point: the same machine gives the same numbers, another rounds differently. So
numbers may differ by SCORE_TOLERANCE_PPM; flags and copies, which follow from bytes, not at all.
A sheet within the tolerance of the truth is honest, however it was made: nobody is harmed by it.
"""

from __future__ import annotations

from dataclasses import dataclass

SCORE_TOLERANCE_PPM = 2_000  # between machines that round differently; none is needed on one

Line = tuple[int, int, int, int, int]  # value, error, standalone, flags, index of the original


@dataclass(frozen=True, slots=True)
class SheetNumbers:
    """What a sheet says, or what a recomputation gives, about the same updates in the same order.

    finals: the second hold-out's values; None where they were not opened. All but flags and
    originals in ppm.
    """

    lines: tuple[Line, ...]
    loss_ppm: int
    accuracy_ppm: int
    finals: tuple[int, ...] | None = None


def is_honest(found: SheetNumbers, claimed: SheetNumbers) -> bool:
    """Tell whether `claimed` says what was found.

    Second hold-outs are compared where both have them. ValueError for sheets of different length.
    """
    gaps = [
        abs(found.loss_ppm - claimed.loss_ppm),
        abs(found.accuracy_ppm - claimed.accuracy_ppm),
    ]
    for ours, theirs in zip(found.lines, claimed.lines, strict=True):
        if ours[3:] != theirs[3:]:
            return False
        gaps += [abs(a - b) for a, b in zip(ours[:3], theirs[:3], strict=True)]
    if found.finals is not None and claimed.finals is not None:
        gaps += [abs(a - b) for a, b in zip(found.finals, claimed.finals, strict=True)]
    return max(gaps) <= SCORE_TOLERANCE_PPM
